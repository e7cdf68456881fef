//! Whether one share is above another by more than is allowed, or only seems to be.

/// Standard errors of a difference that count as no chance: one in 700, because it is asked every second.
const CERTAIN: f64 = 3.0;
/// Fewer requests of the one that is judged never condemn it.
const JUDGED_MIN: u64 = 10;
/// With fewer requests of the other there is nothing to compare with: its share counts as zero.
const OTHER_MIN: u64 = 50;

/// How the shares compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    /// Not above the other by more than allowed, as far as was seen.
    Within,
    /// Above by more than allowed, which may be chance.
    Unclear,
    /// Above by more than allowed, which is hardly chance.
    Above,
}

/// Compares (errors, requests) of one with those of the other: a one-sided test of two proportions
/// against `allowed` (0 to 1), each with one success and one failure added, so that it holds for small
/// counts and for counts without errors.
pub(super) fn compare(judged: (u64, u64), other: (u64, u64), allowed: f64) -> Comparison {
    let (of_judged, variance_judged) = smoothed(judged);
    let (of_other, variance_other) = if other.1 < OTHER_MIN { (0.0, 0.0) } else { smoothed(other) };
    let seen_other = if other.1 < OTHER_MIN { 0.0 } else { plain(other) };
    if plain(judged) - seen_other <= allowed {
        return Comparison::Within;
    }
    let error = (variance_judged + variance_other).sqrt();
    let is_certain = of_judged - of_other - allowed > CERTAIN * error;
    if judged.1 >= JUDGED_MIN && is_certain { Comparison::Above } else { Comparison::Unclear }
}

/// A share and its variance, after one success and one failure more.
#[expect(clippy::cast_precision_loss, reason = "counts of a window are far below 2^52")]
fn smoothed((part, whole): (u64, u64)) -> (f64, f64) {
    let whole = whole as f64 + 2.0;
    let share = (part as f64 + 1.0) / whole;
    (share, share * (1.0 - share) / whole)
}

#[expect(clippy::cast_precision_loss, reason = "counts of a window are far below 2^52")]
fn plain((part, whole): (u64, u64)) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_errors_never_make_it_better_and_fewer_never_worse() {
        let rank = |comparison| match comparison {
            Comparison::Within => 0,
            Comparison::Unclear => 1,
            Comparison::Above => 2,
        };
        for requests in [1, 9, 10, 50, 100, 1_000, 100_000] {
            for errors_other in [0, 1, requests / 10, requests] {
                let mut last = 0;
                for errors in 0..=requests.min(500) {
                    let now = rank(compare((errors, requests), (errors_other, requests), 0.01));
                    assert!(now >= last, "{errors} of {requests}, other {errors_other}");
                    last = now;
                }
            }
        }
    }

    #[test]
    fn the_same_share_is_within_whatever_it_is() {
        for errors in [0, 1, 10, 100] {
            assert_eq!(compare((errors, 100), (errors, 100), 0.0), Comparison::Within);
        }
    }

    #[test]
    fn a_difference_is_above_only_when_it_is_hardly_chance() {
        assert_eq!(compare((2, 100), (0, 100), 0.01), Comparison::Unclear);
        assert_eq!(compare((15, 100), (0, 100), 0.01), Comparison::Above);
        assert_eq!(compare((30, 2_000), (0, 2_000), 0.01), Comparison::Unclear);
        assert_eq!(compare((60, 2_000), (0, 2_000), 0.01), Comparison::Above);
        assert_eq!(compare((9, 9), (0, 1_000), 0.01), Comparison::Unclear, "too few to condemn");
        assert_eq!(compare((10, 10), (0, 1_000), 0.01), Comparison::Above);
    }

    #[test]
    fn without_another_to_compare_with_the_errors_count_by_themselves() {
        assert_eq!(compare((0, 1_000), (0, 0), 0.01), Comparison::Within);
        assert_eq!(compare((200, 1_000), (3, 3), 0.01), Comparison::Above);
    }
}
