//! `Content-Length`.

use super::{Case, Expect, HIDDEN_REQUEST, case, get, post, refused};

const LENGTH: &str = "RFC 9112 6.3: a length that is no number, or several";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = malformed();
    cases.extend([
        case(
            "one length",
            "RFC 9112 6.2",
            Expect::Passed(1),
            post("Content-Length: 5\r\n", "hello"),
        ),
        case("length zero", "RFC 9112 6.2", Expect::Passed(1), post("Content-Length: 0\r\n", "")),
        case(
            "length with leading zeros",
            "RFC 9110 8.6",
            Expect::Either(1, &[400]),
            post("Content-Length: 0005\r\n", "hello"),
        ),
        case(
            "CL.0: a request is the body of a POST",
            "CL.0",
            Expect::Passed(1),
            post(&format!("Content-Length: {}\r\n", HIDDEN_REQUEST.len()), HIDDEN_REQUEST),
        ),
        refused(
            "0.CL: a request is the body of a GET",
            "0.CL",
            get(&format!("Content-Length: {}\r\n", HIDDEN_REQUEST.len())) + HIDDEN_REQUEST,
        ),
        refused("GET with a length", "RFC 9110 9.3.1", get("Content-Length: 5\r\n") + "hello"),
        refused(
            "HEAD with a length",
            "RFC 9110 9.3.2",
            "HEAD /case HTTP/1.1\r\nHost: ficus.test\r\nContent-Length: 5\r\n\r\nhello",
        ),
        case(
            "0.CL by an expectation nobody knows",
            "0.CL with Expect",
            Expect::Refused(&[400, 417]),
            get(&format!("Expect: y 100-continue\r\nContent-Length: {}\r\n", HIDDEN_REQUEST.len()))
                + HIDDEN_REQUEST,
        ),
        case(
            "POST with an expectation nobody knows",
            "RFC 9110 10.1.1",
            Expect::Refused(&[417, 400]),
            post("Expect: 200-ok\r\nContent-Length: 5\r\n", "hello"),
        ),
    ]);
    cases
}

fn malformed() -> Vec<Case> {
    let with = |name, value: &str| {
        refused(name, LENGTH, post(&format!("Content-Length: {value}\r\n"), "hello"))
    };
    vec![
        refused(
            "two equal lengths",
            LENGTH,
            post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
        ),
        refused(
            "two lengths, the first is zero",
            "CL.CL",
            post(
                &format!("Content-Length: 0\r\nContent-Length: {}\r\n", HIDDEN_REQUEST.len()),
                HIDDEN_REQUEST,
            ),
        ),
        refused(
            "two lengths, the second is zero",
            "CL.CL",
            post(
                &format!("Content-Length: {}\r\ncontent-length: 0\r\n", HIDDEN_REQUEST.len()),
                HIDDEN_REQUEST,
            ),
        ),
        with("a list of equal lengths", "5, 5"),
        with("a list of lengths", "0, 5"),
        with("a length with a plus", "+5"),
        with("a negative length", "-1"),
        with("a hexadecimal length", "0x5"),
        with("a length with an exponent", "5e0"),
        with("a length with a fraction", "5.0"),
        with("no length at all", ""),
        with("a length in two parts", "5 5"),
        with("a length with a parameter", "5;q=1"),
        with("a length in quotes", "\"5\""),
        with("a length with a thousands separator", "5_0"),
        with("a length beyond 64 bits", "18446744073709551621"),
        with("a length after a vertical tab", "\u{b}5"),
        with("a length after a no-break space", "\u{a0}5"),
        with("a length of Arabic digits", "\u{665}"),
        refused(
            "blank before the colon of a length",
            LENGTH,
            post("Content-Length : 5\r\n", "hello"),
        ),
        refused("NUL in the name of a length", LENGTH, post("Content-Length\0: 5\r\n", "hello")),
        refused(
            "a length on a folded line",
            "RFC 9112 5.2: obs-fold",
            post("X-A: b\r\n Content-Length: 5\r\n", "hello"),
        ),
        refused(
            "a length behind a bare LF",
            "RFC 9112 2.2: bare LF",
            post("X-A: b\nContent-Length: 5\r\n", "hello"),
        ),
    ]
}
