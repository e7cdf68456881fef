//! A status as text for people. What is unknown is called unknown, never zero.

use control::api::{
    Advice, CapabilityStatus, CopyStatus, ProxyStatus, Status, StepsStatus, StreamStatus, Transfer,
    VerificationStatus, WalStatus,
};

use super::words::{ago, bytes, count, duration, float, printable, seconds, share};

/// Older transactions are shown, seconds.
const OLD_TRANSACTION_S: u64 = 60;

/// Cells of the bar that shows the share of reads.
const BAR_CELLS: usize = 20;

/// Names of figures are padded to this, so that figures stand below each other.
const NAME_WIDTH: usize = 12;

/// The phases in order, as the path of a move.
const PHASES: [&str; 6] =
    ["monolith", "replicating", "shadowing", "reading", "switched", "completed"];

/// How a line is meant; a colour only on terminals, never the only sign.
#[derive(Clone, Copy)]
enum Tone {
    Plain,
    Soft,
    Strong,
    Good,
    Warn,
    Bad,
}

/// Text with or without colours.
struct Screen {
    text: String,
    coloured: bool,
}

impl Screen {
    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// `  name        figure`
    fn figure(&mut self, name: &str, figure: &str) {
        let name = self.paint(Tone::Soft, &format!("{name:<NAME_WIDTH$}"));
        self.line(&format!("  {name}{figure}"));
    }

    /// What others wrote may hold anything; control characters must not reach the terminal.
    fn paint(&self, tone: Tone, text: &str) -> String {
        let text = printable(text);
        let code = match tone {
            Tone::Plain => "",
            Tone::Soft => "2",
            Tone::Strong => "1",
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "31",
        };
        if self.coloured && !code.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text }
    }
}

/// Everything about a status, capability by capability.
pub(super) fn screen(status: &Status, coloured: bool) -> String {
    let mut screen = Screen { text: String::new(), coloured };
    heading(&mut screen, status);
    if status.capabilities.is_empty() {
        screen.line("routes.toml names no capability; add one, then run ficus check");
    }
    for one in &status.capabilities {
        screen.line("");
        capability(&mut screen, one, status);
    }
    screen.line("");
    proxies(&mut screen, status);
    screen.text
}

/// The first lines of a screen, when it does not fit into so many rows.
pub(super) fn cut(screen: &str, rows: usize) -> String {
    let lines: Vec<&str> = screen.lines().collect();
    if lines.len() < rows || rows < 2 {
        return screen.to_owned();
    }
    // the last row stays free for the cursor
    let shown = rows - 2;
    let head = lines.get(..shown).unwrap_or_default().join("\n");
    format!("{head}\n… {} more lines: make the window taller\n", lines.len() - shown)
}

fn heading(screen: &mut Screen, status: &Status) {
    let role = if status.leader { "leads" } else { "stands by" };
    let line = format!("control {role} · generation {}", status.generation);
    let line = screen.paint(Tone::Soft, &line);
    screen.line(&line);
    if !status.replicator.connected {
        let text =
            format!("! the replicator does not answer: {}", or_nothing(&status.replicator.error));
        let text = screen.paint(Tone::Bad, &text);
        screen.line(&text);
    }
}

fn capability(screen: &mut Screen, one: &CapabilityStatus, status: &Status) {
    let paused = if one.paused { screen.paint(Tone::Warn, "  ! paused") } else { String::new() };
    let name = screen.paint(Tone::Strong, &one.name);
    let upstream = screen.paint(Tone::Plain, &one.upstream);
    screen.line(&format!("{name} → {upstream}{paused}"));
    let path = path(screen, one);
    screen.figure("phase", &path);
    let reads = format!(
        "{} {} % service, {} % monolith",
        bar(one.read_percent),
        one.read_percent,
        100_u8.saturating_sub(one.read_percent)
    );
    screen.figure("reads", &reads);
    if !one.steps.verdict.is_empty() {
        let steps = steps(screen, &one.steps);
        screen.figure("steps", &steps);
    }
    let owner = writes(screen, one);
    screen.figure("writes", &owner);
    traffic(screen, one, status);
    let verified = verified(screen, one.verification.as_ref(), status.now_unix_ms);
    screen.figure("verified", &verified);
    for (index, stream) in one.streams.iter().enumerate() {
        let line = stream_line(screen, stream);
        screen.figure(if index == 0 { "streams" } else { "" }, &line);
        for trouble in troubles(stream) {
            let trouble = screen.paint(Tone::Bad, &format!("! {trouble}"));
            screen.figure("", &trouble);
        }
    }
    if let Some(last) = &one.transfer {
        transfer(screen, last, status.now_unix_ms);
    }
    for advice in &one.advice {
        advise(screen, advice);
    }
}

/// `monolith ✓ replicating ✓ [reading 10%] switched completed`
fn path(screen: &Screen, one: &CapabilityStatus) -> String {
    let current = PHASES.iter().position(|name| *name == one.phase.as_str()).unwrap_or(0);
    let steps = PHASES.iter().enumerate().map(|(index, name)| match index.cmp(&current) {
        std::cmp::Ordering::Less => format!("{name} ✓"),
        std::cmp::Ordering::Equal => screen.paint(Tone::Strong, &format!("[{}]", one.phase)),
        std::cmp::Ordering::Greater => screen.paint(Tone::Soft, name),
    });
    steps.collect::<Vec<_>>().join(" → ")
}

/// `█████░░░░░`; any share above nothing shows at least one cell, any below all leaves one.
fn bar(percent: u8) -> String {
    let exact = usize::from(percent.min(100)) * BAR_CELLS;
    let full = match percent {
        0 => 0,
        1..=99 => (exact / 100).clamp(1, BAR_CELLS - 1),
        _ => BAR_CELLS,
    };
    format!("{}{}", "█".repeat(full), "░".repeat(BAR_CELLS - full))
}

fn writes(screen: &Screen, one: &CapabilityStatus) -> String {
    let owner = match one.owner.as_str() {
        "source" => "monolith",
        _ => one.upstream.as_str(),
    };
    let [monolith, service] = [one.source_guard, one.target_guard].map(|row| match row {
        Some(row) if row.overdue => format!("{}({}) overdue", row.state.as_str(), row.epoch),
        Some(row) => format!("{}({})", row.state.as_str(), row.epoch),
        None => "unknown".to_owned(),
    });
    let (owner, upstream) = (screen.paint(Tone::Strong, owner), printable(&one.upstream));
    let epoch = one.epoch;
    format!("{owner} at epoch {epoch} · guards: monolith {monolith}, {upstream} {service}")
}

/// Without a connected proxy the zeros of the sum say nothing.
fn traffic(screen: &mut Screen, one: &CapabilityStatus, status: &Status) {
    if !status.proxies.iter().any(|proxy| proxy.connected) {
        let unknown = screen.paint(Tone::Warn, "unknown: no proxy is connected");
        screen.figure("traffic", &unknown);
        return;
    }
    let t = &one.traffic;
    let side = |name: &str, requests, errors, p99: f64| {
        let p99 = if p99 > 0.0 { format!(", p99 {}", duration(p99)) } else { String::new() };
        let errors =
            if errors == 1 { "1 error".to_owned() } else { format!("{} errors", count(errors)) };
        format!("{} {} answered, {errors}{p99}", printable(name), count(requests))
    };
    let source = side("monolith", t.requests_source, t.errors_source, t.p99_source_ms);
    let target = side(&one.upstream, t.requests_target, t.errors_target, t.p99_target_ms);
    screen.figure("traffic", &source);
    screen.figure("", &target);
    let held = format!("{} held now, {} in flight", count(t.held), count(t.inflight_writes));
    screen.figure("", &format!("writes: {held}"));
    if t.shadow_compared > 0 {
        let text = if t.shadow_mismatched == 0 {
            screen.paint(Tone::Good, &format!("✓ {} compared, all equal", count(t.shadow_compared)))
        } else {
            let part = share(t.shadow_mismatched, t.shadow_compared);
            let (different, all) = (count(t.shadow_mismatched), count(t.shadow_compared));
            screen.paint(Tone::Bad, &format!("! {different} of {all} compared differ ({part})"))
        };
        screen.figure("shadow", &text);
    }
}

fn verified(screen: &Screen, last: Option<&VerificationStatus>, now: u64) -> String {
    let Some(last) = last else { return screen.paint(Tone::Soft, "never") };
    let when = ago(last.finished_unix_ms, now);
    let text = if last.differences == 0 {
        screen.paint(Tone::Good, &format!("✓ {when}: {} rows equal", count(last.rows)))
    } else {
        let samples = last.samples.join(", ");
        let (different, rows) = (count(last.differences), count(last.rows));
        let text = format!("! {when}: {different} of {rows} rows differ: {samples}");
        screen.paint(Tone::Bad, &text)
    };
    let since = match (last.dirty_overflow, last.dirty_ranges) {
        (true, _) => "not all compared since the replicator started".to_owned(),
        (false, 0) => format!("{} touched since", count(last.dirty_keys)),
        (false, ranges) => {
            let keys = count(last.dirty_keys);
            format!("{keys} and {} ranges touched since", count(ranges))
        }
    };
    let now = match &last.running {
        Some(run) => {
            let (rows, total) = (count(run.rows), count(run.rows_total));
            format!(" · comparing now ({}): {rows} of {total}", printable(&run.by))
        }
        None => String::new(),
    };
    format!("{text} · {since}{now}")
}

fn stream_line(screen: &Screen, stream: &StreamStatus) -> String {
    let tone = match stream.state.as_str() {
        "streaming" => Tone::Good,
        "starting" | "copying" | "stopped" => Tone::Plain,
        "failed" => Tone::Bad,
        _ => Tone::Warn,
    };
    let time = stream.lag_ms.map(|ms| duration(float(ms)));
    let size = stream.lag_bytes.map(bytes);
    let lag = match (time, size) {
        (None, None) => screen.paint(Tone::Warn, "lag unknown"),
        (Some(time), Some(size)) => format!("lag {time}, {size}"),
        (Some(time), None) => format!("lag {time}"),
        (None, Some(size)) => format!("lag {size}, time unknown"),
    };
    let state = screen.paint(tone, &format!("{:<10}", stream.state));
    let kind = printable(&stream.kind);
    let kept = kept(screen, stream.wal.as_ref());
    format!("{kind:<10}{state}{lag} · {kept} · {}", tables(stream))
}

/// What the database that is read keeps for the stream, of how much, and until when that lasts.
fn kept(screen: &Screen, wal: Option<&WalStatus>) -> String {
    let Some((wal, kept)) = wal.and_then(|wal| Some((wal, wal.retained_bytes?))) else {
        return screen.paint(Tone::Warn, "WAL kept unknown");
    };
    let limit = wal.limit_bytes.map_or_else(String::new, |limit| format!(" of {}", bytes(limit)));
    let eta = wal.eta_s.map_or_else(String::new, |eta| format!(", full in {}", seconds(eta)));
    let (tone, sign) = match wal.level.as_str() {
        "ok" => (Tone::Plain, ""),
        "alarm" | "exhausted" | "lost" => (Tone::Bad, "! "),
        _ => (Tone::Warn, "! "),
    };
    let oldest = wal.oldest_transaction_s.filter(|age| *age >= OLD_TRANSACTION_S);
    let oldest = oldest.map_or_else(String::new, |age| {
        format!(" · {}", screen.paint(Tone::Warn, &format!("oldest transaction {}", seconds(age))))
    });
    format!(
        "{}{oldest}",
        screen.paint(tone, &format!("{sign}{}{limit} WAL kept{eta}", bytes(kept)))
    )
}

fn tables(stream: &StreamStatus) -> String {
    let ready = stream.tables.iter().filter(|table| table.state == "ready").count();
    let mut text = format!("{ready} of {} tables ready", stream.tables.len());
    if let Some(copy) = &stream.copy {
        text += &format!(", {}", copied(copy));
    }
    if stream.indexes_left > 0 {
        text += &format!(", {} indexes to build", stream.indexes_left);
    }
    text
}

/// `12 000 of about 40 000 rows copied, 31 MB/s, 4 min left`; what is unknown is not said.
fn copied(copy: &CopyStatus) -> String {
    let mut text = count(copy.rows);
    if let Some(expected) = copy.rows_expected {
        text += &format!(" of about {}", count(expected));
    }
    text += " rows copied";
    if let Some(rate) = copy.bytes_per_second {
        text += &format!(", {}/s", bytes(rate));
    }
    if let Some(left) = copy.eta_ms {
        text += &format!(", {} left", duration(float(left)));
    }
    text
}

/// What is wrong with a stream, one thing a line.
fn troubles(stream: &StreamStatus) -> Vec<String> {
    let mut troubles = Vec::new();
    if !stream.reason.is_empty() {
        troubles.push(stream.reason.clone());
    }
    if stream.breaches > 0 {
        let breaches = count(stream.breaches);
        troubles.push(format!("{breaches} writes by the side that does not own them"));
    }
    for table in &stream.tables {
        if matches!(table.state.as_str(), "quarantined" | "changed") {
            let reason = or_nothing(&table.reason);
            troubles.push(format!("{} is {}: {reason}", table.source, table.state));
        }
    }
    troubles
}

fn transfer(screen: &mut Screen, last: &Transfer, now: u64) {
    let tone = match last.outcome.as_str() {
        "done" => Tone::Good,
        "running" => Tone::Strong,
        _ => Tone::Warn,
    };
    let outcome = screen.paint(tone, &last.outcome);
    let (when, actor) = (ago(last.started_unix_ms, now), printable(&last.actor));
    let total = duration(float(last.total_ms));
    let held = duration(float(last.hold_ms));
    let line =
        format!("{} {outcome} · {when} by {actor} · {total} in all, writes held {held}", last.id);
    screen.figure(last.direction.as_str(), &line);
    if !last.reason.is_empty() {
        let reason = screen.paint(Tone::Warn, &format!("! {}", last.reason));
        screen.figure("", &reason);
    }
    let steps: Vec<_> = last
        .steps
        .iter()
        .map(|step| format!("{} {}", printable(&step.step), duration(step.ms)))
        .collect();
    for line in steps.chunks(5) {
        let line = screen.paint(Tone::Soft, &line.join(" · "));
        screen.figure("", &line);
    }
}

fn advise(screen: &mut Screen, advice: &Advice) {
    let (sign, tone) = if advice.warning { ("!", Tone::Warn) } else { ("→", Tone::Good) };
    let text = screen.paint(tone, &format!("{sign} {}", advice.text));
    screen.line(&format!("  {text}"));
    if let Some(command) = &advice.command {
        let command = screen.paint(Tone::Strong, command);
        screen.line(&format!("      {command}"));
    }
}

/// The verdict on the reads that were moved, and what follows from it.
fn steps(screen: &Screen, steps: &StepsStatus) -> String {
    let tone = match steps.verdict.as_str() {
        "good" => Tone::Good,
        "bad" => Tone::Bad,
        _ => Tone::Soft,
    };
    let mut parts = vec![screen.paint(tone, &printable(&steps.verdict))];
    for part in [&steps.reason, &steps.next] {
        let part = printable(part);
        if !part.is_empty() && parts.last() != Some(&part) {
            parts.push(part);
        }
    }
    if steps.step_backs > 0 {
        parts.push(screen.paint(Tone::Warn, &format!("! taken back {} times", steps.step_backs)));
    }
    parts.join(" · ")
}

fn proxies(screen: &mut Screen, status: &Status) {
    if status.proxies.is_empty() {
        let none = screen.paint(Tone::Soft, "no proxy has reported yet");
        screen.line(&none);
    }
    for one in &status.proxies {
        let line = proxy(screen, one, status.generation);
        screen.line(&line);
    }
}

fn proxy(screen: &Screen, one: &ProxyStatus, generation: u64) -> String {
    let mut notes = Vec::new();
    if one.generation < generation {
        notes.push(screen.paint(Tone::Warn, "! behind"));
    }
    if one.other_config {
        notes.push(screen.paint(Tone::Warn, "! reads another routes.toml"));
    }
    if let Some(after) = one.acknowledged_after_ms {
        notes.push(screen.paint(Tone::Soft, &format!("in force after {}", duration(float(after)))));
    }
    let silent = duration(float(one.silent_ms));
    let state = if one.connected {
        screen.paint(Tone::Good, "connected")
    } else if one.cut_off {
        screen.paint(Tone::Bad, &format!("! cut off for {silent}, may serve its last state"))
    } else {
        screen.paint(Tone::Bad, &format!("! away for {silent}"))
    };
    let id = printable(&one.id);
    let (known, notes) = (one.generation, notes.join("  "));
    let place = [one.addresses.join(","), one.host.clone(), one.version.clone()];
    let place: Vec<String> =
        place.iter().filter(|part| !part.is_empty()).map(|part| printable(part)).collect();
    let place = place.join(" ");
    let place = if place.is_empty() { place } else { format!("  {place}") };
    format!("proxy {id}{place}  {state} · generation {known}  {notes}").trim_end().to_owned()
}

fn or_nothing(text: &str) -> &str {
    if text.is_empty() { "no reason given" } else { text }
}

#[cfg(test)]
mod tests;
