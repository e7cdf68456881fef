//! The streams of a capability: state, lag, what the source keeps for them, and each table.

use maud::{Markup, html};

use super::words::{Tone, bytes, count, float, ms, pill, seconds, several, unknown};
use crate::api::{CapabilityStatus, CopyStatus, StreamStatus, TableStatus, WalStatus};

/// Older transactions are shown, seconds.
const OLD_TRANSACTION_S: u64 = 60;

/// All streams, or that there is none.
pub(super) fn list(one: &CapabilityStatus) -> Markup {
    html! {
        h3 { "Streams" }
        @if one.streams.is_empty() { p.soft { "none: " code { "ficus start " (one.name) } " creates them" } }
        ul.streams {
            @for stream in &one.streams { (item(one, stream)) }
        }
    }
}

fn item(one: &CapabilityStatus, stream: &StreamStatus) -> Markup {
    let (from, to) = if stream.kind == "reverse" {
        (one.upstream.as_str(), "monolith")
    } else {
        ("monolith", one.upstream.as_str())
    };
    html! {
        li {
            div.head {
                strong { (stream.kind) }
                span.soft { (from) span aria-hidden="true" { " → " } span.sr { " to " } (to) }
                (state(&stream.state))
            }
            @if !stream.reason.is_empty() { p.reason { (stream.reason) } }
            (copying(stream))
            dl.figures {
                div { dt { "Lag" } dd { (lag(stream)) } }
                div { dt { "WAL kept" } dd { (kept(stream.wal.as_ref())) } }
                div { dt { "Rows applied" } dd { (count(stream.rows_applied)) } }
                div { dt { "Transactions" } dd { (count(stream.transactions_applied)) } }
            }
            (pressure(stream))
            (troubles(stream))
            (tables(one, stream))
        }
    }
}

fn state(state: &str) -> Markup {
    let tone = match state {
        "streaming" => Tone::Good,
        "starting" | "copying" => Tone::Busy,
        "stopped" => Tone::Idle,
        "failed" => Tone::Bad,
        _ => Tone::Warn,
    };
    pill(tone, state)
}

/// Time and bytes, each of which may be unknown by itself. A stopped stream is behind on purpose.
fn lag(stream: &StreamStatus) -> Markup {
    html! {
        @match (stream.lag_ms, stream.lag_bytes) {
            (None, None) => (unknown()),
            (time, size) => {
                @match time { Some(time) => (ms(float(time))), None => (unknown()) }
                span.soft { " · " @match size { Some(size) => (bytes(size)), None => (unknown()) } }
            }
        }
    }
}

/// Of how much, and until when it lasts.
fn kept(wal: Option<&WalStatus>) -> Markup {
    let Some((wal, kept)) = wal.and_then(|wal| Some((wal, wal.retained_bytes?))) else {
        return unknown();
    };
    html! {
        (bytes(kept))
        @if let Some(limit) = wal.limit_bytes { span.soft { " of " (bytes(limit)) } }
        @if let Some(eta) = wal.eta_s { span.soft { " · full in " (seconds(eta)) } }
    }
}

/// What fills the disk of the database that is read.
fn pressure(stream: &StreamStatus) -> Markup {
    let wal = stream.wal.as_ref();
    let level = wal.map_or("", |wal| wal.level.as_str());
    let old = wal.and_then(|wal| wal.oldest_transaction_s).filter(|age| *age >= OLD_TRANSACTION_S);
    let tone = match level {
        "warning" => Some(Tone::Warn),
        "alarm" | "exhausted" | "lost" => Some(Tone::Bad),
        _ => None,
    };
    html! {
        @if tone.is_some() || old.is_some() {
            p.troubles {
                @if let Some(tone) = tone { (pill(tone, &format!("WAL budget: {level}"))) " " }
                @if let Some(age) = old {
                    (pill(Tone::Warn, "old transaction")) " " span.soft { "runs for " (seconds(age)) ", holds the log back" }
                }
            }
        }
    }
}

fn copying(stream: &StreamStatus) -> Markup {
    html! {
        @if let Some(copy) = &stream.copy {
            p.copying {
                @if let Some(expected) = copy.rows_expected {
                    progress max=(expected.max(1)) value=(copy.rows)
                        aria-label={ "rows copied by the " (stream.kind) " stream" } {}
                }
                span { (rows(copy)) }
                @if let Some(rate) = copy.bytes_per_second { span.soft { (bytes(rate)) "/s" } }
                @if let Some(left) = copy.eta_ms { span.soft { (ms(float(left))) " left" } }
            }
        }
        @if stream.indexes_left > 0 {
            p.copying {
                (several(stream.indexes_left.into(), "index is built", "indexes are built")) " after the rows"
            }
        }
    }
}

fn rows(copy: &CopyStatus) -> Markup {
    html! {
        (count(copy.rows))
        @if let Some(expected) = copy.rows_expected { " of about " (count(expected)) }
        " rows"
    }
}

fn troubles(stream: &StreamStatus) -> Markup {
    html! {
        @if stream.conflicts > 0 || stream.breaches > 0 {
            p.troubles {
                @if stream.conflicts > 0 {
                    (pill(Tone::Bad, &several(stream.conflicts, "row did not match", "rows did not match"))) " "
                }
                @if stream.breaches > 0 {
                    (pill(Tone::Bad, &several(
                        stream.breaches,
                        "write by the side that does not own it",
                        "writes by the side that does not own them",
                    )))
                }
            }
        }
    }
}

fn tables(one: &CapabilityStatus, stream: &StreamStatus) -> Markup {
    let ready = stream.tables.iter().filter(|table| table.state == "ready").count();
    let has_trouble =
        stream.tables.iter().any(|table| matches!(table.state.as_str(), "quarantined" | "changed"));
    html! {
        @if !stream.tables.is_empty() {
            details id={ "tables-" (one.name) "-" (stream.kind) } open[has_trouble] {
                summary { (ready) " of " (stream.tables.len()) " tables ready" }
                ul.tables { @for table in &stream.tables { (table_line(table)) } }
            }
        }
    }
}

fn table_line(table: &TableStatus) -> Markup {
    let tone = match table.state.as_str() {
        "ready" => Tone::Good,
        "copying" | "indexing" | "resyncing" | "replaying" => Tone::Busy,
        "quarantined" | "changed" => Tone::Bad,
        _ => Tone::Idle,
    };
    html! {
        li {
            code { (table.source) } span aria-hidden="true" { " → " } span.sr { " to " }
            code { (table.target) } " " (pill(tone, &table.state))
            @if table.state != "ready" {
                " " span.soft {
                    @match &table.copy {
                        Some(copy) => (rows(copy)),
                        None => { (count(table.rows_copied)) " of about " (count(table.rows_estimated)) " rows" }
                    }
                }
            }
            @if table.parked_rows > 0 {
                " " span.soft { (count(table.parked_rows)) " changes parked, " (bytes(table.parked_bytes)) }
            }
            @if !table.reason.is_empty() { p.reason { (table.reason) } }
        }
    }
}
