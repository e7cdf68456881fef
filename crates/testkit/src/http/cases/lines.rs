//! Request lines, field lines and their ends.

use super::{BAD, Case, Expect, HIDDEN_REQUEST, case, get, refused};

const END: &str = "RFC 9112 2.2: lines end in CRLF";
const FOLD: &str = "RFC 9112 5.2: obs-fold";
const FIELD: &str = "RFC 9112 5: field-line";
const LINE: &str = "RFC 9112 3: request-line";
const METHOD: &str = "RFC 9110 9.1: methods";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = ends();
    cases.extend(fields());
    cases.extend(request_lines());
    cases.extend(methods());
    cases.extend(bounds());
    cases
}

fn ends() -> Vec<Case> {
    vec![
        case("a plain request", "RFC 9112 2.1", Expect::Passed(1), get("Accept: */*\r\n")),
        refused("all lines end in LF", END, "GET /case HTTP/1.1\nHost: ficus.test\n\n"),
        refused("the request line ends in LF", END, "GET /case HTTP/1.1\nHost: ficus.test\r\n\r\n"),
        refused("a field line ends in LF", END, get("X-A: b\nX-C: d\r\n")),
        refused("a field line ends in CR", END, get("X-A: b\rX-C: d\r\n")),
        refused("a field line ends in CR CR LF", END, get("X-A: b\r\r\n")),
        refused("the head ends in LF", END, "GET /case HTTP/1.1\r\nHost: ficus.test\r\n\n"),
        refused(
            "the head ends in LF before another one",
            END,
            format!("GET /case HTTP/1.1\r\nHost: ficus.test\r\nX-A: b\n\n{HIDDEN_REQUEST}"),
        ),
        case(
            "an empty line before the request",
            "RFC 9112 2.2: may be ignored",
            Expect::Either(1, BAD),
            format!("\r\n{}", get("")),
        ),
        refused("a blank line before the first field", "RFC 9112 2.2", {
            "GET /case HTTP/1.1\r\n Host: ficus.test\r\n\r\n"
        }),
    ]
}

fn fields() -> Vec<Case> {
    vec![
        refused("a folded value", FOLD, get("X-A: b\r\n c\r\n")),
        refused("a value folded with a tab", FOLD, get("X-A: b\r\n\tc\r\n")),
        refused("a folded field with a colon", FOLD, get("X-A: b\r\n X-C: d\r\n")),
        refused("a blank before a colon", FIELD, get("X-A : b\r\n")),
        refused("a tab before a colon", FIELD, get("X-A\t: b\r\n")),
        refused("a field without a colon", FIELD, get("X-A\r\n")),
        refused("a field without a name", FIELD, get(": b\r\n")),
        refused("a blank in a name", FIELD, get("X A: b\r\n")),
        refused("a bracket in a name", FIELD, get("X(A): b\r\n")),
        refused("a byte above ASCII in a name", FIELD, get("X-\u{e9}: b\r\n")),
        refused("NUL in a name", FIELD, get("X-\0A: b\r\n")),
        refused("NUL in a value", "RFC 9110 5.5", get("X-A: b\0c\r\n")),
        refused("a bell in a value", "RFC 9110 5.5", get("X-A: b\u{7}c\r\n")),
        refused("DEL in a value", "RFC 9110 5.5", get("X-A: b\u{7f}c\r\n")),
        case(
            "a byte above ASCII in a value",
            "RFC 9110 5.5",
            Expect::Passed(1),
            get("X-A: \u{e9}\r\n"),
        ),
        case("an empty value", "RFC 9110 5.5", Expect::Passed(1), get("X-A:\r\n")),
    ]
}

fn request_lines() -> Vec<Case> {
    let line = |name, line: &str| {
        refused(name, LINE, format!("{line}\r\nHost: ficus.test\r\nConnection: close\r\n\r\n"))
    };
    let version = |name, line: &str| {
        let expect = Expect::Refused(&[505, 400]);
        case(name, "RFC 9110 2.5: versions", expect, format!("{line}\r\nHost: ficus.test\r\n\r\n"))
    };
    vec![
        line("two blanks before the target", "GET  /case HTTP/1.1"),
        line("two blanks before the version", "GET /case  HTTP/1.1"),
        line("a tab before the target", "GET\t/case HTTP/1.1"),
        line("a blank at the end of the line", "GET /case HTTP/1.1 "),
        line("a blank at the start of the line", " GET /case HTTP/1.1"),
        line("a blank in the target", "GET /case x HTTP/1.1"),
        line("a version in lower case", "GET /case http/1.1"),
        line("a version with letters", "GET /case HTTP/1.1x"),
        line("a version of one digit", "GET /case HTTP/1"),
        line("a version of three digits", "GET /case HTTP/1.10"),
        line("a version with a comma", "GET /case HTTP/1,1"),
        line("another protocol", "GET /case ICAP/1.1"),
        line("no target", "GET HTTP/1.1"),
        version("HTTP/2.0 in a request line", "GET /case HTTP/2.0"),
        version("HTTP/1.2", "GET /case HTTP/1.2"),
        version("HTTP/0.9 with a version", "GET /case HTTP/0.9"),
        refused("HTTP/0.9", LINE, "GET /case\r\n\r\n"),
        refused(
            "a TLS handshake on a plain port",
            LINE,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        ),
    ]
}

fn methods() -> Vec<Case> {
    let method = |name, method: &str, allowed: &'static [u16]| {
        let bytes =
            format!("{method} /case HTTP/1.1\r\nHost: ficus.test\r\nConnection: close\r\n\r\n");
        case(name, METHOD, Expect::Refused(allowed), bytes)
    };
    vec![
        method("a method in lower case", "get", &[400, 405, 501]),
        method("a method in two cases", "Post", &[400, 405, 501]),
        method("a method nobody knows", "FROB", &[405, 501]),
        method("a method with a bracket", "GE(T", BAD),
        method("a method with NUL", "GET\0", BAD),
        method("TRACE", "TRACE", &[405, 501]),
        case(
            "CONNECT",
            METHOD,
            Expect::Refused(&[405, 501, 400]),
            "CONNECT ficus.test:80 HTTP/1.1\r\nHost: ficus.test:80\r\n\r\n",
        ),
        case(
            "DELETE without a body",
            METHOD,
            Expect::Passed(1),
            "DELETE /case HTTP/1.1\r\nHost: ficus.test\r\nConnection: close\r\n\r\n",
        ),
    ]
}

fn bounds() -> Vec<Case> {
    let many = "X-A: b\r\n".repeat(120);
    let large = format!("X-A: {}\r\n", "b".repeat(40_000));
    let endless = format!("GET /case HTTP/1.1\r\nHost: ficus.test\r\nX-A: {}", "b".repeat(100_000));
    let target = format!("GET /{} HTTP/1.1\r\nHost: ficus.test\r\n\r\n", "a".repeat(10_000));
    let cookies = "Cookie: a=b\r\n".repeat(5_000);
    vec![
        case("120 fields", "RFC 6585 5", Expect::Refused(&[431]), get(&many)),
        case("5,000 cookies", "RFC 6585 5", Expect::Refused(&[431]), get(&cookies)),
        case("a field of 40 KB", "RFC 6585 5", Expect::Refused(&[431]), get(&large)),
        case("a field that does not end", "RFC 6585 5", Expect::Refused(&[431]), endless),
        case("a target of 10 KB", "RFC 9110 15.5.15", Expect::Refused(&[414, 431]), target),
        case(
            "a method that does not end",
            "RFC 9112 3",
            Expect::Refused(&[400, 414, 431, 501]),
            "A".repeat(100_000),
        ),
    ]
}
