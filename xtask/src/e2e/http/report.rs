//! One line for each case, and their sum.

use serde::Serialize;

/// What happened so far.
#[derive(Debug)]
pub(super) struct Report {
    only: Option<String>,
    sum: Sum,
}

/// The last line of standard output.
#[derive(Clone, Debug, Default, Serialize)]
struct Sum {
    cases: usize,
    failed: usize,
    /// Names of those.
    failures: Vec<String>,
}

/// A finished case.
#[derive(Clone, Debug)]
pub(super) struct Line<'c> {
    pub(super) group: &'c str,
    pub(super) name: &'c str,
    pub(super) rule: &'c str,
    /// What was seen, in a few words.
    pub(super) seen: String,
    /// What was wrong.
    pub(super) faults: Vec<String>,
}

impl Report {
    pub(super) fn new(only: Option<String>) -> Self {
        Self { only, sum: Sum::default() }
    }

    /// Whether such a case is to be run.
    pub(super) fn wants(&self, group: &str, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| group.contains(only) || name.contains(only))
    }

    /// Prints a case and counts it.
    pub(super) fn add(&mut self, line: Line<'_>) {
        let Line { group, name, rule, seen, faults } = line;
        let verdict = if faults.is_empty() { "ok    " } else { "FAILED" };
        println!("{verdict} {group:<10} {name:<48} {seen}   [{rule}]");
        for fault in &faults {
            println!("       {fault}");
        }
        self.sum.cases += 1;
        if !faults.is_empty() {
            self.sum.failed += 1;
            self.sum.failures.push(format!("{group}: {name}"));
        }
    }

    pub(super) const fn failed(&self) -> usize {
        self.sum.failed
    }

    pub(super) fn summary(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string(&self.sum)?)
    }
}
