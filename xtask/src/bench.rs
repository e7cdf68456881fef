//! `cargo xtask bench`: measures Ficus beside programs that nobody here wrote, on the same machine, in
//! turns. The figures of every turn go to standard error, the result is the last line of standard output.

mod cdc;
mod load;
mod machine;
mod peers;
mod proxy;
mod routing;

pub(crate) use load::serve;
pub(crate) use machine::program;
pub(crate) use peers::install;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::operator::talk;
use crate::world::Programs;

/// Measure Ficus beside other programs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargo run --release -p xtask -- bench proxy --profile bare,idle
  cargo run --release -p xtask -- bench cdc --only updates-100,one-row
  cargo xtask bench cdc --scale 0.01 --rounds 1     try it; a debug build measures nothing
  cargo xtask bench proxy --seconds 1 --rounds 1    try the harness; a debug build measures nothing")]
pub(crate) struct Bench {
    #[command(subcommand)]
    subject: Subject,
}

#[derive(Debug, Subcommand)]
enum Subject {
    Proxy(proxy::ProxyBench),
    Routing(routing::RoutingBench),
    Cdc(cdc::CdcBench),
}

/// The figures of all turns, by contestant and name.
#[derive(Debug, Default)]
struct Samples(BTreeMap<&'static str, BTreeMap<&'static str, Vec<f64>>>);

/// The median of several runs, and how far they lie apart.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
    runs: usize,
}

impl Bench {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let results = match &self.subject {
            Subject::Proxy(bench) => runtime.block_on(bench.drive())?,
            Subject::Routing(bench) => vec![bench.drive()?],
            Subject::Cdc(bench) => vec![runtime.block_on(bench.drive())?],
        };
        for result in results {
            println!("{}", serde_json::to_string(&result)?);
            let failures = result.get("failures").and_then(Value::as_array).map_or(0, Vec::len);
            anyhow::ensure!(failures == 0, "{failures} runs do not count");
        }
        Ok(())
    }
}

impl Samples {
    /// Keeps and tells the figures of one turn.
    fn add(&mut self, contestant: &'static str, turn: &str, figures: &[(&'static str, f64)]) {
        let told: Vec<_> =
            figures.iter().map(|(name, value)| format!("{name} {value:.3}")).collect();
        talk(&format!("{turn}, {contestant}: {}", told.join(", ")));
        let kept = self.0.entry(contestant).or_default();
        for (name, value) in figures {
            kept.entry(name).or_default().push(*value);
        }
    }

    /// The median over the turns; `None` of nothing.
    fn median(&self, contestant: &str, name: &str) -> Option<f64> {
        self.spread(contestant, name).map(|spread| spread.median)
    }

    /// Median, least and most over the turns; `None` of nothing.
    fn spread(&self, contestant: &str, name: &str) -> Option<Spread> {
        let values = self.0.get(contestant)?.get(name)?;
        let of = |q| quantile(values.iter().copied(), q);
        Some(Spread { median: of(0.5), min: of(0.0), max: of(1.0), runs: values.len() })
    }

    /// The spreads, as one object of objects for each contestant.
    fn spreads(&self) -> Value {
        let object = |(contestant, figures): (&&str, &BTreeMap<&str, _>)| {
            let spreads = figures.keys().filter_map(|name| {
                let spread = self.spread(contestant, name)?;
                Some(((*name).to_owned(), spread.object()))
            });
            ((*contestant).to_owned(), Value::Object(spreads.collect()))
        };
        Value::Object(self.0.iter().map(object).collect())
    }

    /// The median of one over the median of another.
    fn ratio(&self, name: &str, over: &str, under: &str) -> Option<f64> {
        Some(rounded(self.median(over, name)? / self.median(under, name)?))
    }
}

impl Spread {
    fn object(&self) -> Value {
        json!({
            "median": rounded(self.median), "min": rounded(self.min), "max": rounded(self.max),
            "runs": self.runs,
        })
    }
}

/// The binary to measure: the one given, or one built in the profile of this program.
async fn ficus_binary(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(given) = given {
        return Ok(given.canonicalize()?);
    }
    if cfg!(debug_assertions) {
        talk("bench: this is a debug build: it proves the harness, its figures mean nothing");
    }
    Ok(Programs::build().await?.ficus)
}

/// The quantile `q` from 0 to 1, interpolated between its two neighbours; 0 of nothing.
fn quantile(values: impl IntoIterator<Item = f64>, q: f64) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let place = q * values.len().saturating_sub(1) as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "q is from 0 to 1, so the place lies within the values"
    )]
    let below = place.floor() as usize;
    let at = |index: usize| values.get(index).or_else(|| values.last()).copied().unwrap_or(0.0);
    at(below) + (at(below + 1) - at(below)) * (place - below as f64)
}

/// Three decimals, so that results can be read.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_their_neighbours() {
        assert_eq!(quantile([3.0, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(quantile([4.0, 1.0, 2.0, 3.0], 0.5), 2.5);
        assert_eq!(quantile((0..=100).map(f64::from), 0.99), 99.0);
        assert_eq!(quantile([7.0], 0.99), 7.0);
    }

    #[test]
    fn a_ratio_compares_the_medians_of_all_turns() {
        let mut samples = Samples::default();
        for (ficus, other) in [(14.0, 9.0), (15.0, 50.0), (16.0, 10.0)] {
            samples.add("ficus", "round", &[("cost", ficus)]);
            samples.add("other", "round", &[("cost", other)]);
        }
        assert_eq!(samples.ratio("cost", "ficus", "other"), Some(1.5));
        assert_eq!(samples.ratio("cost", "ficus", "absent"), None);
        assert_eq!(samples.median("other", "cost"), Some(10.0));
    }
}
