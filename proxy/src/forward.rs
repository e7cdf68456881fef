//! The head of the request as an upstream gets it: what downstreams may claim about hops before us, or
//! about Ficus itself, is dropped and said again from what we saw.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use pingora::http::RequestHeader;

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// A request id from outside is kept when it is at most so long and plain.
const REQUEST_ID_MAX: usize = 64;

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
    peer: Option<IpAddr>,
    request_id: &HeaderValue,
) -> pingora::Result<()> {
    let untrusted: Vec<HeaderName> =
        request.headers.keys().filter(|name| is_untrusted(name.as_str())).cloned().collect();
    for name in &untrusted {
        request.remove_header(name);
    }
    if let Some(host) = request.headers.get(header::HOST).cloned() {
        request.insert_header(FORWARDED_HOST, host)?;
    }
    if let Some(peer) = peer {
        request.insert_header(FORWARDED_FOR, peer.to_string())?;
    }
    request.insert_header(FORWARDED_PROTO, "http")?;
    request.insert_header(REQUEST_ID, request_id.clone())
}

/// Names with `_` are aliases of names with `-` to many application servers.
fn is_untrusted(name: &str) -> bool {
    name == "forwarded"
        || name == "x-real-ip"
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

    #[test]
    fn what_a_downstream_claims_about_earlier_hops_is_dropped() {
        let mut request = request(&[
            ("host", "shop.example"),
            ("x-forwarded-for", "1.2.3.4"),
            ("X_Forwarded_For", "1.2.3.4"),
            ("forwarded", "for=1.2.3.4"),
            ("x-real-ip", "1.2.3.4"),
            ("ficus-dry-run", "1"),
            ("accept", "*/*"),
        ]);
        let id = HeaderValue::from_static("r1");
        rebuild(&mut request, Some(IpAddr::from([10, 0, 0, 7])), &id).expect("rebuilt");
        let mut seen: Vec<String> = request
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")))
            .collect();
        seen.sort();
        assert_eq!(
            seen,
            [
                "accept: */*",
                "host: shop.example",
                "x-forwarded-for: 10.0.0.7",
                "x-forwarded-host: shop.example",
                "x-forwarded-proto: http",
                "x-request-id: r1",
            ]
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
