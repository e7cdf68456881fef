//! HTTP/1.1: every case through every chain of servers.

use testkit::http::{cases, exchange};

use super::report::{Line, Report};
use super::servers::Servers;

pub(super) async fn run(servers: &Servers, report: &mut Report) -> anyhow::Result<()> {
    let mut number = 0;
    for (group, cases) in cases::all() {
        for case in cases.iter().filter(|case| report.wants(group, case.name)).collect::<Vec<_>>() {
            let (mut seen, mut faults) = (Vec::new(), Vec::new());
            for chain in &servers.chains {
                number += 1;
                let answers = exchange(chain.entry, &case.marked(number)).await?;
                let reached = cases::of_case(number, servers.recorder.take());
                let statuses: Vec<_> = answers.statuses.iter().map(u16::to_string).collect();
                seen.push(format!("{} {}", chain.name, shown(&statuses)));
                let verdict = match chain.is_strict {
                    true => case.judge(&answers, &reached),
                    false => case.judge_behind(&answers, &reached),
                };
                if let Err(fault) = verdict {
                    faults.push(format!("{}: {}", chain.name, fault.0));
                }
            }
            let seen = seen.join(" | ");
            report.add(Line { group, name: case.name, rule: case.rule, seen, faults });
        }
    }
    Ok(())
}

fn shown(statuses: &[String]) -> String {
    if statuses.is_empty() { "closed".to_owned() } else { statuses.join(",") }
}
