//! What each small language accepts and refuses.

use proptest::prelude::{prop_assert_eq, proptest};

use super::*;

#[test]
fn durations_are_digits_and_one_unit() {
    let seconds = Duration::from_secs;
    let cases = [
        ("500ms", Some(Duration::from_millis(500))),
        ("10s", Some(seconds(10))),
        ("10m", Some(seconds(600))),
        ("2h", Some(seconds(7200))),
        ("7d", Some(seconds(604_800))),
        ("0s", Some(seconds(0))),
        ("10x", None),
        ("10", None),
        ("s", None),
        ("", None),
        ("1.5s", None),
        ("-1s", None),
        ("10 s", None),
        ("10é", None),
        ("99999999999999999999s", None),
        ("999999999999999999d", None),
    ];
    for (text, expected) in cases {
        assert_eq!(duration(text), expected, "{text}");
    }
}

#[test]
fn sizes_are_digits_and_a_binary_unit() {
    let cases = [
        ("8MiB", Some(8 << 20)),
        ("1KiB", Some(1024)),
        ("0B", Some(0)),
        ("2GiB", Some(2 << 30)),
        ("8MB", None),
        ("8", None),
        ("99999999999999999GiB", None),
    ];
    for (text, expected) in cases {
        assert_eq!(size(text), expected, "{text}");
    }
}

#[test]
fn percentages_are_plain_numbers_up_to_a_hundred() {
    let cases = [
        ("1%", Some(0.01)),
        ("0.1%", Some(0.001)),
        ("0%", Some(0.0)),
        ("100%", Some(1.0)),
        ("101%", None),
        ("-1%", None),
        ("1", None),
        ("%", None),
        ("1e1%", None),
        ("inf%", None),
        ("NaN%", None),
        (".5%", None),
        ("1.2.3%", None),
    ];
    for (text, expected) in cases {
        assert_eq!(percent(text), expected, "{text}");
    }
}

#[test]
fn names_fit_into_slot_names() {
    let longest = "a".repeat(30);
    for name in ["tickets", "a", "a_1", longest.as_str()] {
        assert!(is_name(name), "{name}");
    }
    let too_long = "a".repeat(31);
    for name in ["", "Tickets", "1a", "_a", "a-b", "é", too_long.as_str()] {
        assert!(!is_name(name), "{name}");
    }
}

#[test]
fn subjects_name_a_source_and_what_is_in_it() {
    for text in ["jwt:sub", "cookie:session_id", "header:x-api-key", "ip"] {
        assert_eq!(subject(text).map(|source| subject_text(&source)).as_deref(), Some(text));
    }
    assert_eq!(subject("header:X-Api-Key"), Some(SubjectSource::Header("x-api-key".to_owned())));
    for text in ["", "ip:", "jwt:", "cookie", "header:a b", "query:x"] {
        assert_eq!(subject(text), None, "{text}");
    }
}

#[test]
fn unordered_arrays_name_their_key() {
    let pair = |array: &str, key: &str| Some((array.to_owned(), key.to_owned()));
    assert_eq!(unordered("/data by /id"), pair("/data", "/id"));
    assert_eq!(unordered("/tags"), pair("/tags", ""));
    assert_eq!(unordered("by /id"), pair("", "/id"));
    assert_eq!(unordered("data by /id"), None);
    assert_eq!(unordered("/data by id"), None);
    assert_eq!(unordered(""), None);
}

#[test]
fn matches_that_could_never_be_meant_are_refused_with_the_reason() {
    let cases = [
        ("GET /", Ok("GET /")),
        ("* /a/{*rest}", Ok("* /a/{*rest}")),
        ("GET /a/{id}/", Ok("GET /a/{id}/")),
        ("M-SEARCH /a", Ok("M-SEARCH /a")),
        ("/a", Err("has no space between method and path")),
        ("get /a", Err("has a method that is neither * nor upper case")),
        (" /a", Err("has a method that is neither * nor upper case")),
        ("GET a", Err("has a path that does not start with /")),
        ("GET /a b", Err("has a path with spaces, a query, a fragment or letters beyond ASCII")),
        ("GET /a?b=1", Err("has a path with spaces, a query, a fragment or letters beyond ASCII")),
        ("GET //a", Err("has an empty, . or .. segment, which the proxy refuses")),
        ("GET /a/../b", Err("has an empty, . or .. segment, which the proxy refuses")),
        ("GET /a{id}", Err("has a parameter that is not a whole segment")),
        ("GET /{a}{b}", Err("has a parameter without a plain name")),
        ("GET /{*a}/b", Err("has {*…} before its last segment")),
        ("GET /{}", Err("has a parameter without a plain name")),
    ];
    for (text, expected) in cases {
        let matched = route_match(text).map(|(method, path)| format!("{method} {path}"));
        assert_eq!(matched, expected.map(str::to_owned), "{text}");
    }
}

proptest! {
    #[test]
    fn a_duration_survives_its_text(millis in 0_u64..10_000_000_000) {
        let written = Duration::from_millis(millis);
        prop_assert_eq!(duration(&duration_text(written)), Some(written));
    }
}
