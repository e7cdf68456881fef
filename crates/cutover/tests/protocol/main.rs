//! Model check of the transfer protocol: every interleaving of writers, appliers and their zombies,
//! coordinators with beliefs of any age, and bystanders who expire fences, within bounds, breadth first.
//! The guard rules are the product's own. Each mutant breaks one rule and must be caught.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "this whole crate is a test: what goes wrong here must fail it"
)]

mod model;
mod recovery;
mod search;
mod state;

use model::Mutant;
use search::{Bounds, Verdict, search};

const BOUNDS: Bounds = Bounds { writes: 3, epoch_max: 8, states_max: 4_000_000 };

#[test]
fn the_protocol_keeps_its_invariants_in_every_reachable_state() {
    let Verdict { violation, reached, states, depth, complete } =
        search(Mutant::None, BOUNDS, true);
    assert_eq!(violation, None);
    assert!(complete, "only {states} states were visited, to depth {depth}");
    assert!(states > 100_000, "only {states} states, depth {depth}: the model does too little");
    assert_eq!(reached.missing(), Vec::<&str>::new(), "what must be possible was never reached");
}

fn is_caught(mutant: Mutant) {
    let verdict = search(mutant, BOUNDS, false);
    let (states, depth) = (verdict.states, verdict.depth);
    let violation = verdict
        .violation
        .unwrap_or_else(|| panic!("{mutant:?} survived {states} states to depth {depth}"));
    assert!(
        violation.starts_with('I'),
        "{mutant:?} must break safety, not only liveness: {violation}"
    );
}

#[test]
fn a_fence_that_does_not_wait_for_writers_is_caught() {
    is_caught(Mutant::NoTableLock);
}

#[test]
fn a_trigger_that_reads_its_state_by_snapshot_is_caught() {
    is_caught(Mutant::SnapshotGuard);
}

#[test]
fn a_guard_that_only_the_proxy_keeps_is_caught() {
    is_caught(Mutant::ProxyOnlyGuard);
}

#[test]
fn a_proxy_that_sends_a_write_again_is_caught() {
    is_caught(Mutant::ProxyRetry);
}

#[test]
fn preparing_on_lag_instead_of_the_barrier_is_caught() {
    is_caught(Mutant::LagHeuristic);
}

#[test]
fn preparing_at_a_position_read_before_the_lock_is_caught() {
    is_caught(Mutant::PositionBeforeLock);
}

#[test]
fn applying_without_comparing_the_position_is_caught() {
    is_caught(Mutant::NoProgressCas);
}

#[test]
fn applying_without_checking_the_mode_is_caught() {
    is_caught(Mutant::NoApplyMode);
}

#[test]
fn carrying_back_what_the_other_stream_wrote_is_caught() {
    is_caught(Mutant::NoOriginFilter);
}

#[test]
fn expiring_without_compare_and_set_is_caught() {
    is_caught(Mutant::ExpireNoCas);
}

#[test]
fn opening_before_the_decision_is_caught() {
    is_caught(Mutant::OpenBeforeDecide);
}

#[test]
fn opening_without_comparing_the_epoch_is_caught() {
    is_caught(Mutant::OpenNoEpoch);
}

/// Opening compares the epoch, too, so this one breaks no data: it leaves a decision that nobody can
/// carry out.
#[test]
fn deciding_without_comparing_the_epoch_is_caught() {
    let violation = search(Mutant::DecideNoEpoch, BOUNDS, true).violation.unwrap();
    assert!(violation.starts_with("liveness"), "{violation}");
}

#[test]
fn deciding_a_fence_that_has_expired_is_caught() {
    is_caught(Mutant::DecideNoState);
}

#[test]
fn a_way_back_that_is_attached_after_the_decision_is_caught() {
    is_caught(Mutant::LateReverseSlot);
}
