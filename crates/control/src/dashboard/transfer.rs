//! A transfer as a timeline: when each step ran, how long it took, and while what writes were held.

use maud::{Markup, html};

use super::words::{Tone, float, moment, ms, pill};
use crate::api::{Step, Transfer};

/// Narrowest bar that can be seen, in hundredths of the whole.
const BAR_MIN: f64 = 0.8;

/// Where a step's bar begins and how wide it is, of 100.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bar {
    x: f64,
    width: f64,
    /// Writes waited at the gates meanwhile.
    held: bool,
}

/// The running or the last transfer.
pub(super) fn timeline(last: &Transfer, now: u64) -> Markup {
    let (tone, word) = match last.outcome.as_str() {
        "done" => (Tone::Good, "done"),
        "running" => (Tone::Busy, "running"),
        "aborted" => (Tone::Warn, "aborted, the old owner writes"),
        other => (Tone::Warn, other),
    };
    html! {
        h3 {
            @if last.outcome == "running" { "Running " } @else { "Last " }
            (last.direction.as_str())
        }
        div.transfer {
            p.head {
                strong { (last.direction.as_str()) " " (last.id) } " " (pill(tone, word)) " "
                span.soft { (moment(last.started_unix_ms, now)) " by " (last.actor) }
            }
            @if !last.reason.is_empty() { p.reason { (last.reason) } }
            @if last.hold_ms > 0 {
                p.held {
                    "writes were held for " strong { (ms(float(last.hold_ms))) }
                    span.soft { " of " (ms(float(last.total_ms))) " in all" }
                }
            }
            ol.steps {
                @for (step, bar) in last.steps.iter().zip(bars(&last.steps)) { (line(step, bar)) }
            }
            @if last.hold_ms > 0 {
                p.legend {
                    span.key.held aria-hidden="true" {} "writes held "
                    span.key.free aria-hidden="true" {} "not held"
                }
            }
        }
    }
}

fn line(step: &Step, bar: Bar) -> Markup {
    html! {
        li.undone[is_undoing(&step.step)] {
            span.step { (step.step) }
            svg.bar viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true" {
                rect class=(if bar.held { "held" } else { "free" })
                    x=(format!("{:.2}", bar.x)) width=(format!("{:.2}", bar.width)) height="4" {}
            }
            span.ms { (ms(step.ms)) @if bar.held { span.sr { ", writes held" } } }
            span.note {
                (meaning(&step.step))
                @if !step.detail.is_empty() { span.soft { " · " (step.detail) } }
            }
        }
    }
}

/// One after the other, on the scale of their sum.
fn bars(steps: &[Step]) -> Vec<Bar> {
    let total: f64 = steps.iter().map(|step| step.ms.max(0.0)).sum();
    let scale = if total > 0.0 { 100.0 / total } else { 0.0 };
    let (mut from, mut held) = (0.0, false);
    let mut bars = Vec::with_capacity(steps.len());
    for step in steps {
        held = held || step.step == "hold";
        let width = (step.ms.max(0.0) * scale).max(BAR_MIN);
        bars.push(Bar { x: f64::min(from * scale, 100.0 - width), width, held });
        from += step.ms.max(0.0);
        held = held && !matches!(step.step.as_str(), "publish" | "release");
    }
    bars
}

fn is_undoing(step: &str) -> bool {
    matches!(step, "expire" | "unprepare" | "release")
}

fn meaning(step: &str) -> &'static str {
    match step {
        "preflight" => "everything was looked at",
        "reverse" => "the way back stands ready",
        "hold" => "proxies hold new writes",
        "fence" => "the old owner refuses writes",
        "drain" => "the last writes were applied",
        "verify" => "touched rows were compared",
        "prepare" => "the new owner is prepared",
        "decide" => "the point of no return",
        "open" => "the new owner writes",
        "publish" => "held writes go to the new owner",
        "expire" => "undone: the old owner writes again",
        "unprepare" => "undone: the new owner stays closed",
        "release" => "undone: held writes go to the old owner",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: &str, ms: f64) -> Step {
        Step { step: step.to_owned(), ms, detail: String::new() }
    }

    #[test]
    fn bars_follow_each_other_and_tell_what_was_held() {
        let steps = [
            step("preflight", 50.0),
            step("hold", 20.0),
            step("fence", 20.0),
            step("publish", 10.0),
        ];
        let seen: Vec<_> = bars(&steps).iter().map(|bar| (bar.x, bar.width, bar.held)).collect();
        assert_eq!(
            seen,
            [(0.0, 50.0, false), (50.0, 20.0, true), (70.0, 20.0, true), (90.0, 10.0, true)]
        );
    }

    #[test]
    fn a_step_of_no_time_still_has_a_bar_within_the_picture() {
        for bar in bars(&[step("hold", 0.0), step("release", 0.0), step("other", 0.0)]) {
            assert!(bar.width > 0.0 && bar.x + bar.width <= 100.0, "{bar:?}");
        }
        assert!(!bars(&[step("hold", 1.0), step("release", 1.0), step("x", 1.0)])[2].held);
    }
}
