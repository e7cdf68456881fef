//! Tells a difference from a change that was on its way when the two sides were compared.

use std::time::Duration;

use super::{
    BARRIER_WITHIN, VerifyError,
    outcome::{Difference, Kind},
    pass::{KEYS_AT_ONCE, Pass},
    table::VerifiedTable,
};
use crate::{ErrorClass, StreamError, change::Key};

/// A row that changed during every one of so many looks is held still for the next one.
const LOOKS_MAX: usize = 10;
/// A single row is held for no longer than this at a time: its writers wait meanwhile.
pub(super) const HOLD_MAX: Duration = Duration::from_millis(500);
/// Attempts at holding a row; what stays unsettled counts as different: it is not known to be equal.
const HOLDS_MAX: usize = 10;

impl Pass<'_> {
    /// The rows that differ although everything that was on its way has arrived.
    pub(super) async fn look_again(
        &self,
        table: &VerifiedTable,
        suspects: Vec<Key>,
    ) -> Result<Vec<Difference>, VerifyError> {
        let mut different = Vec::new();
        for chunk in suspects.chunks(KEYS_AT_ONCE) {
            let mut open = chunk.to_vec();
            for _ in 0..LOOKS_MAX {
                open = self.look_once(table, open, &mut different).await?;
                if open.is_empty() {
                    break;
                }
            }
            for key in open {
                if let Some(kind) = self.difference_while_held(table, &key).await? {
                    different.push(Difference { key, kind });
                }
            }
        }
        if !different.is_empty() {
            // After a transfer the other side is right, and nothing of this means anything.
            self.check_authority(table).await?;
        }
        different.sort_unstable();
        Ok(different)
    }

    /// Moves true differences out, forgets equal rows, and gives back those that changed meanwhile.
    async fn look_once(
        &self,
        table: &VerifiedTable,
        keys: Vec<Key>,
        different: &mut Vec<Difference>,
    ) -> Result<Vec<Key>, VerifyError> {
        let (owner, stream) = self.truth(table);
        let before = table.by_keys(self.client(owner), owner, &keys).await?;
        self.verifier.barrier(stream, BARRIER_WITHIN).await?;
        let other = owner.other();
        let copy = table.by_keys(self.client(other), other, &keys).await?;
        let after = table.by_keys(self.client(owner), owner, &keys).await?;
        let mut open = Vec::new();
        for key in keys {
            let (before, copy, after) = (before.get(&key), copy.get(&key), after.get(&key));
            if copy == before || copy == after {
                continue;
            }
            if before == after {
                let kind = Kind::of(before.is_some(), copy.is_some());
                different.push(Difference { key, kind });
            } else {
                open.push(key);
            }
        }
        Ok(open)
    }

    /// Compares one row that never rests, while its owner's side may not change it. One lock at a time,
    /// and none is waited for while it is held: nobody can deadlock with this.
    async fn difference_while_held(
        &self,
        table: &VerifiedTable,
        key: &Key,
    ) -> Result<Option<Kind>, VerifyError> {
        let (owner, _) = self.truth(table);
        for _ in 0..HOLDS_MAX {
            let client = self.client(owner);
            let run = async |sql: &str| {
                let result = client.batch_execute(sql).await;
                result.map_err(StreamError::database("hold a row that keeps changing", owner))
            };
            let limit = HOLD_MAX.as_millis();
            run(&format!("BEGIN; SET LOCAL lock_timeout = {limit}")).await?;
            let held = self.compare_held(table, key).await;
            run("ROLLBACK").await?;
            match held {
                Ok(kind) => return Ok(kind),
                // The lock was not to be had, or the stream was not fast enough: let the writers go.
                Err(VerifyError::Barrier { .. }) => {}
                Err(VerifyError::Stream(error)) if error.class() == ErrorClass::Transient => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Some(Kind::Different))
    }

    async fn compare_held(
        &self,
        table: &VerifiedTable,
        key: &Key,
    ) -> Result<Option<Kind>, VerifyError> {
        let (owner, stream) = self.truth(table);
        let keys = [key.clone()];
        table.hold(self.client(owner), owner, key).await?;
        let truth = table.by_keys(self.client(owner), owner, &keys).await?;
        self.verifier.barrier(stream, HOLD_MAX).await?;
        let other = owner.other();
        let copy = table.by_keys(self.client(other), other, &keys).await?;
        // A row that was not there could not be held: it may have been added meanwhile.
        let after = table.by_keys(self.client(owner), owner, &keys).await?;
        let is_equal = copy == truth || copy == after;
        Ok((!is_equal).then(|| Kind::of(!after.is_empty(), !copy.is_empty())))
    }
}
