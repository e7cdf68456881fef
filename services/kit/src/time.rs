//! Instants as the monolith writes them.

use chrono::{DateTime, Utc};

/// RFC 3339 with microseconds: `2026-02-07T10:00:00.123400Z`.
#[must_use]
pub fn rfc3339_micros(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// RFC 3339 cut to seconds: `2026-02-07T10:00:00Z`.
#[must_use]
pub fn rfc3339(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn microseconds_are_always_six_digits() {
        let cases = [
            ("2026-02-07T10:00:00.123456Z", "2026-02-07T10:00:00.123456Z"),
            ("2026-02-07T10:00:00.12Z", "2026-02-07T10:00:00.120000Z"),
            ("2026-02-07T10:00:00Z", "2026-02-07T10:00:00.000000Z"),
        ];
        for (input, expected) in cases {
            assert_eq!(rfc3339_micros(at(input)), expected);
        }
    }

    #[test]
    fn seconds_are_cut_not_rounded() {
        assert_eq!(rfc3339(at("2026-02-07T10:00:00.999999Z")), "2026-02-07T10:00:00Z");
    }
}
