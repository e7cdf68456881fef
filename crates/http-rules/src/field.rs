//! Field lines: names, values, and the few values that decide where a message ends.

/// Whether this may stand in a name or a method (RFC 9110, 5.6.2).
#[must_use]
pub const fn is_token_byte(byte: u8) -> bool {
    matches!(byte,
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z'
        | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`'
        | b'|' | b'~')
}

/// Whether this may stand in a value: visible, blank, tab, or above ASCII.
#[must_use]
pub const fn is_value_byte(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..=0xff)
}

/// Splits a line without its end into name and trimmed value; nothing when it is no field line: no
/// colon, blanks before it, a fold, a control character.
#[must_use]
pub fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr(b':', line)?;
    let (name, rest) = line.split_at_checked(colon)?;
    let value = rest.get(1..)?;
    let is_fine = !name.is_empty()
        && name.iter().copied().all(is_token_byte)
        && value.iter().copied().all(is_value_byte);
    is_fine.then(|| (name, trim(value)))
}

/// Without blanks and tabs at both ends.
#[must_use]
pub fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// The elements of a comma-separated list, trimmed.
pub fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trim).filter(|element| !element.is_empty())
}

/// A `Content-Length`: digits only, no sign, no list.
#[must_use]
pub fn length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Whether this is a host with an optional port, and nothing else: no user, no path, no blank.
#[must_use]
pub fn is_authority(value: &[u8]) -> bool {
    let (host, port) = if value.first() == Some(&b'[') {
        let Some(end) = memchr::memchr(b']', value) else { return false };
        let (host, rest) = value.split_at_checked(end + 1).unwrap_or((value, b""));
        let inner = host.get(1..end).unwrap_or_default();
        let is_ipv6 =
            std::str::from_utf8(inner).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok());
        match rest {
            [] if is_ipv6 => (host, None),
            [b':', port @ ..] if is_ipv6 => (host, Some(port)),
            _ => return false,
        }
    } else {
        let colon = memchr::memchr(b':', value);
        let host = colon.and_then(|at| value.get(..at)).unwrap_or(value);
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+=".contains(byte);
        if !host.iter().all(is_name) {
            return false;
        }
        (host, colon.and_then(|at| value.get(at + 1..)))
    };
    let is_port = |port: &[u8]| length(port).is_some_and(|number| number <= 65_535);
    !host.is_empty() && port.is_none_or(is_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_line_is_split_at_its_first_colon() {
        assert_eq!(split(b"Host:\t a:1 "), Some((&b"Host"[..], &b"a:1"[..])));
        assert_eq!(split(b"X:"), Some((&b"X"[..], &b""[..])));
    }

    #[test]
    fn lines_that_could_be_read_in_two_ways_are_no_field_lines() {
        for line in
            ["Host : a", " Host: a", "Host a", ": a", "X: a\0", "X: a\rb", "X\0: a", "Ho st: a"]
        {
            assert_eq!(split(line.as_bytes()), None, "{line:?}");
        }
    }

    #[test]
    fn only_plain_digits_are_a_length() {
        assert_eq!(length(b"007"), Some(7));
        for value in ["", "+4", "-1", "4, 4", "0x4", "4 4", "18446744073709551616", "\u{0661}"] {
            assert_eq!(length(value.as_bytes()), None, "{value:?}");
        }
    }

    #[test]
    fn an_authority_is_a_host_with_an_optional_port() {
        for value in ["a", "shop.example:8080", "[::1]", "[::1]:80", "127.0.0.1", "a_b"] {
            assert!(is_authority(value.as_bytes()), "{value:?}");
        }
        for value in [
            "", ":80", "a:b", "a:", "a b", "a@b", "a/b", "a,b", "[::1", "[x]", "a:99999", "a:1:2",
            "\u{e9}",
        ] {
            assert!(!is_authority(value.as_bytes()), "{value:?}");
        }
    }
}
