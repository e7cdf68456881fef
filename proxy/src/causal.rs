//! Reads that never miss their own writes, for one capability.
//!
//! Every write the monolith answered takes a stamp from a growing sequence, kept for its subject. A
//! barrier that began at stamp `s` and completed proves that the service has applied every write with
//! a stamp up to `s`, and everything older than its beginning. Subjects share a fixed number of slots:
//! two that collide only stay with the monolith a little longer, so the memory is bounded without
//! forgetting anything. What is not known counts as not caught up.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout},
};

/// 512 KiB for each capability.
const SLOTS: usize = 1 << 16;

/// No barrier has completed.
const NEVER: u64 = u64::MAX;

/// A subject, hashed with this process's own keys; nothing leaves the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SubjectKey(u64);

/// Hashes subjects.
#[derive(Debug, Default)]
pub(crate) struct SubjectKeys(RandomState);

/// How far the service has caught up with what subjects were told.
#[derive(Debug)]
pub(crate) struct CatchUp {
    started: Instant,
    stamps: Box<[AtomicU64]>,
    sequence: AtomicU64,
    caught_up: AtomicU64,
    fresh_at_ms: AtomicU64,
    wanted: AtomicU64,
    asked: Notify,
    completed: watch::Sender<u64>,
}

/// A barrier under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    stamp: u64,
    began_ms: u64,
}

impl SubjectKeys {
    /// The key of a subject.
    pub(crate) fn key(&self, subject: &[u8]) -> SubjectKey {
        SubjectKey(self.0.hash_one(subject))
    }
}

impl CatchUp {
    /// Nothing written, nothing known.
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            stamps: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            sequence: AtomicU64::new(0),
            caught_up: AtomicU64::new(0),
            fresh_at_ms: AtomicU64::new(NEVER),
            wanted: AtomicU64::new(0),
            asked: Notify::new(),
            completed: watch::Sender::new(0),
        }
    }

    /// A write of this subject was answered by the monolith, or may have been executed there. Call it
    /// before the downstream can see the answer.
    pub(crate) fn note_write(&self, subject: SubjectKey) {
        let stamp = self.sequence.fetch_add(1, SeqCst) + 1;
        if let Some(slot) = self.slot(subject) {
            slot.fetch_max(stamp, SeqCst);
        }
        self.asked.notify_one();
    }

    /// Whether the service may answer this subject's reads: it has applied what the subject wrote, and
    /// was seen at most `max_lag` behind.
    pub(crate) fn is_caught_up(&self, subject: SubjectKey, max_lag: Duration) -> bool {
        let applied = self.caught_up.load(SeqCst);
        let written = self.slot(subject).map_or(u64::MAX, |slot| slot.load(SeqCst));
        written <= applied && self.lag_bound().is_some_and(|lag| lag <= max_lag)
    }

    /// The service is at most this far behind; `None` when that is not known.
    pub(crate) fn lag_bound(&self) -> Option<Duration> {
        let fresh_at = self.fresh_at_ms.load(SeqCst);
        (fresh_at != NEVER).then(|| Duration::from_millis(self.now_ms().saturating_sub(fresh_at)))
    }

    /// Whether somebody waits for a barrier that has not completed.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(SeqCst) > self.caught_up.load(SeqCst)
    }

    /// Completes when a write was noted or somebody waits for a barrier.
    pub(crate) async fn asked(&self) {
        self.asked.notified().await;
    }

    /// Call before asking the replicator for a barrier.
    pub(crate) fn begin(&self) -> Round {
        let began_ms = self.now_ms();
        Round { stamp: self.sequence.load(SeqCst), began_ms }
    }

    /// The barrier has completed.
    pub(crate) fn complete(&self, round: Round) {
        self.caught_up.fetch_max(round.stamp, SeqCst);
        self.fresh_at_ms.store(round.began_ms, SeqCst);
        self.completed.send_replace(round.stamp);
    }

    /// Waits for a barrier begun after this call; callers at the same time share one. `false` when it
    /// did not complete in time.
    pub(crate) async fn barrier(&self, patience: Duration) -> bool {
        let mut completed = self.completed.subscribe();
        let stamp = self.sequence.fetch_add(1, SeqCst) + 1;
        self.wanted.fetch_max(stamp, SeqCst);
        self.asked.notify_one();
        let reached = completed.wait_for(|done| *done >= stamp);
        timeout(patience, reached).await.is_ok_and(|reached| reached.is_ok())
    }

    fn slot(&self, subject: SubjectKey) -> Option<&AtomicU64> {
        let index = usize::try_from(subject.0 % u64::try_from(SLOTS).unwrap_or(1)).ok()?;
        self.stamps.get(index)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(NEVER - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::advance;

    use super::*;

    const MAX_LAG: Duration = Duration::from_secs(2);
    const ALICE: SubjectKey = SubjectKey(1);
    const BOB: SubjectKey = SubjectKey(2);

    #[tokio::test(start_paused = true)]
    async fn nobody_is_caught_up_before_the_first_barrier() {
        let catch_up = CatchUp::new();
        assert!(!catch_up.is_caught_up(ALICE, MAX_LAG));
        catch_up.complete(catch_up.begin());
        assert!(catch_up.is_caught_up(ALICE, MAX_LAG));
    }

    #[tokio::test(start_paused = true)]
    async fn a_writer_reads_from_the_monolith_until_a_barrier_begun_after_the_answer() {
        let catch_up = CatchUp::new();
        let too_early = catch_up.begin();
        catch_up.note_write(ALICE);
        catch_up.complete(too_early);
        assert!(!catch_up.is_caught_up(ALICE, MAX_LAG));
        assert!(catch_up.is_caught_up(BOB, MAX_LAG));
        catch_up.complete(catch_up.begin());
        assert!(catch_up.is_caught_up(ALICE, MAX_LAG));
        assert!(!catch_up.is_wanted());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lag_above_the_limit_or_unknown_is_not_caught_up() {
        let catch_up = CatchUp::new();
        catch_up.complete(catch_up.begin());
        advance(MAX_LAG).await;
        assert!(catch_up.is_caught_up(BOB, MAX_LAG));
        advance(Duration::from_millis(1)).await;
        assert!(!catch_up.is_caught_up(BOB, MAX_LAG));
    }

    #[tokio::test(start_paused = true)]
    async fn the_lag_counts_from_the_beginning_of_a_barrier() {
        let catch_up = CatchUp::new();
        let round = catch_up.begin();
        advance(Duration::from_secs(3)).await;
        catch_up.complete(round);
        assert_eq!(catch_up.lag_bound(), Some(Duration::from_secs(3)));
        assert!(!catch_up.is_caught_up(BOB, MAX_LAG));
    }

    #[tokio::test(start_paused = true)]
    async fn callers_share_a_barrier_but_never_one_begun_before_they_asked() {
        let catch_up = Arc::new(CatchUp::new());
        let too_early = catch_up.begin();
        let wait = |catch_up: &Arc<CatchUp>| {
            let catch_up = Arc::clone(catch_up);
            tokio::spawn(async move { catch_up.barrier(Duration::from_secs(5)).await })
        };
        let waiting = [wait(&catch_up), wait(&catch_up)];
        catch_up.asked().await;
        tokio::task::yield_now().await;
        catch_up.complete(too_early);
        tokio::task::yield_now().await;
        assert!(waiting.iter().all(|wait| !wait.is_finished()));
        catch_up.complete(catch_up.begin());
        for wait in waiting {
            assert!(wait.await.expect("no panic"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_barrier_that_nobody_completes_is_reported_as_unknown() {
        let catch_up = CatchUp::new();
        assert!(!catch_up.barrier(Duration::from_secs(1)).await);
    }

    #[test]
    fn the_same_subject_has_the_same_key() {
        let keys = SubjectKeys::default();
        assert_eq!(keys.key(b"alice"), keys.key(b"alice"));
        assert_ne!(keys.key(b"alice"), keys.key(b"bob"));
    }
}
