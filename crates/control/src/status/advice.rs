//! What an operator should know or do next, most important first.

use cutover::{GuardState, Phase, Side};

use crate::{
    api::{Advice, CapabilityStatus, StreamStatus, TableStatus, WalStatus},
    core::Core,
    replicator::Heard,
};

/// A transaction that runs longer than this deserves a look: it holds back all slots of its server.
const OLD_TRANSACTION_S: u64 = 300;

pub(super) fn advice(core: &Core, status: &CapabilityStatus, heard: &Heard) -> Vec<Advice> {
    let mut advice = Vec::new();
    if matches!(status.phase, Phase::Monolith) {
        advice.push(next("nothing has been started", &format!("ficus start {}", status.name)));
        return advice;
    }
    guards(core, status, &mut advice);
    if let Err(error) = &heard.status {
        advice.push(warning(error.clone(), Some("ficus cdc".to_owned())));
    }
    for stream in &status.streams {
        watch_stream(core, status, stream, &mut advice);
    }
    watch_proxies(core, &mut advice);
    watch_verification(status, &mut advice);
    if status.paused {
        let command = format!("ficus resume {}", status.name);
        advice.push(warning("streams and automatic steps are paused", Some(command)));
    }
    let wrong = advice.iter().any(|each| each.warning);
    if !wrong {
        advice.extend(next_step(status));
    }
    advice
}

fn warning(text: impl Into<String>, command: Option<String>) -> Advice {
    Advice { warning: true, text: text.into(), command }
}

fn next(text: &str, command: &str) -> Advice {
    Advice { warning: false, text: text.to_owned(), command: Some(command.to_owned()) }
}

fn guards(core: &Core, status: &CapabilityStatus, advice: &mut Vec<Advice>) {
    if let (Some(source), Some(target)) = (&status.source_guard, &status.target_guard)
        && source.state == GuardState::Open
        && target.state == GuardState::Open
    {
        advice.push(warning(
            "both sides are open: stop all writers and compare both guard rows",
            None,
        ));
    }
    if let Some(Err(error)) = core.guards(&status.name) {
        advice.push(warning(format!("the guards could not be read: {error}"), None));
    }
}

fn watch_stream(
    core: &Core,
    status: &CapabilityStatus,
    stream: &StreamStatus,
    advice: &mut Vec<Advice>,
) {
    let kind = &stream.kind;
    if matches!(stream.state.as_str(), "failed" | "retrying") {
        advice.push(warning(
            format!("the {kind} stream is {}: {}", stream.state, stream.reason),
            None,
        ));
    }
    advice.extend(stream.tables.iter().filter_map(|table| watch_table(status, table)));
    if stream.breaches > 0 {
        advice.push(warning(
            format!(
                "{} writes on the side that does not own them ({kind} stream)",
                stream.breaches
            ),
            None,
        ));
    }
    if let Some(wal) = &stream.wal {
        watch_wal(kind, wal, advice);
    }
    let limit = core.capability(&status.name).map(|each| each.abort.max_lag).unwrap_or_default();
    let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    if let Some(lag) = stream.lag_ms.filter(|lag| *lag > limit_ms && stream.state == "streaming") {
        advice.push(warning(format!("the {kind} stream is {lag} ms behind"), None));
    }
}

fn watch_wal(kind: &str, wal: &WalStatus, advice: &mut Vec<Advice>) {
    let server =
        if kind == "reverse" { "the service's database" } else { "the monolith's database" };
    if let (Some(kept), Some(limit)) = (wal.retained_bytes, wal.limit_bytes)
        && matches!(wal.level.as_str(), "warning" | "alarm" | "exhausted")
    {
        let (kept, limit, set_by) = (kept >> 20, limit >> 20, &wal.limit_set_by);
        let lost = if kind == "reverse" { "the way back" } else { "the stream" };
        let when = match wal.eta_s {
            Some(seconds) => format!("; at this rate {lost} is lost in {} min", seconds / 60),
            None => String::new(),
        };
        advice.push(warning(
            format!(
                "{server} keeps {kept} of {limit} MiB of log ({set_by}) for the {kind} stream{when}"
            ),
            None,
        ));
    }
    if let Some(seconds) = wal.oldest_transaction_s.filter(|age| *age >= OLD_TRANSACTION_S) {
        let minutes = seconds / 60;
        advice.push(warning(
            format!("a transaction has run in {server} for {minutes} min and holds its log back"),
            None,
        ));
    }
}

/// What to type for a table that waits for somebody.
fn watch_table(status: &CapabilityStatus, table: &TableStatus) -> Option<Advice> {
    let (name, source) = (&status.name, &table.source);
    let command = match table.state.as_str() {
        _ if table.needs_resync => format!("ficus table resync {name} {source}"),
        "quarantined" => format!("ficus table retry {name} {source}"),
        "changed" => format!("ficus ddl show {name}"),
        _ => return None,
    };
    let text = format!("{source} is {}: {}", table.state, table.reason);
    Some(warning(text, Some(command)))
}

fn watch_proxies(core: &Core, advice: &mut Vec<Advice>) {
    for proxy in core.proxies.statuses(&core.config.digest) {
        if !proxy.connected {
            advice.push(warning(format!("proxy {} is away", proxy.id), None));
        } else if proxy.other_config {
            advice.push(warning(format!("proxy {} reads another routes.toml", proxy.id), None));
        }
    }
}

fn watch_verification(status: &CapabilityStatus, advice: &mut Vec<Advice>) {
    let command = Some(format!("ficus verify {}", status.name));
    match &status.verification {
        Some(last) if last.differences > 0 => advice.push(warning(
            format!("{} rows differ: {}", last.differences, last.samples.join(", ")),
            Some(format!("ficus verify {} --repair", status.name)),
        )),
        Some(last) if last.dirty_overflow && last.running.is_none() => {
            advice
                .push(warning("not every row was compared since the replicator started", command));
        }
        Some(_) | None => {}
    }
}

fn next_step(status: &CapabilityStatus) -> Option<Advice> {
    let name = &status.name;
    let copied = status.streams.iter().any(|stream| {
        stream.kind == "forward"
            && stream.state == "streaming"
            && stream.tables.iter().all(|table| table.state == "ready")
    });
    let (text, command) = match (status.phase, &status.verification) {
        (Phase::Replicating, _) if !copied => return None,
        (Phase::Replicating, None) => {
            ("copied; compare both sides", format!("ficus verify {name}"))
        }
        (Phase::Replicating, Some(_)) => {
            ("compared; ask the service, too", format!("ficus shift {name} shadowing"))
        }
        (Phase::Shadowing, _) => {
            ("look at the mismatches, then move some reads", format!("ficus shift {name} 10"))
        }
        (Phase::Reading { percent: 100 }, _) => {
            ("all reads are moved; move the writes", format!("ficus cutover {name}"))
        }
        (Phase::Reading { .. }, _) => {
            ("move more reads, or the writes", format!("ficus cutover {name} --dry-run"))
        }
        (Phase::Switched, _) if status.owner == Side::Target => {
            ("the service owns the writes; the way back is open", format!("ficus rollback {name}"))
        }
        (Phase::Monolith | Phase::Switched | Phase::Completed, _) => return None,
    };
    Some(next(text, &command))
}
