//! HTTP/2: every case against Ficus alone, which must serve the next connection afterwards and not grow.

use anyhow::Context;
use testkit::http::frames::{converse, flag, get, headers};
use testkit::http::streams;

use super::report::{Line, Report};
use super::servers::{Servers, resident_mb};

/// What one case may add to the memory of the proxy.
const GROWTH_MB_MAX: f64 = 48.0;

pub(super) async fn run(servers: &Servers, report: &mut Report) -> anyhow::Result<()> {
    let entry = servers.direct();
    for (group, cases) in streams::all() {
        for case in cases.iter().filter(|case| report.wants(group, case.name)).collect::<Vec<_>>() {
            let before = resident_mb(servers.ficus.pid())?;
            let outcome = case.send(entry).await?;
            let reached = servers.recorder.take();
            let mut faults = Vec::new();
            faults.extend(case.judge(&outcome, &reached).err().map(|fault| fault.0));
            let grown = resident_mb(servers.ficus.pid())? - before;
            if grown > GROWTH_MB_MAX {
                faults.push(format!("the proxy grew by {grown:.0} MB"));
            }
            let next = converse(entry, &headers(1, flag::END_STREAM, &get("/next")), 1).await;
            let next = next.context("the proxy takes no connection any more")?;
            if next.statuses.get(&1) != Some(&200) {
                faults.push(format!("the next connection was not served: {next:?}"));
            }
            drop(servers.recorder.take());
            let answered = outcome.statuses.values().fold(String::new(), |text, status| {
                if text.len() < 20 { format!("{text}{status} ") } else { text }
            });
            let seen = format!(
                "{answered}resets {} goaway {:?}{}",
                outcome.resets.len(),
                outcome.goaway,
                if outcome.is_closed { " closed" } else { "" }
            );
            report.add(Line { group, name: case.name, rule: case.rule, seen, faults });
        }
    }
    Ok(())
}
