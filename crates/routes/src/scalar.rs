//! The small languages inside strings: durations, sizes, percentages, matches, pointers.

use std::time::Duration;

use ipnet::IpNet;

use crate::{CopyMode, Effect, Hygiene, LastResort, SubjectSource};

/// `10m`: digits and one unit of ms, s, m, h, d.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

/// The shortest text [`duration`] reads as this one (whole milliseconds).
pub(crate) fn duration_text(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    for (size, unit) in units {
        if millis > 0 && millis.is_multiple_of(size) {
            return format!("{}{unit}", millis / size);
        }
    }
    if millis == 0 { "0s".to_owned() } else { format!("{millis}ms") }
}

/// `8MiB`: digits and one unit of B, KiB, MiB, GiB; bytes.
pub(crate) fn size(text: &str) -> Option<usize> {
    let (number, unit) = number_and_unit(text)?;
    let bytes: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(bytes).and_then(|bytes| usize::try_from(bytes).ok())
}

/// `10.0.0.0/8`, or one address; bits beyond the prefix must be zero.
pub(crate) fn network(text: &str) -> Option<IpNet> {
    let network: IpNet =
        text.parse().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from))?;
    (network.trunc() == network).then_some(network)
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit))
}

/// `0.1%` as a share from 0 to 1.
pub(crate) fn percent(text: &str) -> Option<f64> {
    let number = text.strip_suffix('%')?;
    let plain = number.starts_with(|c: char| c.is_ascii_digit())
        && number.chars().all(|c| c.is_ascii_digit() || c == '.');
    let percent: f64 = plain.then(|| number.parse().ok())??;
    (0.0..=100.0).contains(&percent).then_some(percent / 100.0)
}

/// `^[a-z][a-z0-9_]{0,29}$`
pub(crate) fn is_name(text: &str) -> bool {
    text.len() <= 30
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// A version of an API, as requests may ask for it.
pub(crate) fn version(text: &str) -> bool {
    crate::config::versions::text(text.as_bytes()) == Some(text)
}

/// `jwt:sub`, `cookie:NAME`, `header:NAME`, `ip`
pub(crate) fn subject(text: &str) -> Option<SubjectSource> {
    if text == "ip" {
        return Some(SubjectSource::Ip);
    }
    let (source, name) = text.split_once(':')?;
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(is_token) {
        return None;
    }
    match source {
        "jwt" => Some(SubjectSource::JwtClaim(name.to_owned())),
        "cookie" => Some(SubjectSource::Cookie(name.to_owned())),
        "header" => Some(SubjectSource::Header(name.to_ascii_lowercase())),
        _ => None,
    }
}

/// The text [`subject`] reads as this source.
pub(crate) fn subject_text(source: &SubjectSource) -> String {
    match source {
        SubjectSource::JwtClaim(claim) => format!("jwt:{claim}"),
        SubjectSource::Cookie(name) => format!("cookie:{name}"),
        SubjectSource::Header(name) => format!("header:{name}"),
        SubjectSource::Ip => "ip".to_owned(),
    }
}

pub(crate) fn effect(text: &str) -> Option<Effect> {
    match text {
        "read" => Some(Effect::Read),
        "write" => Some(Effect::Write),
        _ => None,
    }
}

pub(crate) fn last_resort(text: &str) -> Option<LastResort> {
    match text {
        "drop_slot" => Some(LastResort::DropSlot),
        "keep" => Some(LastResort::Keep),
        _ => None,
    }
}

pub(crate) fn copy_mode(text: &str) -> Option<CopyMode> {
    [CopyMode::Snapshot, CopyMode::Chunks].into_iter().find(|mode| mode.as_str() == text)
}

/// `/data/*/id`, or nothing for the whole document.
pub(crate) fn is_pointer(text: &str) -> bool {
    text.is_empty() || text.starts_with('/')
}

/// `/data by /id`; `/tags` where the element is its own key; `by /id` where the document is the array.
pub(crate) fn unordered(text: &str) -> Option<(String, String)> {
    let (array, key) = match text.strip_prefix("by ") {
        Some(key) => ("", key),
        None => text.split_once(" by ").unwrap_or((text, "")),
    };
    let (array, key) = (array.trim(), key.trim());
    let known = !text.is_empty() && is_pointer(array) && is_pointer(key);
    known.then(|| (array.to_owned(), key.to_owned()))
}

/// `/health`: a path a request line can carry.
pub(crate) fn is_url_path(text: &str) -> bool {
    text.starts_with('/') && text.chars().all(|c| c.is_ascii_graphic() && c != '#')
}

/// `https://id.example/jwks.json`
pub(crate) fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
            && rest.chars().all(|c| c.is_ascii_graphic() && c != '#')
    })
}

pub(crate) fn hygiene(text: &str) -> Option<Hygiene> {
    [Hygiene::Block, Hygiene::Detect, Hygiene::Off].into_iter().find(|mode| mode.as_str() == text)
}

/// Whether a policy may touch this field, and the value is one (RFC 9110, 5.5).
pub(crate) fn header_field(name: &str, value: &str) -> Result<(), &'static str> {
    const FRAMING: [&str; 8] = [
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(is_token) {
        return Err("is not the name of a header field");
    }
    let lower = name.to_ascii_lowercase();
    if FRAMING.contains(&lower.as_str()) || lower.starts_with("ficus-") {
        return Err("is a header field that the proxy itself answers for");
    }
    if !value.chars().all(|c| c == '\t' || c == ' ' || c.is_ascii_graphic()) {
        return Err("has a value with line breaks or letters beyond ASCII");
    }
    Ok(())
}

/// Method and path of a route, or why it is none.
pub(crate) fn route_match(text: &str) -> Result<(String, String), &'static str> {
    let (method, path) = text.split_once(' ').ok_or("has no space between method and path")?;
    let is_method = method == "*"
        || (!method.is_empty() && method.chars().all(|c| c.is_ascii_uppercase() || c == '-'));
    if !is_method {
        return Err("has a method that is neither * nor upper case");
    }
    if !path.starts_with('/') {
        return Err("has a path that does not start with /");
    }
    if !path.chars().all(|c| c.is_ascii_graphic() && c != '?' && c != '#') {
        return Err("has a path with spaces, a query, a fragment or letters beyond ASCII");
    }
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let last = segments.len().saturating_sub(1);
    for (position, segment) in segments.iter().enumerate() {
        check_segment(segment, position == last)?;
    }
    Ok((method.to_owned(), path.to_owned()))
}

fn check_segment(segment: &str, is_last: bool) -> Result<(), &'static str> {
    if matches!(segment, "." | "..") || (segment.is_empty() && !is_last) {
        return Err("has an empty, . or .. segment, which the proxy refuses");
    }
    let Some(inner) = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
        if segment.contains(['{', '}']) {
            return Err("has a parameter that is not a whole segment");
        }
        return Ok(());
    };
    let name = match inner.strip_prefix('*') {
        Some(_) if !is_last => return Err("has {*…} before its last segment"),
        Some(name) => name,
        None => inner,
    };
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err("has a parameter without a plain name");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
