//! Requests that are refused before anything looks at them, because two parties could read them in two
//! ways. Heads of HTTP/1 were judged as bytes when they came; here are the rules for HTTP/2, and the one
//! path that routes are found by and upstreams get.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, Method, Uri, header, uri::PathAndQuery};
use http_rules::{
    field,
    head::{self, HeadFault},
    path::{self, PathFault},
};

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error(transparent)]
    Head(#[from] HeadFault),
    #[error(transparent)]
    Path(#[from] PathFault),
}

impl Malformed {
    /// The status it is answered with.
    pub(crate) const fn status(self) -> u16 {
        match self {
            Self::Head(fault) => fault.status(),
            Self::Path(_) => 400,
        }
    }
}

/// The target in origin form with its path in canonical form; nothing when it is so already.
pub(crate) fn canonical_target(uri: &Uri) -> Result<Option<Uri>, Malformed> {
    let path = uri.path();
    if path == "*" {
        return Ok(None);
    }
    let canonical = path::canonical(path)?;
    if matches!(canonical, Cow::Borrowed(_)) && uri.scheme().is_none() {
        return Ok(None);
    }
    let text = match uri.query() {
        None => canonical.into_owned(),
        Some(query) => format!("{canonical}?{query}"),
    };
    let target = PathAndQuery::try_from(text).map_err(|_| HeadFault::Target)?;
    Ok(Some(Uri::from(target)))
}

/// The host of a request of HTTP/2 that has no Host: who replaces the target must keep it.
pub(crate) fn named_by_target_only(uri: &Uri, headers: &HeaderMap) -> Option<HeaderValue> {
    let authority = uri.authority().filter(|_| !headers.contains_key(header::HOST))?;
    HeaderValue::from_str(authority.as_str()).ok()
}

/// Looks at a head of HTTP/2. What only HTTP/1 has, and pseudo-fields, the library refused before.
pub(crate) fn check_http2(
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    has_body: bool,
) -> Result<(), Malformed> {
    let bytes: usize =
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if headers.len() > head::FIELDS_MAX || bytes > head::FIELD_BYTES_MAX {
        return Err(HeadFault::TooLarge.into());
    }
    if uri.path_and_query().is_some_and(|target| target.as_str().len() > head::LINE_BYTES_MAX) {
        return Err(HeadFault::LineTooLong.into());
    }
    head::check_method(method.as_str().as_bytes())?;
    if uri.path() == "*" && method != Method::OPTIONS {
        return Err(HeadFault::Target.into());
    }
    let is_fine = |value: &[u8]| value.iter().copied().all(field::is_value_byte);
    if !headers.values().all(|value| is_fine(value.as_bytes())) {
        return Err(HeadFault::Field.into());
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next(), uri.authority()) {
        (Some(host), None, None) => host.as_bytes(),
        (Some(host), None, Some(authority)) => {
            if !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) {
                return Err(HeadFault::HostMismatch.into());
            }
            host.as_bytes()
        }
        (None, None, Some(authority)) => authority.as_str().as_bytes(),
        (None, _, None) | (Some(_), Some(_), _) | (None, Some(_), Some(_)) => {
            return Err(HeadFault::Host.into());
        }
    };
    if !field::is_authority(host) {
        return Err(HeadFault::Host.into());
    }
    if headers.contains_key(header::TRANSFER_ENCODING) || headers.contains_key(header::CONNECTION) {
        return Err(HeadFault::Connection.into());
    }
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let length = match (lengths.next(), lengths.next()) {
        (None, _) => None,
        (Some(only), None) => Some(field::length(only.as_bytes()).ok_or(HeadFault::Length)?),
        (Some(_), Some(_)) => return Err(HeadFault::Length.into()),
    };
    let expects_body = has_body || length.is_some_and(|length| length > 0);
    // An HTTP/1 server that ignores the body of a GET would take it for the next request.
    match expects_body && (method == Method::GET || method == Method::HEAD) {
        true => Err(HeadFault::UnexpectedBody.into()),
        false => Ok(()),
    }
}

/// The length the head gives for the body.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    field::length(headers.get(header::CONTENT_LENGTH)?.as_bytes())
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn fields(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name: HeaderName = name.parse().expect("a header name");
            headers.append(name, HeaderValue::from_str(value).expect("a header value"));
        }
        headers
    }

    #[track_caller]
    fn check(
        method: &Method,
        given: &[(&str, &str)],
        has_body: bool,
        expected: Result<(), HeadFault>,
    ) {
        let uri = Uri::from_static("https://shop.example/x");
        let verdict = check_http2(method, &uri, &fields(given), has_body);
        assert_eq!(verdict, expected.map_err(Malformed::from), "{given:?}");
    }

    #[test]
    fn a_request_of_http2_has_one_host_and_one_length() {
        check(&Method::GET, &[], false, Ok(()));
        check(&Method::POST, &[("host", "SHOP.example"), ("content-length", "4")], true, Ok(()));
        check(&Method::GET, &[("host", "other")], false, Err(HeadFault::HostMismatch));
        check(
            &Method::GET,
            &[("host", "shop.example"), ("host", "shop.example")],
            false,
            Err(HeadFault::Host),
        );
        check(
            &Method::POST,
            &[("content-length", "4"), ("content-length", "4")],
            true,
            Err(HeadFault::Length),
        );
        check(&Method::POST, &[("content-length", "+4")], true, Err(HeadFault::Length));
        let nowhere = check_http2(&Method::GET, &Uri::from_static("/x"), &HeaderMap::new(), false);
        assert_eq!(nowhere, Err(HeadFault::Host.into()));
    }

    #[test]
    fn what_http1_upstreams_would_read_differently_is_refused_on_http2() {
        check(&Method::GET, &[], true, Err(HeadFault::UnexpectedBody));
        check(&Method::HEAD, &[("content-length", "1")], false, Err(HeadFault::UnexpectedBody));
        check(&Method::POST, &[("transfer-encoding", "chunked")], true, Err(HeadFault::Connection));
        check(&Method::TRACE, &[], false, Err(HeadFault::MethodRefused));
        let many = vec![("x", "y"); head::FIELDS_MAX + 1];
        check(&Method::GET, &many, false, Err(HeadFault::TooLarge));
        let long = "x".repeat(head::FIELD_BYTES_MAX);
        check(&Method::GET, &[("x", long.as_str())], false, Err(HeadFault::TooLarge));
    }

    #[test]
    fn a_target_is_brought_into_one_form() {
        let target = |text: &str| canonical_target(&text.parse().expect("a URI"));
        assert_eq!(target("/a/b?x=%2f..//"), Ok(None));
        assert_eq!(target("*"), Ok(None));
        assert_eq!(target("/%74ickets?q=%74"), Ok(Some(Uri::from_static("/tickets?q=%74"))));
        assert_eq!(target("http://a/b"), Ok(Some(Uri::from_static("/b"))));
        assert_eq!(target("/a/../b"), Err(PathFault::Segments.into()));
    }
}
