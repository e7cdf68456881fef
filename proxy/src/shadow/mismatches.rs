//! The last answers that differed: where and how, never with which values.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use serde::Serialize;
use tokio::time::Instant;

use super::capture::{Difference, Found};

/// Samples kept; older ones are forgotten.
const SAMPLES_MAX: usize = 100;

/// Differences kept for each sample.
const DIFFERENCES_MAX: usize = 20;

/// A bounded ring of samples.
#[derive(Debug, Default)]
pub(crate) struct Mismatches(Mutex<VecDeque<Sample>>);

#[derive(Debug)]
struct Sample {
    seen: Instant,
    capability: String,
    route: String,
    total: usize,
    differences: Vec<Difference>,
}

/// One sample as it is served.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Mismatch {
    /// How long ago it was seen.
    seconds_ago: u64,
    capability: String,
    route: String,
    /// All differences of the answer, kept or not.
    total: usize,
    differences: Vec<Difference>,
}

impl Mismatches {
    /// Keeps a sample.
    pub(crate) fn push(&self, capability: &str, route: &str, found: Found) {
        let Found { total, mut differences } = found;
        differences.truncate(DIFFERENCES_MAX);
        let (capability, route) = (capability.to_owned(), route.to_owned());
        let sample = Sample { seen: Instant::now(), capability, route, total, differences };
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() == SAMPLES_MAX {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// The samples, newest first.
    pub(crate) fn samples(&self) -> Vec<Mismatch> {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let serve = |sample: &Sample| Mismatch {
            seconds_ago: sample.seen.elapsed().as_secs(),
            capability: sample.capability.clone(),
            route: sample.route.clone(),
            total: sample.total,
            differences: sample.differences.clone(),
        };
        samples.iter().rev().map(serve).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_samples_are_kept_newest_first() {
        let mismatches = Mismatches::default();
        for number in 0..SAMPLES_MAX + 5 {
            let found = Found { total: 1, differences: Vec::new() };
            mismatches.push("tickets", &number.to_string(), found);
        }
        let samples = mismatches.samples();
        assert_eq!(samples.len(), SAMPLES_MAX);
        assert_eq!(samples.first().map(|sample| sample.route.as_str()), Some("104"));
    }
}
