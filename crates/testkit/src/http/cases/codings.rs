//! `Transfer-Encoding`.

use super::{Case, Expect, HIDDEN_REQUEST, case, post, refused};

const BOTH: &str = "RFC 9112 6.1: both lengths";
const CODING: &str = "RFC 9112 6.1: a coding that is not chunked, or not last";
const TE_TE: &str = "TE.TE: a coding that one of two servers overlooks";

/// A body in one chunk.
const CHUNKED: &str = "5\r\nhello\r\n0\r\n\r\n";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = both();
    cases.extend(disguised());
    cases.extend([
        case(
            "chunked",
            "RFC 9112 7.1",
            Expect::Passed(1),
            post("Transfer-Encoding: chunked\r\n", CHUNKED),
        ),
        case(
            "chunked in another case, after a tab",
            "RFC 9112 7: case-insensitive",
            Expect::Passed(1),
            post("transfer-ENCODING:\tChunKed \r\n", CHUNKED),
        ),
        case(
            "TE.0: a request in the chunk of OPTIONS",
            "TE.0",
            Expect::Passed(1),
            format!(
                "OPTIONS /case HTTP/1.1\r\nHost: ficus.test\r\nConnection: close\r\n\
                 Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{HIDDEN_REQUEST}\r\n0\r\n\r\n",
                HIDDEN_REQUEST.len()
            ),
        ),
        refused(
            "chunked in HTTP/1.0",
            "RFC 9112 6.1: no coding in HTTP/1.0",
            format!(
                "POST /case HTTP/1.0\r\nHost: ficus.test\r\nTransfer-Encoding: chunked\r\n\r\n{CHUNKED}"
            ),
        ),
        refused(
            "GET with chunks",
            "RFC 9110 9.3.1",
            format!(
                "GET /case HTTP/1.1\r\nHost: ficus.test\r\nTransfer-Encoding: chunked\r\n\r\n{CHUNKED}"
            ),
        ),
    ]);
    cases
}

fn both() -> Vec<Case> {
    let length = HIDDEN_REQUEST.len() + 5;
    let hidden = format!("0\r\n\r\n{HIDDEN_REQUEST}");
    vec![
        refused(
            "CL.TE",
            BOTH,
            post(&format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"), &hidden),
        ),
        refused(
            "TE.CL",
            BOTH,
            post(
                "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
                &format!("{:x}\r\n{HIDDEN_REQUEST}\r\n0\r\n\r\n", HIDDEN_REQUEST.len()),
            ),
        ),
        refused(
            "both, the length is zero",
            BOTH,
            post("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", CHUNKED),
        ),
        refused(
            "both, the coding is identity",
            BOTH,
            post("Content-Length: 5\r\nTransfer-Encoding: identity\r\n", "hello"),
        ),
        refused(
            "both, the coding is empty",
            BOTH,
            post("Content-Length: 5\r\nTransfer-Encoding:\r\n", "hello"),
        ),
        refused(
            "both, in HTTP/1.0",
            BOTH,
            format!(
                "POST /case HTTP/1.0\r\nHost: ficus.test\r\nContent-Length: {length}\r\n\
                 Transfer-Encoding: chunked\r\n\r\n{hidden}"
            ),
        ),
    ]
}

fn disguised() -> Vec<Case> {
    let with = |name, value: &str| {
        let allowed = Expect::Refused(&[400, 501]);
        case(name, CODING, allowed, post(&format!("Transfer-Encoding: {value}\r\n"), CHUNKED))
    };
    let hide = |name, line: &str| {
        let fields = format!("{line}\r\nContent-Length: {}\r\n", HIDDEN_REQUEST.len() + 5);
        refused(name, TE_TE, post(&fields, &format!("0\r\n\r\n{HIDDEN_REQUEST}")))
    };
    let mut underscore = case(
        "an underscore in the name of a coding",
        TE_TE,
        Expect::Either(1, &[400]),
        post("Transfer_Encoding: chunked\r\nContent-Length: 5\r\n", "hello"),
    );
    underscore.never = &["transfer_encoding"];
    vec![
        refused(
            "chunked twice",
            CODING,
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", CHUNKED),
        ),
        refused(
            "chunked, then identity on another line",
            TE_TE,
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", CHUNKED),
        ),
        with("chunked twice in a list", "chunked, chunked"),
        with("chunked is not the last coding", "chunked, gzip"),
        with("chunked, then identity", "chunked, identity"),
        with("only gzip", "gzip"),
        with("gzip, then chunked", "gzip, chunked"),
        with("a coding nobody knows", "cow"),
        with("xchunked", "xchunked"),
        with("chunked with a letter more", "chunkedx"),
        with("chunked in quotes", "\"chunked\""),
        with("chunked in single quotes", "'chunked'"),
        with("chunked with a parameter", "chunked;q=1"),
        with("chunked after a comma", ",chunked"),
        with("chunked before a comma", "chunked,"),
        with("chunked after a vertical tab", "\u{b}chunked"),
        with("chunked after a byte above ASCII", "\u{ff}chunked"),
        with("chunked with a Kelvin sign", "chun\u{212a}ed"),
        hide("blank before the colon of a coding", "Transfer-Encoding : chunked"),
        hide("tab before the colon of a coding", "Transfer-Encoding\t: chunked"),
        hide("blank before the name of a coding", " Transfer-Encoding: chunked"),
        hide("a coding behind a bare LF", "X-A: b\nTransfer-Encoding: chunked"),
        hide("a coding behind a bare CR", "X-A: b\rTransfer-Encoding: chunked"),
        hide("a folded coding", "Transfer-Encoding:\r\n chunked"),
        hide("NUL before a coding", "\0Transfer-Encoding: chunked"),
        hide("NUL after the value of a coding", "Transfer-Encoding: chunked\0"),
        hide("a coding in a value with LF CR", "X-A: b\n\rTransfer-Encoding: chunked"),
        underscore,
    ]
}
