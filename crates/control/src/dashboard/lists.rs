//! What frames the capabilities: the heading, the proxies, the journal.

use maud::{Markup, html};

use super::words::{Tone, float, moment, ms, pill};
use crate::api::{JournalEntry, ProxyStatus, Status};

/// The heading: who speaks, as of when, and where each capability is.
pub(super) fn masthead(status: &Status) -> Markup {
    html! {
        header #masthead {
            svg.leaf viewBox="0 0 24 24" aria-hidden="true" {
                path d="M12 2C5 6 3 12 5 18c1.500 2 4 3 7 4 3-1 5.500-2 7-4 2-6 0-12-7-16z" {}
                path.vein d="M12 22V6m0 12 5-5m-5 5-5-5m5 0 4-4m-4 4-4-4" {}
            }
            h1 { "Ficus" }
            p {
                @if status.leader { (pill(Tone::Good, "leads")) } @else { (pill(Tone::Idle, "stands by")) }
                span.soft { " generation " (status.generation) }
            }
            @if !status.replicator.connected {
                p.reason {
                    strong { "The replicator does not answer" }
                    @if !status.replicator.error.is_empty() { ": " (status.replicator.error) }
                    ". Lags and streams are as last heard."
                }
            }
            @if status.capabilities.len() > 1 {
                nav aria-label="Capabilities" {
                    @for one in &status.capabilities {
                        a href={ "#capability-" (one.name) } { (one.name) " " small { (one.phase) } }
                    }
                }
            }
        }
    }
}

/// All proxies that were seen.
pub(super) fn proxies(status: &Status) -> Markup {
    html! {
        section #proxies .card aria-labelledby="proxies-name" {
            h2 #proxies-name { "Proxies" }
            @if status.proxies.is_empty() { p.soft { "none has reported yet" } } @else {
                table.rows {
                    thead {
                        tr {
                            th scope="col" { "proxy" } th scope="col" { "state" }
                            th scope="col" { "address" } th scope="col" { "version" }
                            th scope="col" { "generation" } th scope="col" { "last report" }
                        }
                    }
                    tbody { @for one in &status.proxies { (proxy(one, status.generation)) } }
                }
            }
        }
    }
}

fn proxy(one: &ProxyStatus, generation: u64) -> Markup {
    html! {
        tr {
            th scope="row" { code { (one.id) } }
            td data-name="state" {
                @if one.connected { (pill(Tone::Good, "connected")) } @else if one.cut_off { (pill(Tone::Bad, "cut off")) } @else { (pill(Tone::Bad, "away")) }
                @if one.other_config { " " (pill(Tone::Warn, "other routes.toml")) }
            }
            td data-name="address" {
                (one.addresses.join(", "))
                @if !one.host.is_empty() { " " span.soft { (one.host) } }
            }
            td data-name="version" { (one.version) }
            td data-name="generation" {
                (one.generation)
                @if one.generation < generation { " " (pill(Tone::Warn, "behind")) }
                @if let Some(after) = one.acknowledged_after_ms { " " span.soft { "after " (ms(float(after))) } }
            }
            td data-name="last report" { (ms(float(one.silent_ms))) " ago" }
        }
    }
}

/// The newest entries.
pub(super) fn journal(entries: &[JournalEntry], has_older: bool, now: u64) -> Markup {
    html! {
        section #journal .card aria-labelledby="journal-name" {
            h2 #journal-name { "Journal" }
            @if entries.is_empty() { p.soft { "nothing was done yet" } } @else {
                table.rows {
                    thead {
                        tr {
                            th scope="col" { "when" } th scope="col" { "capability" }
                            th scope="col" { "what" } th scope="col" { "who" }
                        }
                    }
                    tbody { @for entry in entries { (entry_line(entry, now)) } }
                }
                @if has_older { p.soft { "The newest " (entries.len()) "; older ones: " code { "GET /api/v1/journal" } } }
            }
        }
    }
}

fn entry_line(entry: &JournalEntry, now: u64) -> Markup {
    html! {
        tr {
            td data-name="when" { (moment(entry.at_unix_ms, now)) }
            td data-name="capability" {
                (entry.capability)
                @if let Some(id) = entry.transfer { " " span.soft { "transfer " (id) } }
            }
            td data-name="what" {
                strong { (entry.what) }
                @if !entry.detail.is_empty() { " " span.soft { (entry.detail) } }
            }
            td data-name="who" { (entry.actor) }
        }
    }
}
