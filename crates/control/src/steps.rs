//! Which automatic step follows from a verdict. Pure.

use std::time::Duration;

use routes::Shift;

use crate::{store::StepsRow, verdict::Verdict};

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing; why is for people.
    Stay(String),
    /// All reads go back to the monolith.
    Back {
        /// What was bad.
        reason: String,
        /// Automatic steps begin again after the cool-down.
        again: bool,
    },
    /// The service gets this share, percent.
    On(u8),
}

/// Decides the next step of a capability whose reads are at `percent`. A step back is made whoever made
/// the step on, and though steps are paused.
pub(crate) fn next(percent: u8, verdict: Verdict, steps: &StepsRow, shift: &Shift) -> Next {
    if let Verdict::Bad(reason) = verdict {
        if percent == 0 {
            return Next::Stay(reason);
        }
        return Next::Back { reason, again: steps.automatic && steps.step_backs < shift.retries };
    }
    let Some(on) = shift.steps.iter().copied().find(|step| *step > percent) else {
        return Next::Stay("all reads go to the service".to_owned());
    };
    if !steps.automatic {
        return Next::Stay("steps are made by hand".to_owned());
    }
    if steps.paused {
        return Next::Stay("steps are paused".to_owned());
    }
    if steps.wait > Duration::ZERO {
        return Next::Stay(format!("waits {} s more after a step back", steps.wait.as_secs() + 1));
    }
    // at 0 % nothing can be said about the service but that its data is fresh
    match verdict {
        Verdict::Inconclusive(reason) if percent > 0 => Next::Stay(reason),
        _ if percent == 0 => Next::On(on),
        _ if steps.age < shift.every => {
            let left = shift.every.saturating_sub(steps.age);
            Next::Stay(format!("the next step, {on}%, is due in {} s", left.as_secs() + 1))
        }
        Verdict::Good | Verdict::Bad(_) | Verdict::Inconclusive(_) => Next::On(on),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shift() -> Shift {
        Shift {
            steps: vec![5, 50, 100],
            every: Duration::from_secs(600),
            cool_down: Duration::from_secs(900),
            retries: 2,
        }
    }

    fn due() -> StepsRow {
        StepsRow { automatic: true, age: Duration::from_secs(601), ..StepsRow::default() }
    }

    fn bad() -> Verdict {
        Verdict::Bad("bad".to_owned())
    }

    fn unclear() -> Verdict {
        Verdict::Inconclusive("unclear".to_owned())
    }

    fn is_stay(next: &Next) -> bool {
        matches!(next, Next::Stay(_))
    }

    #[test]
    fn a_bad_verdict_takes_reads_back_in_every_state_of_the_steps() {
        for bits in 0_u32..8 {
            let steps = StepsRow {
                automatic: bits & 1 != 0,
                paused: bits & 2 != 0,
                wait: Duration::from_secs(u64::from(bits >> 2)),
                ..due()
            };
            for percent in [1, 5, 50, 100] {
                let back = next(percent, bad(), &steps, &shift());
                let expected = Next::Back { reason: "bad".to_owned(), again: steps.automatic };
                assert_eq!(back, expected);
            }
            assert!(is_stay(&next(0, bad(), &steps, &shift())), "there is nothing to take back");
        }
    }

    #[test]
    fn steps_begin_again_only_as_often_as_is_allowed() {
        let after = |step_backs| next(5, bad(), &StepsRow { step_backs, ..due() }, &shift());
        let again = |again| Next::Back { reason: "bad".to_owned(), again };
        assert_eq!((after(0), after(1), after(2)), (again(true), again(true), again(false)));
    }

    #[test]
    fn a_step_on_needs_a_good_verdict_the_time_and_the_operators_leave() {
        assert_eq!(next(5, Verdict::Good, &due(), &shift()), Next::On(50));
        assert!(is_stay(&next(5, unclear(), &due(), &shift())));
        let early = StepsRow { age: Duration::from_secs(599), ..due() };
        assert!(is_stay(&next(5, Verdict::Good, &early, &shift())));
        let paused = StepsRow { paused: true, ..due() };
        assert!(is_stay(&next(5, Verdict::Good, &paused, &shift())));
        let by_hand = StepsRow { automatic: false, ..due() };
        assert!(is_stay(&next(5, Verdict::Good, &by_hand, &shift())));
        assert!(is_stay(&next(100, Verdict::Good, &due(), &shift())));
        assert_eq!(next(60, Verdict::Good, &due(), &shift()), Next::On(100));
    }

    #[test]
    fn after_a_step_back_the_first_step_is_made_when_the_cool_down_is_over() {
        let cooling = StepsRow { step_backs: 1, wait: Duration::from_secs(1), ..due() };
        assert!(is_stay(&next(0, unclear(), &cooling, &shift())));
        let cooled = StepsRow { wait: Duration::ZERO, age: Duration::ZERO, ..cooling };
        assert_eq!(next(0, unclear(), &cooled, &shift()), Next::On(5));
    }
}
