//! The head of the request as an upstream gets it: what downstreams may claim about hops before us, or
//! about Ficus itself, is dropped and said again from what we saw, or heard from hops that are trusted.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_rules::forwarded::{self, Claims, Origin};
use ipnet::IpNet;
use pingora::http::RequestHeader;

use crate::front::ClientCertificate;

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// RFC 9440
const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
const CLIENT_SUBJECT: HeaderName = HeaderName::from_static("ficus-client-subject");

/// A request id from outside is kept when it is at most so long and plain.
const REQUEST_ID_MAX: usize = 64;

/// How a client reached the first hop that is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The client and the hops between it and us.
    pub(crate) origin: Origin,
    /// `http` or `https`.
    pub(crate) proto: &'static str,
    /// The host the client asked for, when a trusted hop says it was another.
    pub(crate) host: Option<HeaderValue>,
}

impl Caller {
    /// Reads what the hops before us say, as far as they are trusted. `is_tls`: of our own connection.
    pub(crate) fn of(
        peer: Option<IpAddr>,
        is_tls: bool,
        headers: &HeaderMap,
        trusted: &[IpNet],
    ) -> Self {
        let proto = if is_tls { "https" } else { "http" };
        let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        if trusted.is_empty() || !forwarded::is_trusted(trusted, peer) {
            let origin = forwarded::origin(&[], peer, Claims::default());
            return Self { origin, proto, host: None };
        }
        let values = |name: HeaderName| -> Vec<&str> {
            headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default()).collect()
        };
        let (forwarded_for, forwarded) = (values(FORWARDED_FOR), values(header::FORWARDED));
        let claims = Claims { forwarded_for: &forwarded_for, forwarded: &forwarded };
        let claimed = values(FORWARDED_PROTO);
        let proto = match claimed.last().and_then(|value| value.rsplit(',').next()).map(str::trim) {
            Some(last) if last.eq_ignore_ascii_case("https") => "https",
            Some(last) if last.eq_ignore_ascii_case("http") => "http",
            Some(_) | None => proto,
        };
        let host = headers.get_all(FORWARDED_HOST).iter().next_back();
        let host = host.filter(|host| http_rules::field::is_authority(host.as_bytes())).cloned();
        Self { origin: forwarded::origin(trusted, peer, claims), proto, host }
    }
}

/// The downstream's request id when it is a sane one, otherwise a new one.
pub(crate) fn request_id(headers: &HeaderMap) -> HeaderValue {
    let is_plain = |value: &&HeaderValue| {
        (1..=REQUEST_ID_MAX).contains(&value.len())
            && value
                .as_bytes()
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
    };
    headers.get(REQUEST_ID).filter(is_plain).cloned().unwrap_or_else(new_request_id)
}

fn new_request_id() -> HeaderValue {
    let id = format!("{:032x}", rand::random::<u128>());
    HeaderValue::from_str(&id).expect("hexadecimal digits are a header value")
}

/// Rebuilds the forwarding headers of the request to an upstream.
///
/// # Errors
/// When a header cannot be inserted, which pingora decides.
pub(crate) fn rebuild(
    request: &mut RequestHeader,
    caller: &Caller,
    client: Option<&ClientCertificate>,
    request_id: &HeaderValue,
) -> pingora::Result<()> {
    let untrusted: Vec<HeaderName> =
        request.headers.keys().filter(|name| is_untrusted(name.as_str())).cloned().collect();
    for name in &untrusted {
        request.remove_header(name);
    }
    let asked = request
        .headers
        .get(header::HOST)
        .cloned()
        .or_else(|| HeaderValue::from_str(request.uri.authority()?.as_str()).ok());
    let host = caller.host.clone().or(asked);
    let text = host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default();
    request.insert_header(header::FORWARDED, caller.origin.forwarded(caller.proto, text))?;
    if let Some(host) = host {
        request.insert_header(FORWARDED_HOST, host)?;
    }
    request.insert_header(FORWARDED_FOR, caller.origin.forwarded_for())?;
    request.insert_header(FORWARDED_PROTO, caller.proto)?;
    if let Some(client) = client {
        request.insert_header(CLIENT_CERT, client.encoded.clone())?;
        if let Some(subject) = &client.subject {
            request.insert_header(CLIENT_SUBJECT, subject.clone())?;
        }
    }
    request.insert_header(REQUEST_ID, request_id.clone())
}

/// Names with `_` are aliases of names with `-` to many application servers.
fn is_untrusted(name: &str) -> bool {
    name == "forwarded"
        || name == "x-real-ip"
        || name.starts_with("client-cert")
        || name.starts_with("x-forwarded-")
        || name.starts_with("ficus-")
        || name.contains('_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &[(&'static str, &'static str)]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/", None).expect("a request");
        for (name, value) in fields {
            request.append_header(*name, *value).expect("a header");
        }
        request
    }

    #[track_caller]
    fn check(given: &[(&'static str, &'static str)], is_tls: bool, expected: &[&str]) {
        let mut request = request(given);
        let peer = Some(IpAddr::from([10, 0, 0, 7]));
        let trusted =
            ["10.0.0.0/30".parse().expect("a network"), "10.0.0.7/32".parse().expect("one")];
        let trusted =
            if given.iter().any(|(name, _)| *name == "x-trusted") { &trusted[..] } else { &[] };
        let caller = Caller::of(peer, is_tls, &request.headers, trusted);
        request.remove_header("x-trusted");
        let client = is_tls.then(|| ClientCertificate {
            encoded: HeaderValue::from_static(":AA==:"),
            subject: Some(HeaderValue::from_static("CN=shop")),
        });
        let id = HeaderValue::from_static("r1");
        rebuild(&mut request, &caller, client.as_ref(), &id).expect("rebuilt");
        let mut seen: Vec<String> = request
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")))
            .collect();
        seen.sort();
        assert_eq!(seen, expected);
    }

    #[test]
    fn what_a_downstream_claims_about_earlier_hops_is_dropped() {
        check(
            &[
                ("host", "shop.example"),
                ("x-forwarded-for", "1.2.3.4"),
                ("X_Forwarded_For", "1.2.3.4"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "other"),
                ("forwarded", "for=1.2.3.4"),
                ("x-real-ip", "1.2.3.4"),
                ("ficus-dry-run", "1"),
                ("client-cert", ":AAAA:"),
                ("accept", "*/*"),
            ],
            false,
            &[
                "accept: */*",
                "forwarded: for=10.0.0.7;host=\"shop.example\";proto=http",
                "host: shop.example",
                "x-forwarded-for: 10.0.0.7",
                "x-forwarded-host: shop.example",
                "x-forwarded-proto: http",
                "x-request-id: r1",
            ],
        );
    }

    #[test]
    fn what_a_trusted_hop_says_is_passed_on() {
        check(
            &[
                ("host", "inner"),
                ("x-forwarded-for", "6.6.6.6, 1.2.3.4, 10.0.0.1"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "shop.example"),
                ("x-trusted", ""),
            ],
            false,
            &[
                "forwarded: for=1.2.3.4;host=\"shop.example\";proto=https, for=10.0.0.1, for=10.0.0.7",
                "host: inner",
                "x-forwarded-for: 1.2.3.4, 10.0.0.1, 10.0.0.7",
                "x-forwarded-host: shop.example",
                "x-forwarded-proto: https",
                "x-request-id: r1",
            ],
        );
    }

    #[test]
    fn a_client_certificate_is_told_to_the_upstream() {
        check(
            &[("host", "a")],
            true,
            &[
                "client-cert: :AA==:",
                "ficus-client-subject: CN=shop",
                "forwarded: for=10.0.0.7;host=\"a\";proto=https",
                "host: a",
                "x-forwarded-for: 10.0.0.7",
                "x-forwarded-host: a",
                "x-forwarded-proto: https",
                "x-request-id: r1",
            ],
        );
    }

    #[test]
    fn a_plain_request_id_is_kept_and_a_strange_one_replaced() {
        let kept = request(&[("x-request-id", "a-1_b.2")]);
        assert_eq!(request_id(&kept.headers), "a-1_b.2");
        let strange = request(&[("x-request-id", "a b")]);
        assert_eq!(request_id(&strange.headers).len(), 32);
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }
}
