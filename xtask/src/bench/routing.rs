//! `cargo xtask bench routing`: how long it takes to find the route of a request, by the number of routes.

use std::fmt::Write as _;
use std::hint::black_box;

use clap::Args;
use routes::{Config, RouteTable};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{machine, quantile, rounded};
use crate::operator::talk;

/// Numbers of routes.
const SIZES: [usize; 3] = [50, 500, 5_000];

/// Lookups of one run.
const LOOKUPS: u32 = 1_000_000;

/// Find the route of a request among 50, 500 and 5,000.
#[derive(Debug, Args)]
pub(super) struct RoutingBench {
    /// Runs, of which the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

impl RoutingBench {
    /// Nanoseconds for one lookup, found or not, by the number of routes.
    pub(super) fn drive(&self) -> anyhow::Result<Value> {
        let mut result = json!({ "machine": machine::look(), "rounds": self.rounds });
        for size in SIZES {
            let config = Config::parse_without_secrets("routes.toml", &file(size), &|_| None)
                .map_err(|problems| anyhow::anyhow!("the routes are wrong: {problems:?}"))?;
            let table = RouteTable::compile(&config);
            let paths = paths(size);
            let times: Vec<f64> = (0..self.rounds).map(|_| nanoseconds(&table, &paths)).collect();
            let median = rounded(quantile(times.iter().copied(), 0.5));
            talk(&format!("{size} routes: {median} ns, of {times:.0?}"));
            if let Some(result) = result.as_object_mut() {
                result.insert(format!("ns_at_{size}"), json!(median));
            }
        }
        Ok(result)
    }
}

/// Routes as an API has them: collections, items, and what belongs to an item.
fn file(size: usize) -> String {
    let mut text = "version = 1\n[upstreams.monolith]\npeers = [\"127.0.0.1:1\"]\n\
                    [upstreams.service]\npeers = [\"127.0.0.1:2\"]\n\
                    [capabilities.all]\nupstream = \"service\"\n"
        .to_owned();
    for number in 0..size {
        let place = number / 4;
        let rest = match number % 4 {
            0 => "",
            1 => "/{id}",
            2 => "/{id}/notes",
            _ => "/{id}/notes/{note}",
        };
        let (area, thing) = (place / 25, place % 25);
        writeln!(
            text,
            "[[capabilities.all.routes]]\nmatch = \"GET /api/v1/area{area}/things{thing}{rest}\""
        )
        .expect("text grows");
    }
    text
}

/// One in eight belongs to nobody.
fn paths(size: usize) -> Vec<String> {
    (0..size.next_multiple_of(8))
        .map(|number| {
            let place = number / 4;
            let (area, thing) = (place / 25, place % 25);
            match number % 8 {
                0 => format!("/api/v1/area{area}/things{thing}"),
                1 | 4 => format!("/api/v1/area{area}/things{thing}/184201"),
                2 | 5 => format!("/api/v1/area{area}/things{thing}/184201/notes"),
                3 | 6 => format!("/api/v1/area{area}/things{thing}/184201/notes/7"),
                _ => format!("/assets/area{area}/logo.png"),
            }
        })
        .collect()
}

fn nanoseconds(table: &RouteTable, paths: &[String]) -> f64 {
    let begun = Instant::now();
    // a prime step, so that neighbours are not asked for one after the other
    let mut place = 0;
    for _ in 0..LOOKUPS {
        place = (place + 7_919) % paths.len();
        if let Some(path) = paths.get(place) {
            black_box(table.find(black_box("GET"), black_box(path)));
        }
    }
    begun.elapsed().as_secs_f64() * 1e9 / f64::from(LOOKUPS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seven_of_eight_paths_have_a_route() {
        let config = Config::parse_without_secrets("routes.toml", &file(80), &|_| None);
        let table = RouteTable::compile(&config.expect("good routes"));
        let found = paths(80).iter().filter(|path| table.find("GET", path).is_some()).count();
        assert_eq!(found, 70);
    }
}
