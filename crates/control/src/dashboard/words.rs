//! Figures and states in words; what is unknown stays unknown.

use chrono::{DateTime, SecondsFormat};
use maud::{Markup, html};

/// How a state is meant; shown by colour, sign and word alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Busy,
    Idle,
    Warn,
    Bad,
}

impl Tone {
    const fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Busy => "busy",
            Self::Idle => "idle",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }

    const fn sign(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Busy => "…",
            Self::Idle => "–",
            Self::Warn => "!",
            Self::Bad => "✕",
        }
    }
}

/// A word with its sign, in its colour.
pub(super) fn pill(tone: Tone, text: &str) -> Markup {
    html! {
        span class={ "pill " (tone.class()) } {
            span.sign aria-hidden="true" { (tone.sign()) } " " (text)
        }
    }
}

/// Something nobody knows, which must not look like a number.
pub(super) fn unknown() -> Markup {
    html! { span.unknown { "unknown" } }
}

/// `12 s ago`, with the moment itself for machines and on hover.
pub(super) fn moment(at_unix_ms: u64, now_unix_ms: u64) -> Markup {
    let at = i64::try_from(at_unix_ms).ok().and_then(DateTime::from_timestamp_millis);
    let Some(at) = at else { return unknown() };
    let at = at.to_rfc3339_opts(SecondsFormat::Secs, true);
    html! { time datetime=(at) title=(at) { (ago(at_unix_ms, now_unix_ms)) } }
}

/// `now`, `12 s ago`, `3 min ago`, `5 h ago`, `2 d ago`
pub(super) fn ago(at_unix_ms: u64, now_unix_ms: u64) -> String {
    match now_unix_ms.saturating_sub(at_unix_ms) / 1000 {
        0 => "now".to_owned(),
        passed => format!("{} ago", seconds(passed)),
    }
}

/// `12 s`, `3 min`, `5 h`, `2 d`
pub(super) fn seconds(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _days => format!("{} d", seconds / 86_400),
    }
}

/// `1 234 567`, with thin spaces that do not break.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 row`, `2 rows`
pub(super) fn several(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// `512 B`, `3.4 MiB`
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] =
        [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) => {
            let tenths = bytes / (size / 10);
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} B"),
    }
}

/// `0.4 ms`, `12 ms`, `3.2 s`, `4 min`
pub(super) fn ms(ms: f64) -> String {
    if ms < 10.0 {
        format!("{ms:.1} ms")
    } else if ms < 1_000.0 {
        format!("{ms:.0} ms")
    } else if ms < 120_000.0 {
        format!("{:.1} s", ms / 1_000.0)
    } else {
        format!("{:.0} min", ms / 60_000.0)
    }
}

/// Milliseconds as a float; above 2^53 nobody reads the last digits.
pub(super) fn float(number: u64) -> f64 {
    let (high, low) = (number >> 32, number & u64::from(u32::MAX));
    let part = |bits: u64| u32::try_from(bits).map_or(0.0, f64::from);
    part(high) * 4_294_967_296.0 + part(low)
}

/// `3.1 %` of a whole; nothing when there is no whole.
pub(super) fn share(part: u64, whole: u64) -> Option<String> {
    (whole > 0).then(|| {
        let percent = 100.0 * float(part) / float(whole);
        if part > 0 && percent < 0.1 { "< 0.1 %".to_owned() } else { format!("{percent:.1} %") }
    })
}
