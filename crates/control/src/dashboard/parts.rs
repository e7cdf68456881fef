//! The pieces of the page.

use cutover::{Phase, Side};
use maud::{Markup, html};

use crate::api::{
    CapabilityStatus, JournalEntry, ProxyStatus, Status, StreamStatus, Transfer, VerificationStatus,
};

const STEPS: [&str; 6] =
    ["monolith", "replicating", "shadowing", "reading", "switched", "completed"];

pub(super) fn heading(status: &Status) -> Markup {
    html! {
        header {
            h1 { "Ficus" }
            span.soft {
                @if status.leader { "leads" } @else { "stands by" }
                " · generation " (status.generation)
            }
            @if !status.replicator.connected {
                span.bad { "replicator: " (status.replicator.error) }
            }
        }
    }
}

pub(super) fn capability(status: &CapabilityStatus, now: u64) -> Markup {
    html! {
        section {
            h2 { (status.name) " " span.soft { "→ " (status.upstream) } }
            (path(status.phase))
            @if !status.advice.is_empty() {
                ul.advice {
                    @for advice in &status.advice {
                        li.warning[advice.warning] {
                            (advice.text)
                            @if let Some(command) = &advice.command { " · " code { (command) } }
                        }
                    }
                }
            }
            (share(status))
            (figures(status, now))
            (streams(&status.streams))
            @if let Some(last) = &status.transfer { (transfer(last, now)) }
        }
    }
}

fn path(phase: Phase) -> Markup {
    let current = STEPS.iter().position(|step| *step == phase.as_str()).unwrap_or(0);
    html! {
        ol.path aria-label="phase" {
            @for (index, step) in STEPS.iter().enumerate() {
                li.past[index < current].now[index == current]
                    aria-current=[(index == current).then_some("step")] {
                    @if index == current { (phase) } @else { (step) }
                }
            }
        }
    }
}

fn share(status: &CapabilityStatus) -> Markup {
    html! {
        div.soft { "reads answered by the service: " (status.read_percent) " %" }
        progress max="100" value=(status.read_percent) { (status.read_percent) " %" }
    }
}

fn figures(status: &CapabilityStatus, now: u64) -> Markup {
    let owner = match status.owner {
        Side::Source => "monolith",
        Side::Target => status.upstream.as_str(),
    };
    let traffic = &status.traffic;
    html! {
        dl {
            div { dt { "writes belong to" } dd { (owner) " (epoch " (status.epoch) ")" } }
            div { dt { "verified" } dd { (verified(status.verification.as_ref(), now)) } }
            div { dt { "held / in flight" } dd { (traffic.held) " / " (traffic.inflight_writes) } }
            div { dt { "requests monolith / service" }
                dd { (traffic.requests_source) " / " (traffic.requests_target) } }
            div { dt { "errors monolith / service" }
                dd { (traffic.errors_source) " / " (traffic.errors_target) } }
            div { dt { "p99 monolith / service" }
                dd { (format!("{:.0} / {:.0} ms", traffic.p99_source_ms, traffic.p99_target_ms)) } }
            div { dt { "shadow reads different" }
                dd { (traffic.shadow_mismatched) " of " (traffic.shadow_compared) } }
        }
    }
}

fn verified(last: Option<&VerificationStatus>, now: u64) -> Markup {
    let Some(last) = last else { return html! { span.soft { "never" } } };
    html! {
        @if last.differences == 0 { span.good { (last.rows) " rows equal" } }
        @else { span.bad { (last.differences) " of " (last.rows) " differ" } }
        " " span.soft { (ago(last.finished_unix_ms, now)) ", " (last.dirty_keys) " touched since" }
    }
}

fn streams(streams: &[StreamStatus]) -> Markup {
    html! {
        @if !streams.is_empty() {
            h3 { "streams" }
            table {
                tr { th { "stream" } th { "state" } th.n { "lag" } th.n { "rows applied" } th { "tables" } }
                @for stream in streams {
                    tr {
                        td { (stream.kind) }
                        td { (stream.state) @if !stream.reason.is_empty() { " " span.bad { (stream.reason) } } }
                        td.n { @match stream.lag_ms { Some(ms) => { (ms) " ms" } None => { "unknown" } } }
                        td.n { (stream.rows_applied) }
                        td { (tables(stream)) }
                    }
                }
            }
        }
    }
}

fn tables(stream: &StreamStatus) -> String {
    let ready = stream.tables.iter().filter(|table| table.state == "ready").count();
    format!("{ready} of {} ready", stream.tables.len())
}

fn transfer(last: &Transfer, now: u64) -> Markup {
    html! {
        h3 {
            (last.direction.as_str()) " " (last.id) ": " (last.outcome) " · " (last.actor) " · "
            (ago(last.started_unix_ms, now))
        }
        @if !last.reason.is_empty() { p.bad { (last.reason) } }
        p.soft { "held " (last.hold_ms) " ms, in all " (last.total_ms) " ms" }
        table {
            tr { th { "step" } th.n { "ms" } th { "detail" } }
            @for step in &last.steps {
                tr { td { (step.step) } td.n { (format!("{:.1}", step.ms)) } td { (step.detail) } }
            }
        }
    }
}

pub(super) fn proxies(proxies: &[ProxyStatus]) -> Markup {
    html! {
        section {
            h2 { "Proxies" }
            @if proxies.is_empty() { p.soft { "none has reported" } }
            @else {
                table {
                    tr { th { "id" } th { "state" } th.n { "generation" } th.n { "last report" } }
                    @for proxy in proxies {
                        tr {
                            td { code { (proxy.id) } }
                            td {
                                @if proxy.connected { span.good { "connected" } } @else { span.bad { "away" } }
                                @if proxy.other_config { " " span.bad { "other routes.toml" } }
                            }
                            td.n { (proxy.generation) }
                            td.n { (proxy.silent_ms) " ms ago" }
                        }
                    }
                }
            }
        }
    }
}

pub(super) fn journal(entries: &[JournalEntry], now: u64) -> Markup {
    html! {
        section {
            h2 { "Journal" }
            table {
                tr { th { "when" } th { "capability" } th { "who" } th { "what" } th { "detail" } }
                @for entry in entries {
                    tr {
                        td.soft { (ago(entry.at_unix_ms, now)) }
                        td { (entry.capability) }
                        td { (entry.actor) }
                        td { (entry.what) }
                        td { (entry.detail) }
                    }
                }
            }
        }
    }
}

/// `12 s ago`, `3 min ago`, `5 h ago`, `2 d ago`
pub(super) fn ago(at: u64, now: u64) -> String {
    let seconds = now.saturating_sub(at) / 1000;
    match seconds {
        0..=119 => format!("{seconds} s ago"),
        120..=7199 => format!("{} min ago", seconds / 60),
        7200..=172_799 => format!("{} h ago", seconds / 3600),
        _days => format!("{} d ago", seconds / 86_400),
    }
}
