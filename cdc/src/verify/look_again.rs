//! Tells a difference from a change that was on its way when the two sides were compared.

use super::{
    VerifyError,
    pass::{KEYS_AT_ONCE, Pass},
    table::VerifiedTable,
};
use crate::change::Key;

/// A row that changed during every one of so many looks counts as different: it is not known to be
/// equal.
const LOOKS_MAX: usize = 50;

impl Pass<'_> {
    /// The keys whose rows differ although everything that was on its way has arrived.
    pub(super) async fn look_again(
        &self,
        table: &VerifiedTable,
        suspects: Vec<Key>,
    ) -> Result<Vec<Key>, VerifyError> {
        let mut different = Vec::new();
        for chunk in suspects.chunks(KEYS_AT_ONCE) {
            let mut open = chunk.to_vec();
            for _ in 0..LOOKS_MAX {
                open = self.look_once(table, open, &mut different).await?;
                if open.is_empty() {
                    break;
                }
            }
            different.append(&mut open);
        }
        different.sort_unstable();
        Ok(different)
    }

    /// Moves true differences out, forgets equal rows, and gives back those that changed meanwhile.
    async fn look_once(
        &self,
        table: &VerifiedTable,
        keys: Vec<Key>,
        different: &mut Vec<Key>,
    ) -> Result<Vec<Key>, VerifyError> {
        let (owner, stream) = self.truth(table);
        let before = table.by_keys(self.client(owner), owner, &keys).await?;
        self.verifier.barrier(stream).await?;
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
                different.push(key);
            } else {
                open.push(key);
            }
        }
        Ok(open)
    }
}
