//! Whose comparison runs: a transfer's wins at once, an operator's takes over from the background's.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rpc::v1;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::status;

/// Who wants a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// The replicator itself.
    Background,
    /// A person.
    Operator,
    /// A transfer: clients are waiting, or about to.
    Transfer,
}

/// Another comparison runs that may not be displaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Busy;

/// One comparison at a time.
#[derive(Debug, Default)]
pub(super) struct Turns {
    running: Mutex<Option<Running>>,
    freed: Notify,
}

#[derive(Debug)]
struct Running {
    asker: Asker,
    displaced: CancellationToken,
    progress: v1::VerificationRun,
}

/// The right to compare, until dropped.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Turns>,
    displaced: CancellationToken,
}

impl Asker {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Background => "background",
            Self::Operator => "operator",
            Self::Transfer => "transfer",
        }
    }

    /// Whether its comparison ends the other one's.
    pub(super) const fn displaces(self, other: Self) -> bool {
        match (self, other) {
            (Self::Transfer, _) | (Self::Operator, Self::Background) => true,
            (Self::Background, _) | (Self::Operator, Self::Operator | Self::Transfer) => false,
        }
    }
}

impl Turns {
    /// Waits for the turn, displacing what may be displaced.
    ///
    /// # Errors
    /// [`Busy`] when something runs that may not be displaced.
    pub(super) async fn take(self: &Arc<Self>, asker: Asker) -> Result<Turn, Busy> {
        loop {
            // Before looking: a turn that ends in between is not missed.
            let freed = self.freed.notified();
            if let Some(turn) = self.try_take(asker)? {
                return Ok(turn);
            }
            freed.await;
        }
    }

    fn try_take(self: &Arc<Self>, asker: Asker) -> Result<Option<Turn>, Busy> {
        let mut running = self.lock();
        match &*running {
            Some(now) if asker.displaces(now.asker) => {
                now.displaced.cancel();
                Ok(None)
            }
            Some(_) => Err(Busy),
            None => {
                let displaced = CancellationToken::new();
                let progress = v1::VerificationRun {
                    by: asker.as_str().to_owned(),
                    began_unix_ms: status::now_unix_ms(),
                    ..v1::VerificationRun::default()
                };
                *running = Some(Running { asker, displaced: displaced.clone(), progress });
                Ok(Some(Turn { turns: Arc::clone(self), displaced }))
            }
        }
    }

    /// The comparison that runs.
    pub(super) fn progress(&self) -> Option<v1::VerificationRun> {
        self.lock().as_ref().map(|running| running.progress.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Ends when somebody else takes over.
    pub(super) async fn displaced(&self) {
        self.displaced.cancelled().await;
    }

    /// Takes note of how far the comparison is.
    pub(super) fn reached(&self, table: &str, rows: u64, rows_total: u64, differences: u64) {
        if let Some(running) = &mut *self.turns.lock() {
            let progress = &mut running.progress;
            table.clone_into(&mut progress.table);
            (progress.rows, progress.rows_total) = (rows, rows_total);
            progress.differences = differences;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.turns.lock() = None;
        self.turns.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Asker; 3] = [Asker::Background, Asker::Operator, Asker::Transfer];

    #[tokio::test]
    async fn a_turn_is_taken_over_exactly_from_those_that_have_to_yield() {
        let yields = [
            (Asker::Operator, Asker::Background),
            (Asker::Transfer, Asker::Background),
            (Asker::Transfer, Asker::Operator),
            (Asker::Transfer, Asker::Transfer),
        ];
        for new in ALL {
            for old in ALL {
                let turns = Arc::new(Turns::default());
                let first = turns.take(old).await.expect("nobody runs");
                let second = tokio::spawn({
                    let turns = Arc::clone(&turns);
                    async move { turns.take(new).await.map(|_turn| ()) }
                });
                if yields.contains(&(new, old)) {
                    first.displaced().await;
                    drop(first);
                    assert_eq!(second.await.expect("it ends"), Ok(()));
                } else {
                    assert_eq!(second.await.expect("it ends"), Err(Busy));
                }
            }
        }
    }

    #[tokio::test]
    async fn a_transfer_that_waits_behind_an_operator_still_wins() {
        let turns = Arc::new(Turns::default());
        let background = turns.take(Asker::Background).await.expect("nobody runs");
        let wait = |asker| {
            let turns = Arc::clone(&turns);
            async move {
                let turn = turns.take(asker).await.map_err(|Busy| asker)?;
                turn.displaced().await;
                Ok::<_, Asker>(())
            }
        };
        let operator = tokio::spawn(wait(Asker::Operator));
        background.displaced().await;
        let transfer = tokio::spawn({
            let turns = Arc::clone(&turns);
            async move { turns.take(Asker::Transfer).await.map(|_turn| ()) }
        });
        tokio::task::yield_now().await;
        drop(background);
        assert_eq!(transfer.await.expect("it ends"), Ok(()));
        operator.abort();
    }
}
