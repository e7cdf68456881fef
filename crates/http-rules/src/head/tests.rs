//! Heads of requests, byte by byte: what passes and what is refused.

use super::*;

fn request(line: &str, fields: &str) -> Result<Head, HeadFault> {
    read(format!("{line}\r\n{fields}\r\n").as_bytes())
}

#[track_caller]
fn check(expected: HeadFault, line: &str, fields: &str) {
    assert_eq!(request(line, fields), Err(expected), "{line:?} {fields:?}");
}

const GET: &str = "GET / HTTP/1.1";
const POST: &str = "POST / HTTP/1.1";
const HOST: &str = "Host: a\r\n";

#[test]
fn plain_requests_pass() {
    let none = Head { framing: Framing::Length(0), is_upgrade: false };
    assert_eq!(request(GET, HOST), Ok(none));
    assert_eq!(request("GET http://A/x HTTP/1.1", HOST), Ok(none));
    assert_eq!(request("OPTIONS * HTTP/1.1", HOST), Ok(none));
    assert_eq!(request("GET /a?b=|{}\"^` HTTP/1.0", HOST), Ok(none));
    let length =
        request(POST, "Host: a:80\r\ncontent-LENGTH: 7\r\nX:\t\u{e9}\r\nExpect: 100-Continue\r\n");
    assert_eq!(length, Ok(Head { framing: Framing::Length(7), is_upgrade: false }));
    let chunked = request(POST, "Host: a\r\nTransfer-Encoding: Chunked\r\n");
    assert_eq!(chunked, Ok(Head { framing: Framing::Chunked, is_upgrade: false }));
    let socket = request(GET, "Host: a\r\nUpgrade: WebSocket\r\nConnection: upgrade, TE\r\n");
    assert_eq!(socket, Ok(Head { framing: Framing::Length(0), is_upgrade: true }));
}

#[test]
fn a_request_line_has_exactly_three_parts_and_a_known_method() {
    for line in [
        "",
        "GET",
        "GET /",
        "GET  / HTTP/1.1",
        " GET / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET /\tHTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/1",
        "get / HTTP/1.1",
        "G@T / HTTP/1.1",
        "GET / HTTP/1.1x",
        "GET / HTTP/01.1",
        "GET /a b HTTP/1.1",
    ] {
        check(HeadFault::RequestLine, line, HOST);
    }
    check(HeadFault::Version, "GET / HTTP/2.0", HOST);
    check(HeadFault::Version, "GET / HTTP/1.2", HOST);
    check(HeadFault::Method, "FROB / HTTP/1.1", HOST);
    check(HeadFault::MethodRefused, "CONNECT a:80 HTTP/1.1", HOST);
    check(HeadFault::MethodRefused, "TRACE / HTTP/1.1", HOST);
}

#[test]
fn a_target_has_one_of_the_forms_of_a_server() {
    for target in [
        "a",
        "*",
        "a:80",
        "?x",
        "ftp://a/",
        "http://",
        "http:///x",
        "http://a",
        "http://a?x",
        "http://u@a/",
        "/a#b",
        "/\u{e9}",
        "/\u{1}",
        "http://a\\b/",
    ] {
        check(HeadFault::Target, &format!("GET {target} HTTP/1.1"), HOST);
    }
    check(HeadFault::HostMismatch, "GET http://b/ HTTP/1.1", HOST);
}

#[test]
fn a_field_that_could_be_read_in_two_ways_is_refused() {
    for fields in [
        "Host: a\r\n X: folded\r\n",
        "Host: a\r\n\tX: folded\r\n",
        "Host: a\r\nX : b\r\n",
        "Host: a\r\nX\r\n",
        "Host: a\r\nX: a\0b\r\n",
        "Host: a\r\n: b\r\n",
        "Host: a\r\nX: \u{7f}\r\n",
        " Host: a\r\n",
    ] {
        check(HeadFault::Field, GET, fields);
    }
    for fields in ["Host: a\nX: b\r\n", "Host: a\r\nX: a\rb\r\n"] {
        assert!(request(GET, fields).is_err(), "{fields:?}");
    }
}

#[test]
fn a_request_names_exactly_one_host() {
    for fields in [
        "",
        "Host:\r\n",
        "Host: a\r\nHost: a\r\n",
        "Host: a\r\nhOST: b\r\n",
        "Host: a, b\r\n",
        "Host: u@a\r\n",
    ] {
        check(HeadFault::Host, GET, fields);
    }
}

#[test]
fn a_body_ends_in_one_way() {
    for fields in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 4\r\nContent-Length: 4\r\n",
        "Content-Length: 4, 4\r\n",
        "Content-Length: +4\r\n",
        "Content-Length: -1\r\n",
        "Content-Length:\r\n",
        "Content-Length: 0x4\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: chunked;q=1\r\n",
        "Transfer-Encoding: , chunked\r\n",
    ] {
        check(HeadFault::Length, POST, &format!("{HOST}{fields}"));
    }
    check(HeadFault::Length, "POST / HTTP/1.0", "Host: a\r\nTransfer-Encoding: chunked\r\n");
    check(HeadFault::Coding, POST, "Host: a\r\nTransfer-Encoding: gzip, chunked\r\n");
    check(HeadFault::UnexpectedBody, GET, "Host: a\r\nContent-Length: 1\r\n");
    check(
        HeadFault::UnexpectedBody,
        "HEAD / HTTP/1.1",
        "Host: a\r\nTransfer-Encoding: chunked\r\n",
    );
}

#[test]
fn what_one_hop_must_not_drop_or_switch_is_refused() {
    for named in [
        "Host",
        "close, Content-Length",
        "cookie",
        "X-Forwarded-For",
        "Ficus-Identity",
        "AUTHORIZATION",
    ] {
        check(HeadFault::Connection, GET, &format!("Host: a\r\nConnection: {named}\r\n"));
    }
    check(HeadFault::Upgrade, POST, "Host: a\r\nUpgrade: websocket\r\n");
    check(HeadFault::Upgrade, "GET / HTTP/1.0", "Host: a\r\nUpgrade: h2c, websocket\r\n");
    check(HeadFault::Expectation, POST, "Host: a\r\nExpect: 200-ok\r\n");
}

#[test]
fn a_head_is_bounded() {
    let many = "X: y\r\n".repeat(FIELDS_MAX);
    check(HeadFault::TooLarge, GET, &format!("{HOST}{many}"));
    let long = "x".repeat(FIELD_BYTES_MAX);
    check(HeadFault::TooLarge, GET, &format!("{HOST}X: {long}\r\n"));
    let target = "x".repeat(LINE_BYTES_MAX);
    check(HeadFault::LineTooLong, &format!("GET /{target} HTTP/1.1"), HOST);
}

#[test]
fn the_end_of_a_head_is_found_wherever_the_reads_are_cut() {
    let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
    let end = head.len() - 4;
    for cut in 0..head.len() {
        let first = find_end(&head[..cut], 0).expect("nothing wrong");
        assert_eq!(first, (cut >= end).then_some(end), "cut at {cut}");
        assert_eq!(find_end(head, cut.min(end - 1)), Ok(Some(end)), "cut at {cut}");
    }
}

#[test]
fn a_head_that_cannot_become_good_is_refused_before_its_end() {
    assert_eq!(find_end(b"GET / HTTP/1.1\nHost", 0), Err(HeadFault::LineEnd));
    assert_eq!(find_end(b"GET / HTTP/1.1\r\nHost: a\n", 17), Err(HeadFault::LineEnd));
    let line = vec![b'x'; LINE_BYTES_MAX];
    assert_eq!(find_end(&line, 0), Err(HeadFault::LineTooLong));
    let mut head = b"GET / HTTP/1.1\r\n".to_vec();
    head.resize(HEAD_BYTES_MAX, b'x');
    assert_eq!(find_end(&head, 0), Err(HeadFault::TooLarge));
}
