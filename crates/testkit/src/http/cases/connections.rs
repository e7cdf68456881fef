//! `Connection`, upgrades, several requests on one connection, and names that only look like others.

use super::{BAD, Case, Expect, HIDDEN_REQUEST, case, get, post, refused};

const NOMINATED: &str = "RFC 9110 7.6.1: fields that are for the other end";
const PIPELINE: &str = "RFC 9112 9.3.2: pipelining";
const UPGRADE: &str = "upgrade smuggling";
const ALIAS: &str = "names with _ are names with - to many servers";

const KEPT: &str = "GET /first HTTP/1.1\r\nHost: ficus.test\r\n\r\n";
const LAST: &str = "GET /last HTTP/1.1\r\nHost: ficus.test\r\nConnection: close\r\n\r\n";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = nominated();
    cases.extend(pipelines());
    cases.extend(upgrades());
    cases.extend(aliases());
    cases
}

fn nominated() -> Vec<Case> {
    let with = |name, field: &str| {
        let bytes = format!(
            "POST /case HTTP/1.1\r\nHost: ficus.test\r\nAuthorization: Basic eDp5\r\nCookie: a=b\r\n\
             Content-Length: 5\r\nConnection: close, {field}\r\n\r\nhello"
        );
        refused(name, NOMINATED, bytes)
    };
    let mut dropped = case(
        "Connection names a field of this hop",
        NOMINATED,
        Expect::Passed(1),
        "GET /case HTTP/1.1\r\nHost: ficus.test\r\nX-Hop: 1\r\nConnection: close, X-Hop\r\n\r\n",
    );
    dropped.never = &["x-hop"];
    vec![
        with("Connection names Content-Length", "Content-Length"),
        with("Connection names Host", "Host"),
        with("Connection names Authorization", "authorization"),
        with("Connection names Cookie", "Cookie"),
        with("Connection names X-Forwarded-For", "X-Forwarded-For"),
        dropped,
    ]
}

fn pipelines() -> Vec<Case> {
    let bodies = "POST /first HTTP/1.1\r\nHost: ficus.test\r\nContent-Length: 5\r\n\r\nhello\
                  POST /second HTTP/1.1\r\nHost: ficus.test\r\nTransfer-Encoding: chunked\r\n\r\n\
                  5\r\nhello\r\n0\r\n\r\n";
    vec![
        case("two requests at once", PIPELINE, Expect::Passed(2), format!("{KEPT}{LAST}")),
        case("five requests at once", PIPELINE, Expect::Passed(5), KEPT.repeat(4) + LAST),
        case(
            "requests with bodies at once",
            PIPELINE,
            Expect::Passed(3),
            format!("{bodies}{LAST}"),
        ),
        case(
            "a good request, then a malformed one",
            PIPELINE,
            Expect::Then(1, BAD),
            format!("{KEPT}GET /smuggled HTTP/1.1\r\nHost : ficus.test\r\n\r\n"),
        ),
        case(
            "a good request, then one with both lengths",
            PIPELINE,
            Expect::Then(1, BAD),
            format!(
                "{KEPT}{}",
                post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")
            ),
        ),
        case(
            "a request after one that closes",
            "RFC 9112 9.6: nothing after close",
            Expect::Passed(1),
            format!("{LAST}{HIDDEN_REQUEST}"),
        ),
        case(
            "a request after a refused one",
            "RFC 9112 9.6",
            Expect::Refused(BAD),
            format!("GET /case HTTP/1.1\r\nHost : a\r\n\r\n{HIDDEN_REQUEST}"),
        ),
        case(
            "an empty line between two requests",
            "RFC 9112 2.2",
            Expect::Either(2, BAD),
            format!(
                "{}\r\n{LAST}",
                "POST /first HTTP/1.1\r\nHost: ficus.test\r\nContent-Length: 0\r\n\r\n"
            ),
        ),
        case(
            "a HEAD, then a GET",
            "RFC 9110 9.3.2: no body after HEAD",
            Expect::Passed(2),
            format!("HEAD /first HTTP/1.1\r\nHost: ficus.test\r\n\r\n{LAST}"),
        ),
    ]
}

fn upgrades() -> Vec<Case> {
    let mut h2c = case(
        "h2c through the gateway",
        UPGRADE,
        Expect::Passed(1),
        get("Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"),
    );
    h2c.never = &["upgrade:", "http2-settings"];
    let socket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    vec![
        h2c,
        case(
            "a WebSocket that the upstream does not open, then a request",
            UPGRADE,
            Expect::Either(2, BAD),
            format!("GET /first HTTP/1.1\r\nHost: ficus.test\r\n{socket}\r\n{LAST}"),
        ),
        refused("a WebSocket by POST", UPGRADE, {
            format!(
                "POST /case HTTP/1.1\r\nHost: ficus.test\r\n{socket}Content-Length: {}\r\n\r\n{HIDDEN_REQUEST}",
                HIDDEN_REQUEST.len()
            )
        }),
        refused(
            "a WebSocket with a body",
            UPGRADE,
            format!(
                "GET /case HTTP/1.1\r\nHost: ficus.test\r\n{socket}Content-Length: {}\r\n\r\n{HIDDEN_REQUEST}",
                HIDDEN_REQUEST.len()
            ),
        ),
        refused(
            "the preface of HTTP/2 behind a request",
            UPGRADE,
            format!("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n{HIDDEN_REQUEST}"),
        )
        .allowing(Expect::Refused(&[400, 405, 501, 505])),
    ]
}

fn aliases() -> Vec<Case> {
    let with = |name, fields: &str, never| {
        let mut case = case(name, ALIAS, Expect::Either(1, BAD), get(fields));
        case.never = never;
        case
    };
    vec![
        with("X_Forwarded_For", "X_Forwarded_For: 6.6.6.6\r\n", &["6.6.6.6"]),
        with("X-Forwarded-For", "X-Forwarded-For: 6.6.6.6\r\n", &["6.6.6.6"]),
        with("Forwarded", "Forwarded: for=6.6.6.6\r\n", &["6.6.6.6"]),
        with("X-Real-IP", "X-Real-IP: 6.6.6.6\r\n", &["6.6.6.6"]),
        with("X-Forwarded-Host", "X-Forwarded-Host: evil.test\r\n", &["evil.test"]),
        with("a name that is ours", "Ficus-Identity: admin-x\r\n", &["admin-x"]),
    ]
}

impl Case {
    fn allowing(mut self, expect: Expect) -> Self {
        self.expect = expect;
        self
    }
}
