//! Bodies in chunks.

use super::{Case, Expect, HIDDEN_REQUEST, case};

const SIZE: &str = "RFC 9112 7.1: chunk-size";
const LINE: &str = "RFC 9112 7.1: lines end in CRLF";
const EXTENSION: &str = "RFC 9112 7.1.1: chunk-ext";
const TRAILER: &str = "RFC 9110 6.5.1: what must not come after the body";

fn chunked(body: &str) -> String {
    format!(
        "POST /case HTTP/1.1\r\nHost: ficus.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
    )
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = sizes();
    cases.extend(lines());
    cases.extend(trailers());
    cases.extend([
        passed("two chunks", SIZE, "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"),
        passed("an empty body in chunks", SIZE, "0\r\n\r\n"),
        passed("a size with leading zeros", SIZE, "0005\r\nhello\r\n000\r\n\r\n"),
        passed("a size in upper case", SIZE, "A\r\n0123456789\r\n0\r\n\r\n"),
        passed("an extension", EXTENSION, "5;a=b;c=\"d\"\r\nhello\r\n0;last\r\n\r\n"),
        passed("trailers", "RFC 9112 7.1.2", "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"),
    ]);
    cases
}

fn passed(name: &'static str, rule: &'static str, body: &str) -> Case {
    case(name, rule, Expect::Passed(1), chunked(body))
}

fn broken(name: &'static str, rule: &'static str, body: &str) -> Case {
    case(name, rule, Expect::Broken, chunked(body))
}

fn sizes() -> Vec<Case> {
    vec![
        broken("a size with 0x", SIZE, "0x5\r\nhello\r\n0\r\n\r\n"),
        broken("a size with a plus", SIZE, "+5\r\nhello\r\n0\r\n\r\n"),
        broken("a negative size", SIZE, "-5\r\nhello\r\n0\r\n\r\n"),
        broken("a size after a blank", SIZE, " 5\r\nhello\r\n0\r\n\r\n"),
        broken("a size before a blank", SIZE, "5 \r\nhello\r\n0\r\n\r\n"),
        broken("a size before a tab", SIZE, "5\t\r\nhello\r\n0\r\n\r\n"),
        broken("a size with an underscore", SIZE, "0_5\r\nhello\r\n0\r\n\r\n"),
        broken("an empty size", SIZE, "\r\nhello\r\n0\r\n\r\n"),
        broken("a size that is a word", SIZE, "five\r\nhello\r\n0\r\n\r\n"),
        broken("a size with a bracket", SIZE, "5]\r\nhello\r\n0\r\n\r\n"),
        broken("a size of 2^64 and 5", SIZE, "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        broken("a size of 2^64 less 1", SIZE, "ffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        broken("NUL in a size", SIZE, "5\0\r\nhello\r\n0\r\n\r\n"),
        broken("a comma in a size", SIZE, "5,5\r\nhello\r\n0\r\n\r\n"),
    ]
}

fn lines() -> Vec<Case> {
    vec![
        broken("a size that ends in LF", LINE, "5\nhello\r\n0\r\n\r\n"),
        broken("a size that ends in CR", LINE, "5\rhello\r\n0\r\n\r\n"),
        broken("a size that ends in CR CR LF", LINE, "5\r\r\nhello\r\n0\r\n\r\n"),
        broken("data that ends in LF", LINE, "5\r\nhello\n0\r\n\r\n"),
        broken("data that ends in CR", LINE, "5\r\nhello\r0\r\n\r\n"),
        broken("data that ends in two letters", LINE, "5\r\nhelloXX0\r\n\r\n"),
        broken("data that is longer than its size", LINE, "4\r\nhello\r\n0\r\n\r\n"),
        broken("a last chunk that ends in LF", LINE, "5\r\nhello\r\n0\n\r\n"),
        broken("an end that is LF", LINE, "5\r\nhello\r\n0\r\n\n"),
        broken(
            "an extension that ends in LF",
            EXTENSION,
            &format!(
                "2;\nxx\r\n{:x}\r\n0\r\n\r\n{HIDDEN_REQUEST}\r\n0\r\n\r\n",
                5 + HIDDEN_REQUEST.len()
            ),
        ),
        broken("an extension with a bare CR", EXTENSION, "5;a\rb\r\nhello\r\n0\r\n\r\n"),
        broken("an extension with NUL", EXTENSION, "5;a\0b\r\nhello\r\n0\r\n\r\n"),
        broken(
            "an extension of 16 KiB",
            EXTENSION,
            &format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(16 * 1024)),
        ),
    ]
}

fn trailers() -> Vec<Case> {
    let with = |name, rule, trailer: &str| {
        broken(name, rule, &format!("5\r\nhello\r\n0\r\n{trailer}\r\n"))
    };
    vec![
        with("a length in the trailers", TRAILER, "Content-Length: 5\r\n"),
        with("a coding in the trailers", TRAILER, "Transfer-Encoding: chunked\r\n"),
        with("a host in the trailers", TRAILER, "Host: other.test\r\n"),
        with("credentials in the trailers", TRAILER, "Authorization: Basic eDp5\r\n"),
        with("a trailer without a colon", "RFC 9112 7.1.2", "X-Sum\r\n"),
        with("a folded trailer", "RFC 9112 5.2", "X-Sum: 1\r\n 2\r\n"),
        with("a trailer that ends in LF", LINE, "X-Sum: 1\n"),
        with("a blank before the colon of a trailer", "RFC 9112 5.1", "X-Sum : 1\r\n"),
        broken(
            "trailers of 64 KiB",
            "RFC 9110 6.5.1: bounded",
            &format!(
                "5\r\nhello\r\n0\r\n{}\r\n",
                format!("X-A: {}\r\n", "x".repeat(1000)).repeat(64)
            ),
        ),
    ]
}
