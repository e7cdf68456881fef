//! One capability: how far it is, what to do next, who writes, and how both sides do.

use cutover::{GuardRow, GuardState, Phase, Side};
use maud::{Markup, html};

use super::{
    streams, transfer,
    words::{Tone, count, moment, ms, pill, share, unknown},
};
use crate::api::{Advice, CapabilityStatus, Status, Traffic, VerificationStatus};

/// The phases in order, with what each means.
const PHASES: [(&str, &str); 6] = [
    ("monolith", "nothing moved"),
    ("replicating", "tables copied"),
    ("shadowing", "answers compared"),
    ("reading", "some reads moved"),
    ("switched", "writes moved"),
    ("completed", "no way back"),
];

/// Everything about one capability.
pub(super) fn card(one: &CapabilityStatus, status: &Status, now: u64) -> Markup {
    let heading = format!("name-{}", one.name);
    html! {
        section.card id={ "capability-" (one.name) } aria-labelledby=(heading) {
            div.title {
                h2 id=(heading) { (one.name) }
                span.to { span aria-hidden="true" { "→ " } span.sr { "moves to " } (one.upstream) }
                @if one.paused { (pill(Tone::Warn, "paused")) }
                (owner(one))
            }
            (path(one.phase))
            (steps(one))
            (advice(&one.advice))
            (reads(one))
            (sides(one, status))
            (figures(one, status, now))
            (streams::list(one))
            @if let Some(last) = &one.transfer { (transfer::timeline(last, now)) }
        }
    }
}

fn owner(one: &CapabilityStatus) -> Markup {
    let (class, who) = match one.owner {
        Side::Source => ("owner source", "monolith"),
        Side::Target => ("owner target", one.upstream.as_str()),
    };
    html! { p class=(class) { "writes: " strong { (who) } " · epoch " (one.epoch) } }
}

/// How reads move by themselves, while they do or were taken back.
fn steps(one: &CapabilityStatus) -> Markup {
    let steps = &one.steps;
    let tone = match steps.verdict.as_str() {
        "good" => Tone::Good,
        "bad" => Tone::Bad,
        _ => Tone::Idle,
    };
    html! {
        @if !steps.verdict.is_empty() {
            p {
                "reads: " (pill(tone, &steps.verdict)) " " (steps.reason)
                @if steps.next != steps.reason { span.soft { " · " (steps.next) } }
                @if steps.step_backs > 0 { span.soft { " · taken back " (steps.step_backs) " times" } }
                " · " a href={ "/mismatches?capability=" (one.name) } { "mismatches" }
            }
        }
    }
}

fn path(phase: Phase) -> Markup {
    let current = PHASES.iter().position(|(name, _)| *name == phase.as_str()).unwrap_or(0);
    html! {
        ol.path aria-label="Phases of the move" {
            @for (index, (name, meaning)) in PHASES.iter().enumerate() {
                @let (class, sign, state) = match index.cmp(&current) {
                    std::cmp::Ordering::Less => ("past", "✓", "done"),
                    std::cmp::Ordering::Equal => ("here", "●", "now"),
                    std::cmp::Ordering::Greater => ("ahead", "", "ahead"),
                };
                li class=(class) aria-current=[(index == current).then_some("step")] {
                    span.dot aria-hidden="true" { (sign) }
                    span.phase {
                        @if index == current { (phase) } @else { (name) }
                        span.sr { " (" (state) ")" }
                        small { (meaning) }
                    }
                }
            }
        }
    }
}

fn advice(all: &[Advice]) -> Markup {
    html! {
        @if !all.is_empty() {
            ul.advice aria-label="What to know and to do" {
                @for one in all {
                    li.warning[one.warning] {
                        span.sign aria-hidden="true" { @if one.warning { "!" } @else { "→" } }
                        div {
                            p { @if one.warning { span.sr { "Warning: " } } (one.text) }
                            @if let Some(command) = &one.command {
                                p.command {
                                    code { (command) }
                                    button type="button" data-copy=(command)
                                        aria-label={ "Copy the command " (command) } hidden { "copy" }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn reads(one: &CapabilityStatus) -> Markup {
    let (service, monolith) = (one.read_percent.min(100), 100 - one.read_percent.min(100));
    html! {
        h3 { "Reads" }
        div.reads {
            svg.bar viewBox="0 0 100 4" preserveAspectRatio="none" role="img"
                aria-label={ "monolith " (monolith) " percent, " (one.upstream) " " (service) " percent" } {
                rect.source width="100" height="4" {}
                rect.target x=(monolith) width=(service) height="4" {}
            }
            p {
                span.source { "monolith " strong { (monolith) " %" } }
                span.target { (one.upstream) " " strong { (service) " %" } }
            }
        }
    }
}

/// Both sides next to each other.
fn sides(one: &CapabilityStatus, status: &Status) -> Markup {
    let traffic = reported(one, status);
    let requests = |side| traffic.map(|traffic| of(traffic, side).0);
    let errors = |side| traffic.map(|traffic| of(traffic, side));
    let p99 = |side| traffic.map(|traffic| of(traffic, side));
    html! {
        table.sides {
            caption.sr { "Monolith and service side by side" }
            thead {
                tr {
                    td {}
                    th scope="col" { span.key.source aria-hidden="true" {} "monolith" }
                    th scope="col" { span.key.target aria-hidden="true" {} (one.upstream) }
                }
            }
            tbody {
                tr {
                    th scope="row" { "guard" }
                    @for row in [one.source_guard, one.target_guard] { td { (guard(row)) } }
                }
                tr {
                    th scope="row" { "answered" }
                    @for side in [Side::Source, Side::Target] {
                        td { @match requests(side) { Some(n) => (count(n)), None => (unknown()) } }
                    }
                }
                tr {
                    th scope="row" { "errors" }
                    @for side in [Side::Source, Side::Target] {
                        td { @match errors(side) {
                            Some((requests, failed, _)) => (error_share(failed, requests)),
                            None => (unknown()),
                        } }
                    }
                }
                tr {
                    th scope="row" { "reads p99" }
                    @for side in [Side::Source, Side::Target] {
                        td { @match p99(side) {
                            Some((_, _, p99)) if p99 > 0.0 => (ms(p99)),
                            Some(_) => { span.soft { "no reads" } },
                            None => (unknown()),
                        } }
                    }
                }
            }
        }
    }
}

/// Requests, errors and p99 of one side.
const fn of(traffic: &Traffic, side: Side) -> (u64, u64, f64) {
    match side {
        Side::Source => (traffic.requests_source, traffic.errors_source, traffic.p99_source_ms),
        Side::Target => (traffic.requests_target, traffic.errors_target, traffic.p99_target_ms),
    }
}

/// Without a connected proxy the zeros of the sum say nothing.
fn reported<'a>(one: &'a CapabilityStatus, status: &Status) -> Option<&'a Traffic> {
    status.proxies.iter().any(|proxy| proxy.connected).then_some(&one.traffic)
}

fn guard(row: Option<GuardRow>) -> Markup {
    let Some(row) = row else { return unknown() };
    let (tone, word) = match (row.state, row.overdue) {
        (GuardState::Open, _) => (Tone::Good, "open"),
        (GuardState::Fenced, false) => (Tone::Busy, "fenced"),
        (GuardState::Fenced, true) => (Tone::Bad, "fenced, overdue"),
        (GuardState::Moved, _) => (Tone::Idle, "closed"),
    };
    html! {
        (pill(tone, word)) " "
        span.soft {
            "epoch " (row.epoch)
            @if row.prepared != cutover::Epoch::NONE { ", prepared for " (row.prepared) }
        }
    }
}

fn error_share(failed: u64, requests: u64) -> Markup {
    html! {
        @if failed == 0 { "0" } @else {
            (count(failed))
            @if let Some(share) = share(failed, requests) { " " span.soft { "(" (share) ")" } }
        }
    }
}

fn figures(one: &CapabilityStatus, status: &Status, now: u64) -> Markup {
    html! {
        dl.figures.facts {
            div { dt { "Writes held" } dd { (now_and(one, status, |traffic| traffic.held)) } }
            div { dt { "Writes in flight" } dd { (now_and(one, status, |traffic| traffic.inflight_writes)) } }
            div.wide {
                dt { "Shadow reads" }
                dd { @match reported(one, status) { Some(traffic) => (shadow(traffic)), None => (unknown()) } }
            }
            div.wide { dt { "Verification" } dd { (verified(one.verification.as_ref(), now)) } }
        }
    }
}

fn now_and(one: &CapabilityStatus, status: &Status, figure: fn(&Traffic) -> u64) -> Markup {
    reported(one, status).map_or_else(unknown, |traffic| html! { (count(figure(traffic))) })
}

fn shadow(traffic: &Traffic) -> Markup {
    let (compared, different) = (traffic.shadow_compared, traffic.shadow_mismatched);
    html! {
        @if compared == 0 { span.soft { "none compared" } }
        @else if different == 0 { (pill(Tone::Good, "all equal")) " " span.soft { "of " (count(compared)) } }
        @else {
            (pill(Tone::Bad, &format!("{} different", count(different)))) " "
            span.soft { "of " (count(compared)) @if let Some(share) = share(different, compared) { ", " (share) } }
        }
        @if traffic.shadow_skipped > 0 { span.soft { " · " (count(traffic.shadow_skipped)) " left out" } }
    }
}

fn verified(last: Option<&VerificationStatus>, now: u64) -> Markup {
    let Some(last) = last else { return html! { (pill(Tone::Idle, "never")) } };
    html! {
        @if last.differences == 0 { (pill(Tone::Good, "equal")) } @else {
            (pill(Tone::Bad, &format!("{} differ", count(last.differences))))
        }
        " " span.soft {
            (count(last.rows)) " rows, " (moment(last.finished_unix_ms, now)) " · "
            @if last.dirty_overflow { "not all compared since the replicator started" }
            @else {
                (count(last.dirty_keys)) " touched since"
                @if last.dirty_ranges > 0 { ", and " (count(last.dirty_ranges)) " ranges" }
            }
            @if let Some(run) = &last.running {
                " · comparing now (" (run.by) "): " (count(run.rows)) " of " (count(run.rows_total))
            }
        }
        @if !last.samples.is_empty() {
            p.samples { @for key in &last.samples { code { (key) } " " } }
        }
    }
}
