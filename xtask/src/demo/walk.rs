//! The walk itself, with the same `ficus` commands an operator would type.

use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::time::Instant;

use super::Demo;
use super::report::{Report, quantile};
use crate::operator::{ficus, last_object, number, talk};
use crate::workload::{Traffic, Workload};
use crate::world::World;

/// Clients that hang up early.
const HANGUPS: usize = 2;

/// Mends what `ficus check --connect` finds wrong, with the SQL it names.
pub(crate) async fn mend(world: &World) -> anyhow::Result<()> {
    let findings = check(world).await?;
    for finding in &findings {
        let sql = finding.get("sql").and_then(Value::as_str).unwrap_or_default();
        let side = finding.get("side").and_then(Value::as_str).unwrap_or_default();
        talk(&format!(
            "check: {}",
            finding.get("evidence").and_then(Value::as_str).unwrap_or_default()
        ));
        if sql.is_empty() {
            bail!("ficus check names no SQL for {finding}");
        }
        talk(&format!("  mended with: {sql}"));
        match side {
            "target" => world.target.execute("ticket", sql).await?,
            _ => world.source.execute("monolith", sql).await?,
        }
    }
    let left = check(world).await?;
    anyhow::ensure!(left.is_empty(), "ficus check still finds {left:?}");
    Ok(())
}

async fn check(world: &World) -> anyhow::Result<Vec<Value>> {
    let output = world.ficus(&["check", "--connect", "--json"]).output().await?;
    let found: Value = last_object(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    let findings = found.get("findings").and_then(Value::as_array).cloned().unwrap_or_default();
    Ok(findings
        .into_iter()
        .filter(|finding| finding.get("severity").and_then(Value::as_str) == Some("error"))
        .collect())
}

/// From the monolith to the service, back, and forward again.
pub(crate) async fn walk(world: &World, demo: &Demo) -> anyhow::Result<Report> {
    let hangups = HANGUPS.min(demo.clients);
    let browsers = demo.clients / 4;
    let load = Workload {
        url: world.proxy_url(),
        tickets: world.common_tickets().await?,
        clients: demo.clients - browsers - hangups,
        browsers,
        hangups,
        pace: demo.pace(),
        run: "demo".to_owned(),
    };
    let mut walk = Walk { world, demo, traffic: load.start(false), holds: Vec::new() };
    let report = walk.all().await;
    let Walk { traffic, holds, .. } = walk;
    let (counts, ledger) = traffic.finish().await;
    let mut report = report?;

    talk("traffic ended; waiting for the reverse stream, then comparing everything");
    let verified = ficus(world, &["verify", "tickets"]).await?;
    report.verified_rows = number(&verified, "rows");
    report.verified_differences = number(&verified, "differences");
    let (monolith, service) =
        (world.source.connect("monolith").await?, world.target.connect("ticket").await?);
    let findings = ledger.check(&monolith, &service).await?;
    report.requests = counts.requests();
    report.failed = counts.failed();
    report.writes_acked = findings.acked;
    report.writes_lost = findings.lost + findings.unexpected;
    report.writes_duplicated = findings.duplicated;
    report.writes_torn = findings.torn;
    report.examples = counts.failures().into_iter().chain(findings.examples).collect();
    let mut waits: Vec<u64> =
        holds.iter().flat_map(|(from, to)| ledger.waits_between(*from, *to)).collect();
    report.held_writes = u64::try_from(waits.len())?;
    report.hold_ms_p50 = quantile(&mut waits, 0.5);
    report.hold_ms_p99 = quantile(&mut waits, 0.99);
    let status = ficus(world, &["status"]).await?;
    (report.shadow_compared, report.shadow_mismatched) = shadow(&status);
    Ok(report)
}

struct Walk<'a> {
    world: &'a World,
    demo: &'a Demo,
    traffic: Traffic,
    /// When writes were held.
    holds: Vec<(Instant, Instant)>,
}

impl Walk<'_> {
    async fn all(&mut self) -> anyhow::Result<Report> {
        let mut report = Report::default();
        self.stay("monolith").await?;
        self.ficus(&["start", "tickets"]).await?;
        self.stay("replicating").await?;
        self.ficus(&["verify", "tickets"]).await?;
        self.ficus(&["shift", "tickets", "shadowing"]).await?;
        self.stay("shadowing").await?;
        for percent in ["1", "10", "50", "100"] {
            self.ficus(&["shift", "tickets", percent]).await?;
            self.stay(&format!("reading {percent}%")).await?;
        }
        report.cutovers_ms.push(self.transfer("cutover").await?);
        self.stay("switched").await?;
        report.rollback_ms = self.transfer("rollback").await?;
        self.stay("back at the monolith").await?;
        self.ficus(&["shift", "tickets", "100"]).await?;
        self.stay("reading 100% again").await?;
        report.cutovers_ms.push(self.transfer("cutover").await?);
        self.stay("switched again").await?;
        report.cutover_ms = report.cutovers_ms.iter().copied().max().unwrap_or(0);
        Ok(report)
    }

    /// Lets the traffic run for a while.
    async fn stay(&self, phase: &str) -> anyhow::Result<()> {
        let before = self.traffic.counts.requests();
        tokio::time::sleep(self.demo.each_phase()).await;
        let sent = self.traffic.counts.requests() - before;
        let rate = sent / self.demo.seconds.max(1);
        talk(&format!(
            "{phase}: {rate} requests/s, {} failed so far",
            self.traffic.counts.failed()
        ));
        Ok(())
    }

    async fn ficus(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        talk(&format!("$ ficus {}", arguments.join(" ")));
        ficus(self.world, arguments).await
    }

    /// One transfer; answers how long writes were held in all, in ms.
    async fn transfer(&mut self, verb: &str) -> anyhow::Result<u64> {
        self.ficus(&["verify", "tickets"]).await?;
        let from = Instant::now();
        let answer = self.ficus(&[verb, "tickets"]).await?;
        let to = Instant::now();
        let transfer = answer.get("transfer").unwrap_or(&answer);
        let (total, hold) = (number(transfer, "total_ms"), number(transfer, "hold_ms"));
        talk(&format!("{verb}: {total} ms in all, writes held {hold} ms"));
        for step in transfer.get("steps").and_then(Value::as_array).into_iter().flatten() {
            let text = |key| step.get(key).and_then(Value::as_str).unwrap_or_default();
            let ms = step.get("ms").and_then(Value::as_f64).unwrap_or_default();
            talk(&format!("  {:<10} {ms:>8.1} ms  {}", text("step"), text("detail")));
        }
        // the hold is the last part of the command's time, up to a few ms
        let held = Duration::from_millis(hold + 20);
        self.holds.push((to.checked_sub(held).unwrap_or(from).max(from), to));
        Ok(total)
    }
}

fn shadow(status: &Value) -> (u64, u64) {
    let proxies = status.pointer("/capabilities/0/traffic");
    let of = |key| proxies.map_or(0, |traffic| number(traffic, key));
    (of("shadow_compared"), of("shadow_mismatched"))
}
