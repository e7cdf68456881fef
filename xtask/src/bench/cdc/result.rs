//! The figures of all turns, and what they come to.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::contestant::Contestant;
use super::pair::Different;
use super::workload::Workload;
use crate::bench::{Samples, rounded};
use crate::operator::talk;

/// A turn: workload, contestant and round.
pub(super) type Place = (Workload, Contestant, u32);

#[derive(Debug, Default)]
pub(super) struct Results {
    pub(super) samples: BTreeMap<Workload, Samples>,
    pub(super) failures: Vec<Failure>,
}

/// A turn that does not count.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) place: Place,
    /// Where the two sides were compared and differed.
    pub(super) differing_rows: Option<usize>,
    pub(super) reason: String,
}

impl Results {
    pub(super) fn add(&mut self, place: Place, figures: &[(&'static str, f64)]) {
        let (workload, contestant, round) = place;
        let turn = format!("{}, round {round}", workload.name());
        self.samples.entry(workload).or_default().add(contestant.name(), &turn, figures);
    }

    pub(super) fn fail(
        &mut self,
        place: Place,
        error: &anyhow::Error,
        different: Option<&Different>,
    ) {
        let (workload, contestant, round) = place;
        let name = contestant.name();
        talk(&format!("{}, round {round}, {name}: failed: {error:#}", workload.name()));
        let differing_rows = different.map(|different| different.differing);
        self.failures.push(Failure { place, differing_rows, reason: format!("{error:#}") });
    }

    pub(super) const fn has_failures(&self) -> bool {
        !self.failures.is_empty()
    }

    /// Ratios are of speeds: above 1, Ficus was faster. What was not measured is absent.
    pub(super) fn object(&self) -> Map<String, Value> {
        let mut object = Map::new();
        let mut tell = |name: &str, value: Option<Value>| {
            object.extend(value.map(|value| (name.to_owned(), value)));
        };
        for (name, other) in [
            ("copy_ratio_to_raw_copy", Contestant::RawCopy),
            ("copy_ratio_to_raw_copy_indexes_after", Contestant::RawCopyIndexesAfter),
            ("copy_ratio_to_pgcopydb", Contestant::Pgcopydb),
            ("copy_ratio_to_native", Contestant::Native),
        ] {
            let copies = [Workload::CopyNarrow, Workload::CopyIndexed, Workload::CopyWide];
            tell(name, self.ratios(&copies, other));
        }
        for (name, other) in [
            ("apply_ratio_to_native", Contestant::Native),
            ("apply_ratio_to_native_durable", Contestant::NativeDurable),
        ] {
            let applies = [
                Workload::InsertMillion,
                Workload::Updates100,
                Workload::OneRow,
                Workload::UnchangedToast,
            ];
            tell(name, self.ratios(&applies, other));
        }
        for name in ["lag_p50_ms", "lag_p99_ms"] {
            let lag = self.ficus(Workload::Latency, name);
            tell(name, lag.map(|ms| json!(rounded(ms))));
        }
        tell("peak_rss_mb", self.peak_rss_mb().map(|mb| json!(rounded(mb))));
        let workloads = self.samples.iter();
        let workloads: Map<String, Value> = workloads
            .map(|(workload, samples)| (workload.name().to_owned(), samples.spreads()))
            .collect();
        object.insert("workloads".to_owned(), Value::Object(workloads));
        let failures: Vec<Value> = self.failures.iter().map(Failure::object).collect();
        object.insert("failures".to_owned(), json!(failures));
        object
    }

    /// By workload; `None` when there is none.
    fn ratios(&self, workloads: &[Workload], other: Contestant) -> Option<Value> {
        let ratio = |workload: &Workload| {
            let samples = self.samples.get(workload)?;
            let ratio = samples.ratio("seconds", other.name(), Contestant::Ficus.name())?;
            Some((workload.name().to_owned(), json!(ratio)))
        };
        let ratios: Map<String, Value> = workloads.iter().filter_map(ratio).collect();
        (!ratios.is_empty()).then_some(Value::Object(ratios))
    }

    fn ficus(&self, workload: Workload, name: &str) -> Option<f64> {
        self.samples.get(&workload)?.median(Contestant::Ficus.name(), name)
    }

    /// The most of all turns of all workloads.
    fn peak_rss_mb(&self) -> Option<f64> {
        let peaks = self.samples.values().filter_map(|samples| {
            samples.spread(Contestant::Ficus.name(), "peak_rss_mb").map(|spread| spread.max)
        });
        peaks.max_by(f64::total_cmp)
    }
}

impl Failure {
    fn object(&self) -> Value {
        let (workload, contestant, round) = self.place;
        json!({
            "workload": workload.name(), "contestant": contestant.name(), "round": round,
            "differing_rows": self.differing_rows, "reason": self.reason,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_told_by_workload_and_what_was_not_measured_is_absent() {
        let mut results = Results::default();
        let one = |contestant, round| (Workload::OneRow, contestant, round);
        for (round, seconds) in [(1, 3.0), (2, 9.0), (3, 4.0)] {
            results.add(one(Contestant::Native, round), &[("seconds", seconds)]);
            let figures = [("seconds", 2.0), ("peak_rss_mb", f64::from(round))];
            results.add(one(Contestant::Ficus, round), &figures);
        }
        let different = Different { differing: 7 };
        results.fail(one(Contestant::NativeDurable, 1), &different.into(), Some(&different));
        let object = results.object();
        assert_eq!(object["apply_ratio_to_native"], json!({"one-row": 2.0}));
        assert_eq!(object["peak_rss_mb"], json!(3.0));
        assert!(!object.contains_key("lag_p50_ms"));
        assert!(!object.contains_key("copy_ratio_to_raw_copy"));
        assert_eq!(object["failures"][0]["differing_rows"], json!(7));
        let native = &object["workloads"]["one-row"]["native"]["seconds"];
        assert_eq!(*native, json!({"median": 4.0, "min": 3.0, "max": 9.0, "runs": 3}));
    }
}
