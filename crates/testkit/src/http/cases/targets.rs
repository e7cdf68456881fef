//! Forms of the request target.

use super::{BAD, Case, Expect, case, refused};

const FORM: &str = "RFC 9112 3.2: forms of the target";
const ABSOLUTE: &str = "RFC 9112 3.2.2: absolute-form";

fn line(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: ficus.test\r\nConnection: close\r\n\r\n")
}

fn with(name: &'static str, rule: &'static str, target: &str) -> Case {
    refused(name, rule, line(target))
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("absolute-form", ABSOLUTE, Expect::Passed(1), line("http://ficus.test/case")),
        with("absolute-form of another host", ABSOLUTE, "http://other.test/case"),
        with("absolute-form with another port", ABSOLUTE, "http://ficus.test:81/case"),
        with("absolute-form with a user", ABSOLUTE, "http://ficus.test@other.test/case"),
        with("absolute-form of another scheme", ABSOLUTE, "ftp://ficus.test/case"),
        with("absolute-form without a host", ABSOLUTE, "http:///case"),
        with("absolute-form with one slash", ABSOLUTE, "http:/ficus.test/case"),
        with("absolute-form with a backslash", ABSOLUTE, "http://ficus.test\\other.test/case"),
        case(
            "absolute-form without a path",
            ABSOLUTE,
            Expect::Either(1, BAD),
            line("http://ficus.test"),
        ),
        with("file: as the scheme", ABSOLUTE, "file:///etc/passwd"),
        with("authority-form with GET", FORM, "ficus.test:80"),
        with("asterisk-form with GET", FORM, "*"),
        with("a target without a slash", FORM, "case"),
        with("a target that is a query", FORM, "?case"),
        with("a fragment", FORM, "/case#fragment"),
        with("a byte above ASCII in the target", FORM, "/caf\u{e9}"),
        with("a control character in the target", FORM, "/case\u{1}"),
        with("NUL in the target", FORM, "/case\0"),
        with("DEL in the target", FORM, "/case\u{7f}"),
        with("a tab in the target", FORM, "/case\tx"),
        with("a NUL in the query", FORM, "/case?x=\0"),
        case("a query with odd characters", FORM, Expect::Passed(1), line("/case?x=/../y;z//%2f")),
    ]
}
