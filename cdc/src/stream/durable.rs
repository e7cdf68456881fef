//! What may be confirmed to the source: only what the target would still have after a crash. Rows are
//! committed without waiting for the disk; the source keeps its log until they are flushed.

use std::collections::VecDeque;

use pg::Lsn;

/// Positions of the source that are applied and not known to be flushed.
#[derive(Debug, Default)]
pub(super) struct Durable {
    /// The end of the commit in the target's log, and the position of the source that it applied.
    waiting: VecDeque<(Lsn, Lsn)>,
}

impl Durable {
    /// A commit whose record ends at `written` in the target's log has applied everything up to `end`.
    pub(super) fn committed(&mut self, written: Lsn, end: Lsn) {
        self.waiting.push_back((written, end));
    }

    /// Nothing was to be written up to `end`: it may be confirmed now, or with what waits.
    pub(super) fn passed(&mut self, end: Lsn) -> Option<Lsn> {
        match self.waiting.back_mut() {
            None => Some(end),
            Some((_, last)) => {
                *last = end.max(*last);
                None
            }
        }
    }

    /// The target's log is flushed up to here; answers what may be confirmed.
    pub(super) fn flushed(&mut self, flushed: Lsn) -> Option<Lsn> {
        let mut confirmed = None;
        while self.waiting.front().is_some_and(|(written, _)| *written <= flushed) {
            confirmed = self.waiting.pop_front().map(|(_, end)| end);
        }
        confirmed
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_confirmed_only_when_the_commit_that_applied_it_is_flushed() {
        let lsn = Lsn::new;
        let mut durable = Durable::default();
        assert_eq!(durable.passed(lsn(5)), Some(lsn(5)));
        durable.committed(lsn(100), lsn(10));
        durable.committed(lsn(200), lsn(20));
        assert_eq!(durable.passed(lsn(25)), None);
        assert_eq!(durable.flushed(lsn(99)), None);
        assert_eq!(durable.flushed(lsn(150)), Some(lsn(10)));
        assert!(durable.is_waiting());
        assert_eq!(durable.flushed(lsn(200)), Some(lsn(25)));
        assert!(!durable.is_waiting());
        assert_eq!(durable.passed(lsn(30)), Some(lsn(30)));
    }
}
