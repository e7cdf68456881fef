//! Whether a change counts for a key that is copied chunk by chunk. Pure.

#[cfg(test)]
mod tests;

use pg::Snapshot;

/// What to do with a change of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The key's chunk was read without it: write it.
    Counts,
    /// The key's chunk has it, or will have it: leave it out.
    Seen,
    /// The key's chunk is not read yet, and may be read without it: ask again later.
    Undecided,
}

/// The snapshots of the chunks that were read, in the order of their keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshots {
    chunks: Vec<Snapshot>,
    is_whole: bool,
}

impl Snapshots {
    /// Adds the next chunk; the last one ends the table.
    pub(crate) fn add(&mut self, snapshot: Snapshot, is_last: bool) {
        self.chunks.push(snapshot);
        self.is_whole = is_last;
    }

    /// Whether every chunk was read.
    pub(crate) const fn is_whole(&self) -> bool {
        self.is_whole
    }

    pub(crate) fn count(&self) -> usize {
        self.chunks.len()
    }

    /// About a change of transaction `xid` to a key of this chunk; `chunk` counts from 0, and is the
    /// number of chunks read for a key behind all of them.
    pub(crate) fn verdict(&self, chunk: usize, xid: u32) -> Verdict {
        match (self.chunks.get(chunk), self.chunks.last()) {
            (Some(snapshot), _) if snapshot.is_visible(xid) => Verdict::Seen,
            (Some(_), _) => Verdict::Counts,
            // A later snapshot sees whatever an earlier one saw.
            (None, Some(last)) if last.is_visible(xid) => Verdict::Seen,
            (None, _) => Verdict::Undecided,
        }
    }

    /// The chunks whose rows a truncation empties; `None`: ask again later.
    pub(crate) fn truncated(&self, xid: u32) -> Option<Vec<usize>> {
        if !self.is_whole && self.verdict(self.chunks.len(), xid) == Verdict::Undecided {
            return None;
        }
        let emptied = (0..self.chunks.len()).filter(|at| self.verdict(*at, xid) == Verdict::Counts);
        Some(emptied.collect())
    }
}
