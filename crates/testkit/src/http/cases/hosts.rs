//! `Host`.

use super::{BAD, Case, Expect, case, refused};

const HOST: &str = "RFC 9112 3.2: exactly one valid Host";

fn with(name: &'static str, fields: &str) -> Case {
    refused(name, HOST, format!("GET /case HTTP/1.1\r\n{fields}Connection: close\r\n\r\n"))
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        with("no host", ""),
        with("an empty host", "Host:\r\n"),
        with("two equal hosts", "Host: ficus.test\r\nHost: ficus.test\r\n"),
        with("two hosts", "Host: ficus.test\r\nHost: other.test\r\n"),
        with("two hosts, one in lower case", "Host: ficus.test\r\nhost: other.test\r\n"),
        with("a list of hosts", "Host: ficus.test, other.test\r\n"),
        with("a host with a user", "Host: user@ficus.test\r\n"),
        with("a host with a path", "Host: ficus.test/case\r\n"),
        with("a host with a query", "Host: ficus.test?x\r\n"),
        with("a host with a scheme", "Host: http://ficus.test\r\n"),
        with("a host with a blank", "Host: ficus.test other.test\r\n"),
        with("a host with a port that is no number", "Host: ficus.test:http\r\n"),
        with("a host with a port too large", "Host: ficus.test:65536\r\n"),
        with("a host with two ports", "Host: ficus.test:80:81\r\n"),
        with("a host with a backslash", "Host: ficus.test\\other.test\r\n"),
        with("a host with a broken IPv6 address", "Host: [::1\r\n"),
        with("a host with a byte above ASCII", "Host: f\u{ef}cus.test\r\n"),
        with("a blank before the colon of the host", "Host : ficus.test\r\n"),
        with("a host on a folded line", "Host:\r\n ficus.test\r\n"),
        case(
            "a host with a port",
            HOST,
            Expect::Passed(1),
            "GET /case HTTP/1.1\r\nHost: ficus.test:8080\r\nConnection: close\r\n\r\n",
        ),
        case(
            "a host that is an IPv6 address",
            HOST,
            Expect::Passed(1),
            "GET /case HTTP/1.1\r\nHost: [::1]:8080\r\nConnection: close\r\n\r\n",
        ),
        case(
            "HTTP/1.0 without a host",
            "RFC 9112 3.2: allowed in HTTP/1.0, and ambiguous behind a gateway",
            Expect::Either(1, BAD),
            "GET /case HTTP/1.0\r\n\r\n",
        ),
    ]
}
