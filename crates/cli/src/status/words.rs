//! Figures in words.

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

/// `1 234 567`
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
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

/// Of milliseconds: `0.4 ms`, `12 ms`, `3.2 s`, `4 min`
pub(super) fn duration(ms: f64) -> String {
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

/// A whole number as a float; above 2^53 nobody reads the last digits.
pub(super) fn float(number: u64) -> f64 {
    let (high, low) = (number >> 32, number & u64::from(u32::MAX));
    let part = |bits: u64| u32::try_from(bits).map_or(0.0, f64::from);
    part(high) * 4_294_967_296.0 + part(low)
}

/// `3.1 %`
pub(super) fn share(part: u64, whole: u64) -> String {
    let percent = if whole > 0 { 100.0 * float(part) / float(whole) } else { 0.0 };
    if part > 0 && percent < 0.1 { "< 0.1 %".to_owned() } else { format!("{percent:.1} %") }
}

/// Without characters that would steer a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
