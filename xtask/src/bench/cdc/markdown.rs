//! The tables of `docs/benchmarks.md`. Each workload has its own place in the page, between two comments,
//! so that a run replaces what it has measured and nothing else.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use super::contestant::Contestant;
use super::result::Results;
use super::workload::{Method, Workload};
use crate::bench::{Samples, Spread};

/// Column headings with the figures they show.
type Columns = &'static [(&'static str, &'static str)];

const MOVED: Columns = &[
    ("rows/s", "rows_per_s"),
    ("seconds", "seconds"),
    ("CPU-s per million rows", "cpu"),
    ("source", "source_cpu"),
    ("replicator", "replicator_cpu"),
    ("target", "target_cpu"),
    ("peak MB", "peak_rss_mb"),
    ("others' cores", "others_cores"),
];

const LATENCY: Columns = &[
    ("p50 ms", "lag_p50_ms"),
    ("p99 ms", "lag_p99_ms"),
    ("p99.9 ms", "lag_p999_ms"),
    ("transactions/s", "rate"),
    ("replicator CPU-s per million rows", "replicator_cpu"),
    ("target", "target_cpu"),
    ("peak MB", "peak_rss_mb"),
    ("others' cores", "others_cores"),
];

const UNDER_LOAD: Columns = &[
    ("copy seconds", "seconds"),
    ("caught up after", "caught_up_s"),
    ("transactions/s", "rate"),
    ("peak MB", "peak_rss_mb"),
    ("others' cores", "others_cores"),
];

const IDLE: Columns = &[
    ("log written MB", "written_mb"),
    ("retained at most MB", "retained_max_mb"),
    ("at the end MB", "retained_end_mb"),
];

/// Replaces the places of the measured workloads, and that of the machine.
pub(super) fn write(page: &Path, results: &Results, object: &Value) -> anyhow::Result<()> {
    let mut text = fs::read_to_string(page).with_context(|| format!("read {}", page.display()))?;
    for (workload, samples) in &results.samples {
        let section = section(*workload, samples, results, object);
        text = replaced(&text, workload.name(), &section)?;
    }
    fs::write(page, text).with_context(|| format!("write {}", page.display()))
}

/// The text between `<!-- cdc NAME -->` and `<!-- end -->` exchanged.
fn replaced(text: &str, name: &str, section: &str) -> anyhow::Result<String> {
    let begin = format!("<!-- cdc {name} -->\n");
    let missing = || format!("the page has no place for {name}: {}", begin.trim());
    let (before, rest) = text.split_once(&begin).with_context(missing)?;
    let (_, after) = rest.split_once("<!-- end -->").context("a place has no end")?;
    Ok(format!("{before}{begin}{section}<!-- end -->{after}"))
}

fn section(workload: Workload, samples: &Samples, results: &Results, object: &Value) -> String {
    let columns = match workload.method() {
        Method::Copy | Method::Backlog | Method::Huge => MOVED,
        Method::Latency => LATENCY,
        Method::CopyUnderLoad => UNDER_LOAD,
        Method::Idle => IDLE,
    };
    let is_told = |(_, figure): &&(&str, &str)| {
        workload.contestants().iter().any(|one| samples.median(one.name(), figure).is_some())
    };
    let columns: Vec<_> = columns.iter().filter(is_told).collect();
    let mut text = conditions(object);
    let headings: Vec<&str> = columns.iter().map(|(heading, _)| *heading).collect();
    line(&mut text, format_args!("| | {} |", headings.join(" | ")));
    line(&mut text, format_args!("|---|{}", "--:|".repeat(columns.len())));
    for contestant in workload.contestants() {
        if samples.0.contains_key(contestant.name()) {
            let cells = columns.iter().map(|(_, figure)| {
                samples.spread(contestant.name(), figure).map(cell).unwrap_or_default()
            });
            let cells: Vec<String> = cells.collect();
            line(&mut text, format_args!("| `{}` | {} |", contestant.name(), cells.join(" | ")));
        }
    }
    text.push('\n');
    text.push_str(&verdict(workload, samples));
    for failure in results.failures.iter().filter(|failure| failure.place.0 == workload) {
        let (_, contestant, round) = failure.place;
        let told = match failure.differing_rows {
            Some(rows) => format!("{rows} rows differed"),
            None => "it did not come to its end".to_owned(),
        };
        let name = contestant.name();
        line(&mut text, format_args!("Round {round} of `{name}` does not count: {told}.\n"));
    }
    text
}

/// Whom Ficus beats and to whom it loses, by the medians.
fn verdict(workload: Workload, samples: &Samples) -> String {
    let (figure, words) = match workload.method() {
        Method::Copy | Method::Backlog | Method::Huge | Method::CopyUnderLoad => {
            ("seconds", "Ficus is faster than")
        }
        Method::Latency => ("lag_p50_ms", "the p50 of Ficus is shorter than that of"),
        Method::Idle => return String::new(),
    };
    let ficus = Contestant::Ficus.name();
    let mut told = Vec::new();
    for contestant in workload.contestants().iter().filter(|one| **one != Contestant::Ficus) {
        if let Some(ratio) = samples.ratio(figure, contestant.name(), ficus) {
            let loses = if ratio < 1.0 { ", so Ficus loses" } else { "" };
            told.push(format!("`{}` by the factor {ratio:.2}{loses}", contestant.name()));
        }
    }
    if told.is_empty() {
        return String::new();
    }
    format!("By the medians {words} {}.\n\n", told.join("; "))
}

/// What the run was made on.
fn conditions(object: &Value) -> String {
    let of = |path: &str| match object.pointer(path) {
        Some(Value::String(text)) => text.clone(),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
        Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => "?".to_owned(),
    };
    format!(
        "Scale {}, {} rounds, {} streams; {} cores ({}), Linux {}, load before {}; PostgreSQL {}, {}, {}; {} build.\n\n",
        of("/scale"),
        of("/rounds"),
        of("/streams"),
        of("/machine/cores"),
        of("/machine/cpu"),
        of("/machine/kernel"),
        of("/machine/load_before"),
        of("/versions/postgresql"),
        of("/versions/ficus"),
        of("/versions/pgcopydb"),
        of("/machine/profile"),
    )
}

/// The median, and in brackets least and most of several runs.
fn cell(spread: Spread) -> String {
    if spread.runs < 2 {
        return number(spread.median);
    }
    format!("{} ({}–{})", number(spread.median), number(spread.min), number(spread.max))
}

/// Three figures that matter; thousands with a space.
fn number(value: f64) -> String {
    if value >= 10_000.0 {
        format!("{:.0} k", value / 1000.0)
    } else if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a string takes all text");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_replaces_its_own_place_and_says_where_ficus_loses() {
        let mut results = Results::default();
        for (contestant, seconds) in [(Contestant::Native, 2.0), (Contestant::Ficus, 4.0)] {
            for round in 1..=2 {
                let figures = [("seconds", seconds), ("rows_per_s", 75_000.0)];
                results.add((Workload::OneRow, contestant, round), &figures);
            }
        }
        let object = Value::Object(results.object());
        let samples = &results.samples[&Workload::OneRow];
        let section = section(Workload::OneRow, samples, &results, &object);
        assert!(section.contains("| `ficus` | 75 k (75 k–75 k) | 4.00 (4.00–4.00) |"), "{section}");
        assert!(section.contains("`native` by the factor 0.50, so Ficus loses"), "{section}");
        let page = "a\n<!-- cdc one-row -->\nold\n<!-- end -->\nb <!-- cdc idle -->\n";
        let page = replaced(page, "one-row", "new\n").expect("the page has the place");
        assert_eq!(page, "a\n<!-- cdc one-row -->\nnew\n<!-- end -->\nb <!-- cdc idle -->\n");
        replaced(&page, "latency", "").expect_err("there is no such place");
    }
}
