//! Who gets a capability's writes, from what control wants and what the guard rows say. Pure: the
//! callers pass in what they saw, and whether a lease is over.
//!
//! Control's word moves traffic; the guards are the truth. A guard that is open at a later epoch than
//! control has seen wins, and nothing here waits for control once the guards have spoken.

use cutover::{Epoch, GuardRow, GuardState, Side};

/// What is known of both guard rows of a capability.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Nothing certain: the replicator is away, or could not read a row that matters.
    #[default]
    Unknown,
    /// This side is open at this epoch.
    Open {
        /// The side that may write.
        side: Side,
        /// Its epoch.
        epoch: Epoch,
    },
    /// Both rows were read and nobody is open.
    Transition {
        /// The highest epoch of the two.
        epoch: Epoch,
    },
    /// Both are open, which invariant I1 excludes.
    Split,
}

/// A hold that control asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    /// The latest epoch anybody was known to be open at when the hold began.
    pub(crate) since: Epoch,
    /// Control was not heard for so long that the hold no longer counts.
    pub(crate) lease_over: bool,
}

/// What to do with the writes of a capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// The side that owns the writes, or did last.
    pub(crate) owner: Side,
    /// Keep writes at the gate.
    pub(crate) holding: bool,
}

impl Sight {
    /// What two rows say; `None` stands for a row that could not be read. One open row is enough to
    /// know the owner, because never are two open.
    pub(crate) fn of(source: Option<GuardRow>, target: Option<GuardRow>) -> Self {
        let open = |row: Option<GuardRow>| row.filter(|row| row.state == GuardState::Open);
        match (open(source), open(target), source, target) {
            (Some(_), Some(_), ..) => Self::Split,
            (Some(row), None, ..) => Self::Open { side: Side::Source, epoch: row.epoch },
            (None, Some(row), ..) => Self::Open { side: Side::Target, epoch: row.epoch },
            (None, None, Some(source), Some(target)) => {
                Self::Transition { epoch: source.epoch.max(target.epoch) }
            }
            (None, None, ..) => Self::Unknown,
        }
    }

    /// The epoch of the open side, if one is known.
    pub(crate) const fn open_epoch(self) -> Option<Epoch> {
        match self {
            Self::Open { epoch, .. } => Some(epoch),
            Self::Unknown | Self::Transition { .. } | Self::Split => None,
        }
    }

    /// Stable name for JSON.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Open { side: Side::Source, .. } => "source open",
            Self::Open { side: Side::Target, .. } => "target open",
            Self::Transition { .. } => "transition",
            Self::Split => "split",
        }
    }
}

/// Combines control's word (`owner`, seen at `epoch`, and a hold) with the guards.
pub(crate) fn resolve(owner: Side, epoch: Epoch, hold: Option<Hold>, sight: Sight) -> Rule {
    let owner = match sight {
        Sight::Open { side, epoch: seen } if seen > epoch => side,
        Sight::Open { .. } | Sight::Transition { .. } | Sight::Unknown | Sight::Split => owner,
    };
    let held = hold.filter(|hold| !hold.lease_over);
    let holding = match (sight, held) {
        // Two open guards: send to neither; the replicator raises the alarm.
        (Sight::Split, _) => true,
        (Sight::Open { epoch: seen, .. }, Some(hold)) => seen <= hold.since,
        (Sight::Unknown | Sight::Transition { .. }, Some(_)) => true,
        // Nobody is open since control last looked: the write would only be refused.
        (Sight::Transition { epoch: seen }, None) => seen > epoch,
        (Sight::Open { .. } | Sight::Unknown, None) => false,
    };
    Rule { owner, holding }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: Side = Side::Source;
    const TARGET: Side = Side::Target;

    fn row(state: GuardState, epoch: u64) -> Option<GuardRow> {
        Some(GuardRow { state, epoch: Epoch(epoch), prepared: Epoch::NONE, overdue: false })
    }

    fn open(side: Side, epoch: u64) -> Sight {
        Sight::Open { side, epoch: Epoch(epoch) }
    }

    fn hold(since: u64, lease_over: bool) -> Option<Hold> {
        Some(Hold { since: Epoch(since), lease_over })
    }

    #[track_caller]
    fn check(given: (Side, u64, Option<Hold>, Sight), owner: Side, holding: bool) {
        let (control, epoch, hold, sight) = given;
        assert_eq!(resolve(control, Epoch(epoch), hold, sight), Rule { owner, holding });
    }

    #[test]
    fn control_is_believed_when_the_guards_are_unknown() {
        check((SOURCE, 3, None, Sight::Unknown), SOURCE, false);
        check((TARGET, 4, None, Sight::Unknown), TARGET, false);
    }

    #[test]
    fn a_guard_open_at_a_later_epoch_overrules_control() {
        check((SOURCE, 3, None, open(TARGET, 4)), TARGET, false);
        check((TARGET, 4, None, open(SOURCE, 5)), SOURCE, false);
    }

    #[test]
    fn a_guard_view_older_than_control_does_not_move_writes_back() {
        check((TARGET, 4, None, open(SOURCE, 3)), TARGET, false);
        check((TARGET, 4, None, open(SOURCE, 4)), TARGET, false);
    }

    #[test]
    fn a_hold_keeps_writes_while_the_old_owner_is_still_open_at_the_epoch_it_began() {
        check((SOURCE, 3, hold(3, false), open(SOURCE, 3)), SOURCE, true);
        check((SOURCE, 3, hold(5, false), open(SOURCE, 5)), SOURCE, true);
    }

    #[test]
    fn a_hold_keeps_writes_while_nobody_is_open_or_nothing_is_known() {
        check((SOURCE, 3, hold(3, false), Sight::Transition { epoch: Epoch(4) }), SOURCE, true);
        check((SOURCE, 3, hold(3, false), Sight::Unknown), SOURCE, true);
    }

    #[test]
    fn a_side_opened_since_the_hold_began_releases_it_without_control() {
        check((SOURCE, 3, hold(3, false), open(TARGET, 4)), TARGET, false);
        check((SOURCE, 3, hold(3, false), open(SOURCE, 5)), SOURCE, false);
        check((TARGET, 4, hold(4, false), open(SOURCE, 5)), SOURCE, false);
    }

    #[test]
    fn a_hold_whose_lease_is_over_follows_the_open_guard_or_the_last_owner() {
        check((SOURCE, 3, hold(3, true), open(SOURCE, 3)), SOURCE, false);
        check((SOURCE, 3, hold(3, true), open(TARGET, 4)), TARGET, false);
        check((SOURCE, 3, hold(3, true), Sight::Unknown), SOURCE, false);
    }

    #[test]
    fn writes_are_held_while_the_guards_say_that_nobody_is_open() {
        check((SOURCE, 3, None, Sight::Transition { epoch: Epoch(4) }), SOURCE, true);
        check((SOURCE, 3, hold(3, true), Sight::Transition { epoch: Epoch(4) }), SOURCE, true);
    }

    #[test]
    fn a_transition_that_control_has_seen_the_end_of_holds_nothing() {
        check((TARGET, 4, None, Sight::Transition { epoch: Epoch(4) }), TARGET, false);
    }

    #[test]
    fn two_open_guards_stop_the_writes() {
        check((SOURCE, 3, None, Sight::Split), SOURCE, true);
        check((SOURCE, 3, hold(3, true), Sight::Split), SOURCE, true);
    }

    #[test]
    fn one_open_row_is_enough_and_one_closed_row_is_not() {
        use GuardState::{Fenced, Moved, Open};
        assert_eq!(Sight::of(None, row(Open, 4)), open(TARGET, 4));
        assert_eq!(Sight::of(row(Open, 3), None), open(SOURCE, 3));
        assert_eq!(Sight::of(row(Fenced, 4), None), Sight::Unknown);
        assert_eq!(Sight::of(None, None), Sight::Unknown);
        let transition = Sight::of(row(Fenced, 4), row(Moved, 0));
        assert_eq!(transition, Sight::Transition { epoch: Epoch(4) });
        assert_eq!(Sight::of(row(Open, 3), row(Open, 4)), Sight::Split);
    }
}
