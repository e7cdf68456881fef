//! What a simulated run found.

use std::{collections::BTreeSet, fmt::Write};

use serde::Serialize;

/// Outcome of one seed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Different combinations of machine state and guard rows the run went through.
    pub states: u64,
    /// Transfers that changed the owner.
    pub completed: u64,
    /// Transfers that were undone.
    pub aborted: u64,
    /// Writes acknowledged to a client.
    pub acknowledged: u64,
    /// Crashes of coordinators, appliers and proxies.
    pub crashes: u64,
    /// Broken invariants, each with its virtual time; empty is good.
    pub violations: Vec<String>,
    /// Hash over every event of the run, in order.
    pub log_hash: u64,
}

/// Collects events, states and violations while a run goes on.
#[derive(Debug)]
pub(super) struct Recorder {
    seen: BTreeSet<u64>,
    violations: Vec<String>,
    log_hash: u64,
    line: String,
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;
/// More violations of one run say nothing new.
const VIOLATIONS_MAX: usize = 20;

fn fnv(start: u64, text: &str) -> u64 {
    text.bytes().fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME))
}

impl Recorder {
    pub(super) const fn new() -> Self {
        Self {
            seen: BTreeSet::new(),
            violations: Vec::new(),
            log_hash: FNV_OFFSET,
            line: String::new(),
        }
    }

    pub(super) fn log(&mut self, now: u64, what: &dyn std::fmt::Debug) {
        self.line.clear();
        writeln!(self.line, "{now} {what:?}").expect("writing to a String never fails");
        self.log_hash = fnv(self.log_hash, &self.line);
    }

    pub(super) fn saw(&mut self, state: &dyn std::fmt::Debug) {
        self.line.clear();
        write!(self.line, "{state:?}").expect("writing to a String never fails");
        self.seen.insert(fnv(FNV_OFFSET, &self.line));
    }

    pub(super) fn violation(&mut self, now: u64, what: &str) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(format!("at {now} ms: {what}"));
        }
    }

    pub(super) fn report(self, [completed, aborted, acknowledged, crashes]: [u64; 4]) -> Report {
        Report {
            states: u64::try_from(self.seen.len()).unwrap_or(u64::MAX),
            completed,
            aborted,
            acknowledged,
            crashes,
            violations: self.violations,
            log_hash: self.log_hash,
        }
    }
}
