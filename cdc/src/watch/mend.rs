//! Finishes or undoes, by the guard functions alone, what its coordinator left: whoever comes first
//! does it, and every function checks for itself.

use std::{sync::Arc, time::Duration};

use cutover::{Epoch, GuardPair, GuardRow, GuardState, Side};
use guard::{GuardClient, GuardError};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::AllGuards;
use crate::{metrics, spec::Databases};

/// A coordinator that is alive does the next step sooner than this.
const GRACE: Duration = Duration::from_millis(300);
/// Between two attempts at the same thing.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mending {
    /// The fence's deadline has passed: give the writes back.
    Expire { side: Side, epoch: Epoch },
    /// The transfer was decided: open the new owner.
    Open { side: Side, epoch: Epoch },
    /// The transfer was given up: the side that was prepared goes on following.
    Unprepare { side: Side, epoch: Epoch, proof: Epoch },
}

/// The mending task of one capability.
#[derive(Debug)]
pub(super) struct Mender {
    capability: String,
    databases: Databases,
    guards: watch::Receiver<Arc<AllGuards>>,
}

impl Mending {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Expire { .. } => "expire",
            Self::Open { .. } => "open",
            Self::Unprepare { .. } => "unprepare",
        }
    }

    const fn side(self) -> Side {
        match self {
            Self::Expire { side, .. } | Self::Open { side, .. } | Self::Unprepare { side, .. } => {
                side
            }
        }
    }

    /// What has a deadline of its own needs no grace.
    const fn grace(self) -> Duration {
        match self {
            Self::Expire { .. } => Duration::ZERO,
            Self::Open { .. } | Self::Unprepare { .. } => GRACE,
        }
    }
}

impl Mender {
    pub(super) const fn new(
        capability: String,
        databases: Databases,
        guards: watch::Receiver<Arc<AllGuards>>,
    ) -> Self {
        Self { capability, databases, guards }
    }

    /// Mends until stopped.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut pending: Option<(Mending, Instant)> = None;
        loop {
            let found = self.look();
            pending = match (found, pending) {
                (Some(mending), Some((known, since))) if mending == known => Some((known, since)),
                (Some(mending), _) => Some((mending, Instant::now())),
                (None, _) => None,
            };
            let mut pause = None;
            if let Some((mending, since)) = pending {
                let wait = mending.grace().saturating_sub(since.elapsed());
                if wait.is_zero() {
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = self.mend(mending) => {}
                    }
                    pause = Some(AGAIN_AFTER);
                } else {
                    pause = Some(wait);
                }
            }
            let paused = async {
                match pause {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                changed = self.guards.changed() => if changed.is_err() { return },
                () = paused => {}
            }
        }
    }

    fn look(&mut self) -> Option<Mending> {
        let guards = self.guards.borrow_and_update();
        let guards = guards.get(&self.capability)?;
        match guards.pair() {
            Some(pair) => find(&pair),
            // To give the writes back takes only the side that was fenced.
            None => overdue(Side::Source, guards.source)
                .or_else(|| overdue(Side::Target, guards.target)),
        }
    }

    async fn mend(&self, mending: Mending) {
        let capability = self.capability.as_str();
        let action = mending.as_str();
        match self.try_mend(mending).await {
            Ok(row) => {
                metrics::guard_action(capability, action);
                tracing::warn!(
                    capability,
                    action,
                    side = %mending.side(),
                    state = row.state.as_str(),
                    epoch = %row.epoch,
                    "finished a transfer that its coordinator left"
                );
            }
            // Somebody else was faster, or decided otherwise: the next reading shows it.
            Err(GuardError::Refused(reason)) => {
                tracing::debug!(capability, action, reason, "guard had changed");
            }
            Err(error) => {
                let error = telemetry::Chain(&error).to_string();
                tracing::warn!(
                    capability,
                    action,
                    error,
                    "transfer was not finished, trying again"
                );
            }
        }
    }

    async fn try_mend(&self, mending: Mending) -> Result<GuardRow, GuardError> {
        let url = self.databases.url(mending.side());
        let client = GuardClient::connect(url, "ficus-cdc-mend").await?;
        match mending {
            Mending::Expire { epoch, .. } => client.expire(&self.capability, epoch, false).await,
            Mending::Open { epoch, .. } => client.open(&self.capability, epoch, epoch).await,
            Mending::Unprepare { epoch, proof, .. } => {
                client.unprepare(&self.capability, epoch, proof).await
            }
        }
    }
}

/// What anybody who sees both guards may do.
fn find(pair: &GuardPair) -> Option<Mending> {
    [Side::Source, Side::Target].into_iter().find_map(|side| {
        let (mine, other) = (pair.side(side), pair.side(side.other()));
        overdue(side, Some(*mine)).or_else(|| {
            if mine.state != GuardState::Moved || mine.prepared == Epoch::NONE {
                return None;
            }
            let epoch = mine.prepared;
            if other.state == GuardState::Moved && other.epoch == epoch && mine.epoch < epoch {
                return Some(Mending::Open { side, epoch });
            }
            // An owner past E can never decide E any more.
            let is_proof = other.state != GuardState::Moved && other.epoch > epoch;
            is_proof.then_some(Mending::Unprepare { side, epoch, proof: other.epoch })
        })
    })
}

fn overdue(side: Side, row: Option<GuardRow>) -> Option<Mending> {
    let row = row.filter(|row| row.state == GuardState::Fenced && row.overdue)?;
    Some(Mending::Expire { side, epoch: row.epoch })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(state: GuardState, epoch: u64, prepared: u64) -> GuardRow {
        GuardRow { state, epoch: Epoch(epoch), prepared: Epoch(prepared), overdue: false }
    }

    fn check(source: GuardRow, target: GuardRow, expected: Option<Mending>) {
        assert_eq!(find(&GuardPair { source, target }), expected);
    }

    #[test]
    fn a_transfer_within_its_deadline_is_left_to_its_coordinator() {
        check(row(GuardState::Open, 1, 0), row(GuardState::Moved, 0, 0), None);
        check(row(GuardState::Fenced, 2, 0), row(GuardState::Moved, 0, 0), None);
        check(row(GuardState::Fenced, 2, 0), row(GuardState::Moved, 0, 2), None);
    }

    #[test]
    fn an_overdue_fence_is_given_back_even_when_the_other_side_is_prepared() {
        let fenced = GuardRow { overdue: true, ..row(GuardState::Fenced, 2, 0) };
        let expected = Some(Mending::Expire { side: Side::Source, epoch: Epoch(2) });
        check(fenced, row(GuardState::Moved, 0, 2), expected);
    }

    #[test]
    fn a_decided_transfer_is_opened_on_the_side_that_was_prepared_for_it() {
        let expected = Some(Mending::Open { side: Side::Target, epoch: Epoch(2) });
        check(row(GuardState::Moved, 2, 0), row(GuardState::Moved, 0, 2), expected);
        let back = Some(Mending::Open { side: Side::Source, epoch: Epoch(3) });
        check(row(GuardState::Moved, 2, 3), row(GuardState::Moved, 3, 2), back);
    }

    #[test]
    fn a_side_prepared_for_an_epoch_that_passed_goes_on_following() {
        let expected =
            Some(Mending::Unprepare { side: Side::Target, epoch: Epoch(2), proof: Epoch(3) });
        check(row(GuardState::Open, 3, 0), row(GuardState::Moved, 0, 2), expected);
    }

    #[test]
    fn an_owner_that_was_opened_at_this_epoch_is_left_alone() {
        check(row(GuardState::Moved, 2, 0), row(GuardState::Open, 2, 2), None);
    }
}
