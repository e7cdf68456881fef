//! What of a difference is noise. Pure.

use crate::shadow::capture::Difference;

/// The service differs beyond the noise when its share exceeds the monolith's own by this much of both.
const RELATIVE_MIN: f64 = 0.20;
/// And by this share of all rounds.
const ABSOLUTE_MIN: f64 = 0.000_3;

/// The place of a difference, whichever element of an array it was seen in.
pub(super) fn pattern(pointer: &str) -> String {
    let any = |part: &str| {
        let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { "*".to_owned() } else { part.to_owned() }
    };
    pointer.split('/').map(any).collect::<Vec<_>>().join("/")
}

/// Whether the monolith differed from itself at the same time at this place, or above it. A value that
/// changes excuses another value, but not another type or a member that is not there.
pub(super) fn is_masked(raw: &Difference, noise: &[Difference]) -> bool {
    let place = pattern(&raw.pointer);
    noise.iter().any(|noise| match noise.kind {
        "value" => raw.kind == "value" && pattern(&noise.pointer) == place,
        _ => covers(&pattern(&noise.pointer), &place),
    })
}

fn covers(above: &str, place: &str) -> bool {
    place.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The three-way rule: a place is noise when it differed from itself, and the service does not differ
/// there more often than that by a relative and an absolute bound.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(super) fn is_noise(raw: u64, noise: u64, rounds: u64) -> bool {
    let beyond = raw.saturating_sub(noise) as f64;
    let relative = beyond / (raw + noise).max(1) as f64;
    let absolute = beyond / rounds.max(1) as f64;
    noise > 0 && !(relative > RELATIVE_MIN && absolute > ABSOLUTE_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(pointer: &str, kind: &'static str) -> Difference {
        let hash = String::new;
        Difference { pointer: pointer.to_owned(), kind, expected: hash(), actual: hash() }
    }

    #[test]
    fn numbers_of_elements_are_no_part_of_a_place() {
        assert_eq!(pattern("/data/12/a1/0"), "/data/*/a1/*");
        assert_eq!((pattern(""), pattern("status")), (String::new(), "status".to_owned()));
    }

    #[test]
    fn noise_excuses_its_own_place_and_what_is_below_it() {
        let length = [at("/data", "length")];
        assert!(is_masked(&at("/data/3/id", "value"), &length));
        assert!(!is_masked(&at("/database", "value"), &length));
        let value = [at("/data/0/at", "value")];
        assert!(is_masked(&at("/data/7/at", "value"), &value));
        assert!(!is_masked(&at("/data/7/at", "missing"), &value));
        assert!(!is_masked(&at("/data/7", "value"), &value));
    }

    #[test]
    fn no_noise_is_never_noise_and_equal_shares_always_are() {
        for count in [1, 10, 1_000] {
            assert!(!is_noise(count, 0, count));
            assert!(is_noise(count, count, count));
            assert!(is_noise(0, count, count));
        }
        assert!(!is_noise(100, 50, 100));
        assert!(is_noise(100, 80, 100));
        assert!(is_noise(3, 1, 100_000), "too seldom to tell");
    }
}
