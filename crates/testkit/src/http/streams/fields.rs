//! Header blocks: pseudo-header fields, names, values, lengths.

use super::{
    super::frames::{flag, frame, get, headers, kind},
    StreamCase, StreamExpect, case,
};

const PSEUDO: &str = "RFC 9113 8.3: pseudo-header fields";
const NAMES: &str = "RFC 9113 8.2.1: names and values";
const HOP: &str = "RFC 9113 8.2.2: connection-specific fields";
const AUTHORITY: &str = "RFC 9113 8.3.1: :authority and Host";
const LENGTH: &str = "RFC 9113 8.1.1: content-length and DATA";
const DESYNC: &str = "H2.CL, H2.TE: a downgrade to HTTP/1.1 that splits";

type Fields<'f> = &'f [(&'f str, &'f str)];

pub(super) fn cases() -> Vec<StreamCase> {
    let mut cases = vec![
        case("h2: a plain GET", "RFC 9113 8.1", StreamExpect::Passed(1), one(&get("/case"))),
        case("h2: te is trailers", HOP, StreamExpect::Passed(1), with(&[("te", "trailers")])),
        case(
            "h2: a POST with its length",
            LENGTH,
            StreamExpect::Passed(1),
            post(&[("content-length", "5")], b"hello"),
        ),
        case("h2: a POST without a length", LENGTH, StreamExpect::Passed(1), post(&[], b"hello")),
        case(
            "h2: cookies in two fields",
            "RFC 9113 8.2.3",
            StreamExpect::Passed(1),
            with(&[("cookie", "a=b"), ("cookie", "c=d")]),
        ),
    ];
    cases.extend(pseudo());
    cases.extend(names());
    cases.extend(hops());
    cases.extend(authorities());
    cases.extend(paths());
    cases.extend(lengths());
    cases
}

fn one(fields: Fields<'_>) -> Vec<u8> {
    headers(1, flag::END_STREAM, fields)
}

/// A GET with more fields.
fn with(more: Fields<'_>) -> Vec<u8> {
    one(&[&get("/case")[..], more].concat())
}

fn post(more: Fields<'_>, body: &[u8]) -> Vec<u8> {
    let method = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "ficus.test"),
        (":path", "/case"),
    ];
    let mut bytes = headers(1, 0, &[&method[..], more].concat());
    bytes.extend(frame(kind::DATA, flag::END_STREAM, 1, body));
    bytes
}

fn refused(name: &'static str, rule: &'static str, bytes: Vec<u8>) -> StreamCase {
    case(name, rule, StreamExpect::Refused, bytes)
}

/// At most one request reaches the upstream, and nothing that was hidden in it.
fn bounded(name: &'static str, rule: &'static str, bytes: Vec<u8>) -> StreamCase {
    case(name, rule, StreamExpect::Bounded(1), bytes)
}

/// A GET in which the value of one pseudo-header field is another one, or is left out.
fn changed(name: &str, value: Option<&str>) -> Vec<u8> {
    let mut fields = Vec::new();
    for (key, usual) in get("/case") {
        match value {
            None if key == name => {}
            Some(value) if key == name => fields.push((key, value)),
            Some(_) | None => fields.push((key, usual)),
        }
    }
    one(&fields)
}

fn pseudo() -> Vec<StreamCase> {
    let [method, scheme, authority, path] = get("/case");
    vec![
        refused("h2: no :method", PSEUDO, changed(":method", None)),
        refused("h2: no :scheme", PSEUDO, changed(":scheme", None)),
        refused("h2: no :path", PSEUDO, changed(":path", None)),
        refused("h2: two :path", PSEUDO, with(&[(":path", "/smuggled")])),
        refused("h2: two :method", PSEUDO, one(&[method, method, scheme, authority, path])),
        refused("h2: two :authority", PSEUDO, one(&[method, scheme, authority, authority, path])),
        refused(
            "h2: an unknown pseudo-header",
            PSEUDO,
            one(&[method, scheme, authority, path, (":x", "y")]),
        ),
        refused(
            "h2: :status in a request",
            PSEUDO,
            one(&[method, scheme, authority, path, (":status", "200")]),
        ),
        refused(
            "h2: a pseudo-header after a field",
            PSEUDO,
            one(&[method, scheme, authority, ("x-a", "b"), path]),
        ),
        refused(
            "h2: :protocol without extended CONNECT",
            "RFC 8441 4",
            one(&[method, scheme, authority, path, (":protocol", "websocket")]),
        ),
        refused("h2: an empty :method", PSEUDO, changed(":method", Some(""))),
        refused("h2: a method in lower case", "RFC 9110 9.1", changed(":method", Some("get"))),
        refused("h2: a method nobody knows", "RFC 9110 9.1", changed(":method", Some("FROB"))),
        refused("h2: TRACE", "RFC 9110 9.3.8", changed(":method", Some("TRACE"))),
        refused(
            "h2: a method with a request in it",
            DESYNC,
            changed(":method", Some("GET /smuggled HTTP/1.1")),
        ),
        refused(
            "h2: CONNECT",
            "RFC 9113 8.5",
            one(&[(":method", "CONNECT"), (":authority", "ficus.test:80")]),
        ),
        // what comes after a body is dropped: the request has one meaning at the upstream
        bounded(
            "h2: a pseudo-header in trailers",
            "RFC 9113 8.1",
            trailers(&[(":path", "/smuggled")]),
        ),
        bounded("h2: a length in trailers", "RFC 9110 6.5.1", trailers(&[("content-length", "5")])),
    ]
}

fn trailers(fields: Fields<'_>) -> Vec<u8> {
    let method = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "ficus.test"),
        (":path", "/case"),
    ];
    let mut bytes = headers(1, 0, &method);
    bytes.extend(frame(kind::DATA, 0, 1, b"hello"));
    bytes.extend(headers(1, flag::END_STREAM, fields));
    bytes
}

fn names() -> Vec<StreamCase> {
    let field = |label, name: &str, value: &str| refused(label, NAMES, with(&[(name, value)]));
    vec![
        field("h2: a name in upper case", "X-A", "b"),
        field("h2: an empty name", "", "b"),
        field("h2: a blank in a name", "x a", "b"),
        field("h2: a colon in a name", "x-a:b", "c"),
        field("h2: NUL in a name", "x-\0a", "b"),
        field("h2: a line end in a name", "x-a: b\r\nx-c", "d"),
        field("h2: NUL in a value", "x-a", "b\0c"),
        field("h2: LF in a value", "x-a", "b\nc"),
        field("h2: CR in a value", "x-a", "b\rc"),
        field(
            "h2: a request in a value",
            "x-a",
            "b\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: ficus.test\r\n\r\n",
        ),
        refused("h2: a field of 40 KB", "RFC 6585 5", {
            let large = "b".repeat(9_000);
            let fields: Vec<_> = ["x-a", "x-b", "x-c", "x-d", "x-e"]
                .into_iter()
                .map(|name| (name, large.as_str()))
                .collect();
            split(&[&get("/case")[..], &fields].concat())
        }),
        refused("h2: 200 fields", "RFC 6585 5", with(&[("x-a", "b"); 200])),
    ]
}

/// A GET whose block is cut into frames.
fn split(fields: Fields<'_>) -> Vec<u8> {
    let block = super::super::frames::block(fields);
    let mut bytes = Vec::new();
    let count = block.chunks(16_000).count();
    for (index, piece) in block.chunks(16_000).enumerate() {
        let (kind, first) =
            if index == 0 { (kind::HEADERS, flag::END_STREAM) } else { (kind::CONTINUATION, 0) };
        let last = if index + 1 == count { flag::END_HEADERS } else { 0 };
        bytes.extend(frame(kind, first | last, 1, piece));
    }
    bytes
}

fn hops() -> Vec<StreamCase> {
    let field = |label, name: &str, value: &str| refused(label, HOP, with(&[(name, value)]));
    vec![
        field("h2: connection", "connection", "close"),
        field("h2: keep-alive", "keep-alive", "timeout=5"),
        field("h2: proxy-connection", "proxy-connection", "close"),
        field("h2: upgrade", "upgrade", "websocket"),
        field("h2: te is not trailers", "te", "gzip"),
        field("h2: transfer-encoding", "transfer-encoding", "chunked"),
        refused(
            "h2: H2.TE",
            DESYNC,
            post(
                &[("transfer-encoding", "chunked")],
                b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: ficus.test\r\n\r\n",
            ),
        ),
    ]
}

fn authorities() -> Vec<StreamCase> {
    vec![
        refused("h2: neither :authority nor Host", AUTHORITY, changed(":authority", None)),
        refused("h2: an empty :authority", AUTHORITY, changed(":authority", Some(""))),
        refused("h2: Host differs", AUTHORITY, with(&[("host", "other.test")])),
        refused(
            "h2: two Hosts",
            AUTHORITY,
            with(&[("host", "ficus.test"), ("host", "other.test")]),
        ),
        refused(
            "h2: :authority with a user",
            AUTHORITY,
            changed(":authority", Some("user@ficus.test")),
        ),
        refused(
            "h2: :authority with a path",
            AUTHORITY,
            changed(":authority", Some("ficus.test/x")),
        ),
        refused(
            "h2: :authority with a blank",
            AUTHORITY,
            changed(":authority", Some("ficus.test x")),
        ),
        refused(
            "h2: :authority with a line end",
            AUTHORITY,
            changed(":authority", Some("ficus.test\r\nx-a: b")),
        ),
        case(
            "h2: Host is the same",
            AUTHORITY,
            StreamExpect::Passed(1),
            with(&[("host", "ficus.test")]),
        ),
    ]
}

fn paths() -> Vec<StreamCase> {
    let path = |label, rule, path: &str| refused(label, rule, changed(":path", Some(path)));
    vec![
        path("h2: an empty :path", PSEUDO, ""),
        path("h2: a :path without a slash", PSEUDO, "case"),
        path("h2: * with GET", PSEUDO, "*"),
        path("h2: absolute-form in :path", PSEUDO, "http://other.test/case"),
        // the library cuts it off, and upstreams get a path of our making
        bounded("h2: a fragment in :path", PSEUDO, changed(":path", Some("/case#x"))),
        path("h2: a blank in :path", PSEUDO, "/case x"),
        path("h2: a request in :path", DESYNC, "/case HTTP/1.1\r\nHost: a\r\n\r\nGET /smuggled"),
        path("h2: .. in :path", "RFC 3986 5.2.4", "/public/../smuggled"),
        path("h2: an encoded slash in :path", "RFC 3986 2.2", "/public%2fsmuggled"),
        path("h2: an empty segment in :path", "path confusion", "//smuggled"),
        path("h2: a byte above ASCII in :path", PSEUDO, "/caf\u{e9}"),
    ]
}

fn lengths() -> Vec<StreamCase> {
    let hidden = b"GET /smuggled HTTP/1.1\r\nHost: ficus.test\r\n\r\n";
    let length =
        |label, value: &str| refused(label, LENGTH, post(&[("content-length", value)], b"hello"));
    vec![
        length("h2: DATA is shorter than the length", "10"),
        length("h2: DATA is longer than the length", "3"),
        length("h2: a length with a plus", "+5"),
        length("h2: a negative length", "-5"),
        length("h2: a list of lengths", "5, 5"),
        refused(
            "h2: two lengths",
            LENGTH,
            post(&[("content-length", "5"), ("content-length", "6")], b"hello"),
        ),
        // the upstream gets a request without a body, and the rest goes nowhere
        bounded("h2: H2.CL", DESYNC, post(&[("content-length", "0")], hidden)),
        refused("h2: a length without a body", LENGTH, with(&[("content-length", "5")])),
        refused("h2: GET with a body", "RFC 9110 9.3.1", {
            let mut bytes = headers(1, 0, &get("/case"));
            bytes.extend(frame(kind::DATA, flag::END_STREAM, 1, b"hello"));
            bytes
        }),
    ]
}
