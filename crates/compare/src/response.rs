//! What stands before the body: status and content type.

use serde::Serialize;

use crate::{HashKey, ValueHash};

/// What of a response's head is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// Status code.
    pub status: u16,
    /// `Content-Type`, as it came; `None` when there is none.
    pub content_type: Option<&'a str>,
    /// `Location`, as it came; `None` when there is none.
    pub location: Option<&'a str>,
}

/// How two heads differ. One that differs in its status says nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadDifference {
    /// Another status code.
    Status {
        /// The expected one.
        expected: u16,
        /// The actual one.
        actual: u16,
    },
    /// Another content type: type, or character set where both name one.
    ContentType,
    /// Another place to go to.
    Location {
        /// Hash of the expected place; none when it is not there.
        expected: Option<ValueHash>,
        /// Hash of the actual place; none when it is not there.
        actual: Option<ValueHash>,
    },
}

/// Compares two heads; `None` when nothing differs. Content types are compared without case and
/// spaces, and without a `charset=utf-8`, which says nothing new about JSON.
#[must_use]
pub fn compare_heads(expected: Head<'_>, actual: Head<'_>, key: HashKey) -> Option<HeadDifference> {
    if expected.status != actual.status {
        let (expected, actual) = (expected.status, actual.status);
        return Some(HeadDifference::Status { expected, actual });
    }
    if media_type(expected.content_type) != media_type(actual.content_type) {
        return Some(HeadDifference::ContentType);
    }
    if expected.location != actual.location {
        let hash = |place: Option<&str>| place.map(|place| key.of_bytes(place.as_bytes()));
        let (expected, actual) = (hash(expected.location), hash(actual.location));
        return Some(HeadDifference::Location { expected, actual });
    }
    None
}

fn media_type(content_type: Option<&str>) -> Option<Vec<String>> {
    let parts = content_type?.split(';').map(|part| part.trim().to_ascii_lowercase());
    let mut parts: Vec<String> = parts.filter(|p| !p.is_empty() && p != "charset=utf-8").collect();
    // The order of parameters means nothing; the type stays in front.
    if let Some((_, parameters)) = parts.split_first_mut() {
        parameters.sort();
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: HashKey = HashKey([7; 16]);

    fn head(status: u16, content_type: &str) -> Head<'_> {
        Head { status, content_type: Some(content_type), location: None }
    }

    #[test]
    fn heads_that_mean_the_same_are_equal() {
        let plain = head(200, "application/json");
        let spelled = head(200, "Application/JSON ; Charset=UTF-8");
        assert_eq!(compare_heads(plain, spelled, KEY), None);
        let ordered = head(200, "text/plain; a=1; b=2");
        assert_eq!(compare_heads(ordered, head(200, "text/plain;b=2;a=1"), KEY), None);
    }

    #[test]
    fn the_first_difference_of_two_heads_is_named() {
        let json = head(200, "application/json");
        let status = HeadDifference::Status { expected: 200, actual: 404 };
        assert_eq!(compare_heads(json, head(404, "text/html"), KEY), Some(status));
        let html = compare_heads(json, head(200, "text/html"), KEY);
        assert_eq!(html, Some(HeadDifference::ContentType));
        let none = compare_heads(json, Head { content_type: None, ..json }, KEY);
        assert_eq!(none, Some(HeadDifference::ContentType));
        let latin = compare_heads(json, head(200, "application/json; charset=latin1"), KEY);
        assert_eq!(latin, Some(HeadDifference::ContentType));
        let moved = compare_heads(json, Head { location: Some("/a"), ..json }, KEY);
        let expected =
            HeadDifference::Location { expected: None, actual: Some(KEY.of_bytes(b"/a")) };
        assert_eq!(moved, Some(expected));
    }
}
