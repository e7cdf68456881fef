//! Snapshots as `pg_current_snapshot()` prints them, and what they see.

#[cfg(test)]
mod tests;

use std::{fmt, str::FromStr};

/// Half of the numbers that 32 bits hold: transaction numbers further apart than this wrap around.
const HALF: u64 = 1 << 31;

/// Transactions that were running when a query looked, and the bounds around them.
///
/// Only top-level transactions are listed: ask for the number that `Begin` carries in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The oldest transaction that was running: everything before it had ended.
    xmin: u64,
    /// The next transaction: it and everything after it had not begun.
    xmax: u64,
    /// Transactions between the bounds that were running, ascending.
    running: Vec<u64>,
}

/// A text that is no snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no snapshot: xmin:xmax:running,... is wanted")]
pub struct ParseSnapshotError(String);

impl Snapshot {
    /// Reads `xmin:xmax:running,running,...`.
    ///
    /// # Errors
    /// [`ParseSnapshotError`] for anything a server does not print.
    pub fn parse(text: &str) -> Result<Self, ParseSnapshotError> {
        Self::read(text).ok_or_else(|| ParseSnapshotError(text.to_owned()))
    }

    /// Whether the snapshot sees the effects of a transaction that has committed by now.
    ///
    /// `xid` is the number without its epoch, as the log has it; it must be less than two billion
    /// transactions away from the snapshot, which the server guarantees for everything in its log.
    #[must_use]
    pub fn is_visible(&self, xid: u32) -> bool {
        let xid = self.with_epoch(xid);
        xid < self.xmin || (xid < self.xmax && self.running.binary_search(&xid).is_err())
    }

    /// The number nearest to the snapshot that ends in these 32 bits.
    fn with_epoch(&self, xid: u32) -> u64 {
        let same = (self.xmax >> 32 << 32) | u64::from(xid);
        if same > self.xmax.saturating_add(HALF) {
            same.checked_sub(1 << 32).unwrap_or(same)
        } else if same.saturating_add(HALF) < self.xmax {
            same.saturating_add(1 << 32)
        } else {
            same
        }
    }

    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let (xmin, xmax) = (number(parts.next()?)?, number(parts.next()?)?);
        let list = parts.next()?;
        let running = match list {
            "" => Vec::new(),
            list => list.split(',').map(number).collect::<Option<Vec<u64>>>()?,
        };
        let is_ascending = running.is_sorted_by(|one, next| one < next);
        let is_between = running.iter().all(|xid| (xmin..xmax).contains(xid));
        let is_whole = parts.next().is_none() && xmin > 0 && xmin <= xmax;
        (is_whole && is_ascending && is_between).then_some(Self { xmin, xmax, running })
    }
}

/// Digits only: `parse` alone would take a sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.xmin, self.xmax)?;
        for (place, xid) in self.running.iter().enumerate() {
            let separator = if place == 0 { "" } else { "," };
            write!(f, "{separator}{xid}")?;
        }
        Ok(())
    }
}

impl FromStr for Snapshot {
    type Err = ParseSnapshotError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}
