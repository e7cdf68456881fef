//! Requests that are refused before anything looks at them, because two parties could read them in two
//! ways: what the proxy takes for one path or one body must be the same to every upstream.

use http::{HeaderMap, Uri, Version, header};

/// All names and values together.
const HEADER_BYTES_MAX: usize = 32 * 1024;
const HEADER_COUNT_MAX: usize = 100;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("the request has no Host")]
    NoHost,
    #[error("the request has both Content-Length and Transfer-Encoding")]
    AmbiguousLength,
    #[error("Content-Length is not one number")]
    BadLength,
    #[error("the path has empty, `.` or `..` segments")]
    AmbiguousPath,
    #[error("the path has an encoded or backward separator")]
    EncodedSeparator,
    #[error("the request has more than 100 header fields or 32 KiB of them")]
    HeadersTooLarge,
}

impl Malformed {
    /// The status it is answered with.
    pub(crate) const fn status(self) -> u16 {
        match self {
            Self::HeadersTooLarge => 431,
            Self::NoHost
            | Self::AmbiguousLength
            | Self::BadLength
            | Self::AmbiguousPath
            | Self::EncodedSeparator => 400,
        }
    }
}

/// Looks at a parsed head. `raw_head` gives the bytes as they came, where there are any: the parser
/// has already dropped Content-Length beside Transfer-Encoding.
pub(crate) fn check(
    version: Version,
    uri: &Uri,
    headers: &HeaderMap,
    raw_head: impl FnOnce() -> Option<bytes::Bytes>,
) -> Result<(), Malformed> {
    check_headers(version, uri, headers)?;
    if headers.contains_key(header::TRANSFER_ENCODING)
        && (headers.contains_key(header::CONTENT_LENGTH)
            || raw_head().is_some_and(|raw| names_content_length(&raw)))
    {
        return Err(Malformed::AmbiguousLength);
    }
    check_path(uri.path())
}

fn check_headers(version: Version, uri: &Uri, headers: &HeaderMap) -> Result<(), Malformed> {
    let bytes: usize =
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if headers.len() > HEADER_COUNT_MAX || bytes > HEADER_BYTES_MAX {
        return Err(Malformed::HeadersTooLarge);
    }
    let has_host = headers.get(header::HOST).is_some_and(|host| !host.is_empty());
    if !has_host && (version < Version::HTTP_2 || uri.authority().is_none()) {
        return Err(Malformed::NoHost);
    }
    let is_number = |value: &[u8]| !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (Some(only), None) if !is_number(only.as_bytes()) => Err(Malformed::BadLength),
        (Some(_), Some(_)) => Err(Malformed::BadLength),
        (Some(_) | None, None) | (None, Some(_)) => Ok(()),
    }
}

fn check_path(path: &str) -> Result<(), Malformed> {
    if path == "*" || path == "/" {
        return Ok(());
    }
    let Some(rest) = path.strip_prefix('/') else { return Err(Malformed::AmbiguousPath) };
    let segments = rest.strip_suffix('/').unwrap_or(rest);
    // `..;x` is `..` to servers that cut path parameters off.
    let name = |segment: &str| {
        segment.split(';').next().is_none_or(|name| name.is_empty() || name == "." || name == "..")
    };
    if segments.split('/').any(name) {
        return Err(Malformed::AmbiguousPath);
    }
    let bytes = path.as_bytes();
    let hides_separator = bytes.windows(3).any(|window| {
        matches!(
            window,
            [b'%', b'2', b'f' | b'F' | b'e' | b'E'] | [b'%', b'5', b'c' | b'C'] | b"%00"
        )
    });
    if hides_separator || bytes.contains(&b'\\') {
        return Err(Malformed::EncodedSeparator);
    }
    Ok(())
}

fn names_content_length(raw: &[u8]) -> bool {
    const NAME: &[u8] = b"content-length";
    raw.split(|byte| *byte == b'\n')
        .filter_map(|line| line.get(..NAME.len()))
        .any(|name| name.eq_ignore_ascii_case(NAME))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn verdict(path: &str, fields: &[(&str, &str)], raw: &'static str) -> Result<(), Malformed> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name: HeaderName = name.parse().expect("a header name");
            headers.append(name, HeaderValue::from_str(value).expect("a header value"));
        }
        let uri: Uri = path.parse().expect("a URI");
        check(Version::HTTP_11, &uri, &headers, || Some(Bytes::from_static(raw.as_bytes())))
    }

    #[track_caller]
    fn check_path(path: &str, expected: Result<(), Malformed>) {
        assert_eq!(verdict(path, &[("host", "a")], ""), expected, "{path}");
    }

    #[test]
    fn plain_paths_pass() {
        for path in ["/", "/api/v1/tickets/7", "/tickets/", "/a.b/..c/d..", "/a%20b?x=%2f..//", "*"]
        {
            check_path(path, Ok(()));
        }
    }

    #[test]
    fn paths_that_two_servers_may_read_in_two_ways_are_refused() {
        for path in ["/a/../b", "/..", "/a/./b", "//a", "/a//b", "/a//", "/a/..;x/b", "/a/;/b"] {
            check_path(path, Err(Malformed::AmbiguousPath));
        }
        for path in ["/a%2fb", "/a%2Fb", "/a/%2e%2e/b", "/a%5Cb", "/a%00"] {
            check_path(path, Err(Malformed::EncodedSeparator));
        }
    }

    #[test]
    fn a_request_without_host_is_refused() {
        assert_eq!(verdict("/", &[], ""), Err(Malformed::NoHost));
        assert_eq!(verdict("/", &[("host", "")], ""), Err(Malformed::NoHost));
    }

    #[test]
    fn a_length_beside_an_encoding_is_refused_even_when_the_parser_dropped_it() {
        let fields = [("host", "a"), ("transfer-encoding", "chunked")];
        assert_eq!(verdict("/", &fields, "POST / HTTP/1.1\r\nHost: a\r\n"), Ok(()));
        let raw = "POST / HTTP/1.1\r\nHost: a\r\nContent-LENGTH: 4\r\n";
        assert_eq!(verdict("/", &fields, raw), Err(Malformed::AmbiguousLength));
    }

    #[test]
    fn a_length_that_is_not_one_number_is_refused() {
        let lists = [("host", "a"), ("content-length", "4, 4")];
        assert_eq!(verdict("/", &lists, ""), Err(Malformed::BadLength));
        let twice = [("host", "a"), ("content-length", "4"), ("content-length", "4")];
        assert_eq!(verdict("/", &twice, ""), Err(Malformed::BadLength));
        assert_eq!(verdict("/", &[("host", "a"), ("content-length", "4")], ""), Ok(()));
    }

    #[test]
    fn too_many_or_too_large_headers_are_refused() {
        let long = "x".repeat(HEADER_BYTES_MAX);
        let large = [("host", "a"), ("x-large", long.as_str())];
        assert_eq!(verdict("/", &large, ""), Err(Malformed::HeadersTooLarge));
        let many = vec![("host", "a"); HEADER_COUNT_MAX + 1];
        assert_eq!(verdict("/", &many, ""), Err(Malformed::HeadersTooLarge));
    }
}
