//! The commands that ask control for something.

use std::io::Write;
use std::time::Duration;

use anyhow::Context;
use control::api::{CapabilityStatus, Status, StreamStatus};
use indicatif::{HumanBytes, HumanDuration, ProgressBar};
use serde_json::{Value, json};

use crate::args::{Complete, Start, Transfer, Verify};
use crate::client::{ControlClient, finding_in_words};
use crate::exit::Failure;
use crate::output::Output;
use crate::progress::{copy_bar, verify_bar};

/// How often a waiting command looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What every command needs.
#[derive(Debug)]
pub(crate) struct Online {
    pub(crate) control: ControlClient,
    pub(crate) out: Output,
}

impl Online {
    /// Installs guards and starts the streams; waits for the copy.
    pub(crate) async fn start(&self, start: &Start) -> anyhow::Result<()> {
        let name = &start.capability;
        self.control.post(&command_path(name, "start"), &json!({})).await?;
        if !start.no_wait {
            self.wait_for_copy(name).await?;
        }
        let status = self.capability(name).await?;
        self.out.object(&status)?;
        self.out.line(&if start.no_wait {
            format!("{name}: started; follow it with: ficus watch")
        } else {
            format!("{name}: copied and streaming; next: ficus verify {name}")
        })
    }

    async fn wait_for_copy(&self, name: &str) -> anyhow::Result<()> {
        let bar = copy_bar();
        loop {
            let streams = self.capability(name).await?.streams;
            if let Some(failed) = streams.iter().find(|stream| stream.state == "failed") {
                anyhow::bail!("the {} stream of {name} failed: {}", failed.kind, failed.reason);
            }
            show_copy(&bar, &streams);
            let is_done = |stream: &StreamStatus| {
                let reads = matches!(stream.state.as_str(), "streaming" | "stopped");
                let is_copied = |state: &str| {
                    !matches!(state, "pending" | "copying" | "resyncing" | "replaying")
                };
                reads && stream.tables.iter().all(|table| is_copied(&table.state))
            };
            if !streams.is_empty() && streams.iter().all(is_done) {
                bar.finish_and_clear();
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Compares both sides.
    pub(crate) async fn verify(&self, verify: &Verify) -> anyhow::Result<()> {
        let bar = verify_bar();
        let path = command_path(&verify.capability, "verify");
        let body = json!({ "tables": verify.tables, "repair": verify.repair });
        let last = self
            .control
            .post_lines(&path, &body, &mut |line| {
                bar.set_length(number(line, "rows_total").max(number(line, "rows")));
                bar.set_position(number(line, "rows"));
                bar.set_message(text(line, "table").to_owned());
            })
            .await?;
        bar.finish_and_clear();
        fail_on_error_line(&last)?;
        self.out.object(&last)?;
        let (rows, differences) = (number(&last, "rows"), number(&last, "differences"));
        let repaired = match number(&last, "repaired") {
            0 => String::new(),
            repaired => format!("{repaired} repaired, "),
        };
        if differences > 0 {
            let samples =
                last.get("samples").and_then(Value::as_array).cloned().unwrap_or_default();
            let samples: Vec<&str> = samples.iter().filter_map(Value::as_str).collect();
            return Err(Failure::Different(format!(
                "{repaired}{differences} of {rows} rows differ ({} missing, {} extra, {} different): {}",
                number(&last, "missing"),
                number(&last, "extra"),
                number(&last, "different"),
                samples.join(", ")
            ))
            .into());
        }
        let name = &verify.capability;
        self.out.line(&format!("{name}: {repaired}{rows} rows compared, no difference"))
    }

    /// Cutover or rollback, step by step.
    pub(crate) async fn transfer(&self, verb: &str, transfer: &Transfer) -> anyhow::Result<()> {
        let path = command_path(&transfer.capability, verb);
        let body = json!({ "dry_run": transfer.dry_run });
        let out = self.out;
        let mut written = Ok(());
        let last = self
            .control
            .post_lines(&path, &body, &mut |line| {
                if written.is_ok()
                    && let Some(step) = line.get("step").and_then(Value::as_str)
                {
                    written = out.line(&step_in_words(step, line));
                }
            })
            .await?;
        written?;
        fail_on_error_line(&last)?;
        self.out.object(&last)?;
        match text(&last, "outcome") {
            "done" => {
                let record = last.get("transfer").unwrap_or(&last);
                self.out.line(&format!(
                    "{}: {verb} done in {} ms, writes held {} ms",
                    transfer.capability,
                    number(record, "total_ms"),
                    number(record, "hold_ms")
                ))
            }
            "ready" => {
                self.out.line(&format!("{}: a {verb} would be accepted", transfer.capability))
            }
            "refused" => Err(Failure::Refused(reason(&last)).into()),
            _ => Err(Failure::Aborted(reason(&last)).into()),
        }
    }

    /// Lets go of the way back, after the capability's name was typed.
    pub(crate) async fn complete(&self, complete: &Complete) -> anyhow::Result<()> {
        let name = &complete.capability;
        let typed = match &complete.confirm {
            Some(typed) => typed.clone(),
            None => ask(&format!(
                "After this there is no rollback: the reverse stream ends and the monolith's tables of {name} go stale.\nType the capability's name to go on: "
            ))?,
        };
        if typed.trim() != name {
            return Err(Failure::Refused(format!("the confirmation is not {name:?}")).into());
        }
        let body = json!({ "confirm": name, "force": complete.force });
        self.simple(name, "complete", &body).await
    }

    /// A command that answers with the capability's new state.
    pub(crate) async fn simple(&self, name: &str, verb: &str, body: &Value) -> anyhow::Result<()> {
        self.control.post(&command_path(name, verb), body).await?;
        let status = self.capability(name).await?;
        self.out.object(&status)?;
        let paused = if status.paused { ", paused" } else { "" };
        self.out.line(&format!("{name}: {}{paused}", status.phase))
    }

    async fn capability(&self, name: &str) -> anyhow::Result<CapabilityStatus> {
        let status: Status = self.control.get("/api/v1/status").await?;
        let known = status.capabilities.into_iter().find(|each| each.name == name);
        known.with_context(|| format!("control does not know a capability {name}"))
    }
}

/// Streams that are done count with what they copied; rates and the longest time left come from the
/// replicator.
fn show_copy(bar: &ProgressBar, streams: &[StreamStatus]) {
    let (mut rows, mut expected, mut rate, mut left) = (0, 0, None, None);
    for stream in streams {
        let done: u64 = stream.tables.iter().map(|table| table.rows_copied).sum();
        let copy = stream.copy.as_ref();
        let read = copy.map_or(done, |copy| copy.rows);
        rows += read;
        expected += copy.and_then(|copy| copy.rows_expected).unwrap_or(read);
        rate = copy
            .and_then(|copy| copy.bytes_per_second)
            .map(|more| more + rate.unwrap_or(0))
            .or(rate);
        left = left.max(copy.and_then(|copy| copy.eta_ms));
    }
    bar.set_length(expected);
    bar.set_position(rows);
    let rate = rate.map(|rate| format!("{}/s ", HumanBytes(rate)));
    let left = left.map(|ms| format!("{} left", HumanDuration(Duration::from_millis(ms))));
    let indexes: u32 = streams.iter().map(|stream| stream.indexes_left).sum();
    let indexes = (indexes > 0).then(|| format!("{indexes} indexes to build"));
    bar.set_message([rate, left.or(indexes)].into_iter().flatten().collect::<String>());
}

pub(crate) fn command_path(capability: &str, verb: &str) -> String {
    format!("/api/v1/capabilities/{capability}/{verb}")
}

fn step_in_words(step: &str, line: &Value) -> String {
    let ms = line.get("ms").and_then(Value::as_f64).unwrap_or_default();
    let detail = text(line, "detail");
    format!("  {step:<18} {ms:>8.1} ms  {detail}").trim_end().to_owned()
}

fn reason(last: &Value) -> String {
    let mut words = text(last, "reason").to_owned();
    for finding in last.get("findings").and_then(Value::as_array).into_iter().flatten() {
        if finding.get("ok").and_then(Value::as_bool) != Some(true) {
            words.push_str("\n  ");
            words.push_str(&finding_in_words(finding));
        }
    }
    words
}

fn fail_on_error_line(last: &Value) -> anyhow::Result<()> {
    match last.get("error").and_then(Value::as_str) {
        Some(error) => anyhow::bail!("{error}"),
        None => Ok(()),
    }
}

fn ask(question: &str) -> anyhow::Result<String> {
    write!(std::io::stderr().lock(), "{question}")?;
    let mut typed = String::new();
    std::io::stdin().read_line(&mut typed)?;
    Ok(typed)
}

fn text<'v>(object: &'v Value, key: &str) -> &'v str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn number(object: &Value, key: &str) -> u64 {
    object.get(key).and_then(Value::as_u64).unwrap_or_default()
}
