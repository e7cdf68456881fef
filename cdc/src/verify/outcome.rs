//! What a comparison found.

use std::fmt;

use rpc::v1;

use super::table::VerifiedTable;
use crate::change::Key;

/// Differences whose keys are told.
const SAMPLES_MAX: usize = 20;

/// A row that is not the same on both sides.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Difference {
    pub(super) key: Key,
    pub(super) kind: Kind,
}

/// How a row differs on the side that does not own it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Only the owner has it.
    Missing,
    /// The owner does not have it.
    Extra,
    /// Its values are not the owner's.
    Different,
}

/// What was found so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Rows compared.
    pub(super) rows: u64,
    pub(super) missing: u64,
    pub(super) extra: u64,
    pub(super) different: u64,
    /// Rows that differed and were written anew.
    pub(super) repaired: u64,
    /// Some of the differences, in words.
    pub(super) samples: Vec<String>,
    /// Milliseconds since 1970; zero before it ended.
    pub(super) finished_unix_ms: u64,
    /// When a comparison of every row last found no difference; zero when none has.
    pub(super) clean_unix_ms: u64,
}

impl Kind {
    pub(super) const fn of(owner_has_it: bool, other_has_it: bool) -> Self {
        match (owner_has_it, other_has_it) {
            (true, false) => Self::Missing,
            (false, true) => Self::Extra,
            (true, true) | (false, false) => Self::Different,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Different => "different",
        })
    }
}

impl Outcome {
    pub(super) const fn differences(&self) -> u64 {
        self.missing + self.extra + self.different
    }

    /// Takes note of a row that differs.
    pub(super) fn add(&mut self, table: &VerifiedTable, difference: &Difference) {
        match difference.kind {
            Kind::Missing => self.missing += 1,
            Kind::Extra => self.extra += 1,
            Kind::Different => self.different += 1,
        }
        if self.samples.len() < SAMPLES_MAX {
            let Difference { key, kind } = difference;
            self.samples.push(format!("{}{key} {kind}", table.name()));
        }
    }

    /// A message of progress, or the last one.
    pub(super) fn message(&self, done: bool, table: &str, rows_total: u64) -> v1::VerifyProgress {
        v1::VerifyProgress {
            done,
            table: table.to_owned(),
            rows: self.rows,
            rows_total: rows_total.max(self.rows),
            differences: self.differences(),
            samples: self.samples.clone(),
            missing: self.missing,
            extra: self.extra,
            different: self.different,
            repaired: self.repaired,
        }
    }
}
