//! Paths that two servers name differently.

use super::{Case, Expect, case, refused};

const DOTS: &str = "RFC 3986 5.2.4: dot segments";
const ENCODED: &str = "RFC 3986 2.2: encoded delimiters";
const PERCENT: &str = "RFC 3986 2.1: percent-encoding";

fn line(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: ficus.test\r\nConnection: close\r\n\r\n")
}

fn with(name: &'static str, rule: &'static str, path: &str) -> Case {
    refused(name, rule, line(path))
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        with("..", DOTS, "/public/../smuggled"),
        with(".. at the start", DOTS, "/../smuggled"),
        with(".. at the end", DOTS, "/public/.."),
        with(".", DOTS, "/public/./case"),
        with("encoded ..", DOTS, "/public/%2e%2e/smuggled"),
        with("half encoded ..", DOTS, "/public/.%2E/smuggled"),
        with("an empty segment", "path confusion", "//smuggled"),
        with("an empty segment inside", "path confusion", "/public//smuggled"),
        with(".. with a parameter", "path confusion: ..;", "/public/..;/smuggled"),
        with(".. with an encoded parameter", "path confusion: ..;", "/public/..%3b/smuggled"),
        with("a parameter", "RFC 3986 3.3: parameters", "/public;a=b/case"),
        with("an encoded slash", ENCODED, "/public%2f..%2fsmuggled"),
        with("an encoded slash in upper case", ENCODED, "/public%2Fcase"),
        with("a backslash", "path confusion: \\", "/public\\..\\smuggled"),
        with("an encoded backslash", ENCODED, "/public%5c..%5csmuggled"),
        with("NUL", PERCENT, "/case%00.png"),
        with("CRLF", PERCENT, "/case%0d%0aX-A:%20b"),
        with("encoded twice", "double encoding", "/public/%252e%252e/smuggled"),
        with("a slash encoded twice", "double encoding", "/public%252fsmuggled"),
        with("% that encodes nothing", PERCENT, "/case%zz"),
        with("% at the end", PERCENT, "/case%"),
        with("one digit after %", PERCENT, "/case%2"),
        with("%u", PERCENT, "/case%u002e%u002e/smuggled"),
        with("an overlong slash", "RFC 3629 3: overlong", "/public%c0%afsmuggled"),
        with("an overlong dot", "RFC 3629 3: overlong", "/public/%c0%ae%c0%ae/smuggled"),
        with("bytes that are no UTF-8", "RFC 3629", "/case%ff%fe"),
        with("a surrogate", "RFC 3629 3", "/case%ed%a0%80"),
    ];
    cases.extend([
        case("an encoded blank", PERCENT, Expect::Passed(1), line("/case%20x")),
        case("encoded UTF-8", PERCENT, Expect::Passed(1), line("/caf%C3%A9")),
        case("dots inside a name", DOTS, Expect::Passed(1), line("/a..b/..c/d../.e")),
        case("encoded letters", "RFC 3986 6.2.2.2", Expect::Passed(1), line("/%63ase")),
        case("a slash at the end", "RFC 3986 6.2.2", Expect::Passed(1), line("/case/")),
    ]);
    cases
}
