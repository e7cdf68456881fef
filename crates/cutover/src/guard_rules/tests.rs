//! Replays are no-ops, everything else is refused with the row unchanged.

use super::{InboundRow, Repair, decide, expire, fence, open, prepare, repair, unprepare};
use crate::{Epoch, GuardPair, GuardRow, GuardState, Side};

const fn row(state: GuardState, epoch: u64, prepared: u64) -> GuardRow {
    GuardRow { state, epoch: Epoch(epoch), prepared: Epoch(prepared), overdue: false }
}

const fn inbound(applies: bool, barrier_seen: u64) -> InboundRow {
    InboundRow { applies, epoch: Epoch(1), barrier_seen: Epoch(barrier_seen) }
}

#[test]
fn a_whole_transfer_there_and_back_leaves_one_side_open_at_a_higher_epoch() {
    let (mut source, mut target) = (row(GuardState::Open, 1, 0), row(GuardState::Moved, 0, 0));
    let (mut reverse, mut forward) = (inbound(false, 0), inbound(true, 0));

    source = fence(source, Epoch(1)).unwrap();
    forward.barrier_seen = source.epoch;
    (target, forward) = prepare(target, forward, Epoch(2)).unwrap();
    assert!(!forward.applies, "the forward stream stops");
    (source, reverse) = decide(source, reverse, Epoch(2), target.prepared).unwrap();
    assert!(reverse.applies, "the way back is armed");
    target = open(target, Epoch(2), source.epoch).unwrap();
    assert_eq!((source.state, target.state), (GuardState::Moved, GuardState::Open));

    target = fence(target, Epoch(2)).unwrap();
    reverse.barrier_seen = target.epoch;
    (source, reverse) = prepare(source, reverse, Epoch(3)).unwrap();
    (target, forward) = decide(target, forward, Epoch(3), source.prepared).unwrap();
    source = open(source, Epoch(3), target.epoch).unwrap();
    assert_eq!((source.state, source.epoch), (GuardState::Open, Epoch(3)));
    assert_eq!((target.state, target.prepared), (GuardState::Moved, Epoch::NONE));
    assert!(forward.applies && !reverse.applies);
}

#[test]
fn every_function_called_twice_returns_the_row_as_it_is() {
    let fenced = fence(row(GuardState::Open, 1, 0), Epoch(1)).unwrap();
    assert_eq!(fence(fenced, Epoch(1)), Ok(fenced));
    let reopened = expire(fenced, Epoch(2), true).unwrap();
    assert_eq!(expire(reopened, Epoch(2), false), Ok(reopened));
    let prepared = prepare(row(GuardState::Moved, 0, 0), inbound(true, 2), Epoch(2)).unwrap();
    assert_eq!(prepare(prepared.0, prepared.1, Epoch(2)), Ok(prepared));
    let decided = decide(fenced, inbound(false, 0), Epoch(2), Epoch(2)).unwrap();
    assert_eq!(decide(decided.0, decided.1, Epoch(2), Epoch(2)), Ok(decided));
    let opened = open(prepared.0, Epoch(2), Epoch(2)).unwrap();
    assert_eq!(open(opened, Epoch(2), Epoch(2)), Ok(opened));
    let unprepared = unprepare(prepared.0, prepared.1, Epoch(2), Epoch(3)).unwrap();
    assert_eq!(unprepare(unprepared.0, unprepared.1, Epoch(2), Epoch(3)), Ok(unprepared));
}

#[test]
fn what_is_not_proven_is_refused() {
    let fenced = row(GuardState::Fenced, 2, 0);
    let overdue = GuardRow { overdue: true, ..fenced };
    let moved = row(GuardState::Moved, 0, 0);
    assert!(fence(row(GuardState::Open, 3, 0), Epoch(1)).is_err(), "another epoch");
    assert!(expire(fenced, Epoch(2), false).is_err(), "before the deadline");
    assert!(expire(row(GuardState::Moved, 2, 0), Epoch(2), true).is_err(), "decided");
    assert!(prepare(moved, inbound(true, 0), Epoch(2)).is_err(), "barrier not seen");
    assert!(prepare(moved, inbound(true, 1), Epoch(2)).is_err(), "an older barrier");
    assert!(prepare(moved, inbound(false, 2), Epoch(2)).is_err(), "stream stopped");
    assert!(decide(fenced, inbound(false, 0), Epoch(2), Epoch(1)).is_err(), "not prepared");
    assert!(decide(overdue, inbound(false, 0), Epoch(2), Epoch(2)).is_err(), "too late");
    assert!(open(row(GuardState::Moved, 0, 2), Epoch(2), Epoch(1)).is_err(), "not decided");
    assert!(open(moved, Epoch(2), Epoch(2)).is_err(), "not prepared");
    let prepared = row(GuardState::Moved, 0, 2);
    assert!(unprepare(prepared, inbound(false, 2), Epoch(2), Epoch(2)).is_err(), "no proof");
}

#[test]
fn repair_ends_every_half_done_transfer_and_leaves_a_finished_one_alone() {
    let pair = |source, target| GuardPair { source, target };
    let fenced = GuardRow { overdue: true, ..row(GuardState::Fenced, 2, 0) };
    let closed = row(GuardState::Moved, 0, 0);
    assert_eq!(
        repair(&pair(fenced, closed), false),
        Some(Repair::Expire { side: Side::Source, epoch: Epoch(2) })
    );
    assert_eq!(repair(&pair(row(GuardState::Fenced, 2, 0), closed), false), None);
    assert_eq!(
        repair(&pair(row(GuardState::Moved, 2, 0), row(GuardState::Moved, 0, 2)), false),
        Some(Repair::Open { side: Side::Target, epoch: Epoch(2) })
    );
    assert_eq!(
        repair(&pair(row(GuardState::Open, 3, 0), row(GuardState::Moved, 0, 2)), false),
        Some(Repair::Unprepare { side: Side::Target, epoch: Epoch(2), proof: Epoch(3) })
    );
    assert_eq!(repair(&pair(row(GuardState::Open, 1, 0), closed), true), None);
    assert_eq!(
        repair(&pair(row(GuardState::Moved, 2, 0), row(GuardState::Open, 2, 2)), true),
        None
    );
}
