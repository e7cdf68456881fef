//! One name for one resource: a path is brought into the form of RFC 3986, 6.2.2, and refused when a
//! server behind the proxy could take it for another one.
//!
//! The route of a request and the path an upstream gets are made from the same canonical text, so an
//! upstream that decodes more than the proxy finds nothing left to decode.

use std::borrow::Cow;

/// Why a path has no single meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    /// `//`, `/./`, `/../`, or no `/` at the beginning.
    #[error("the path has empty, `.` or `..` segments")]
    Segments,
    /// `\`, `%2f`, `%5c`.
    #[error("the path has an encoded or backward separator")]
    Separator,
    /// `;` or `%3b`: some servers cut path parameters off before they look at a path, some do not.
    #[error("the path has parameters (`;`)")]
    Parameters,
    /// `%` without two hexadecimal digits behind it.
    #[error("the path has a `%` that encodes nothing")]
    Percent,
    /// `%252f` and the like, which a server that decodes twice reads as a separator.
    #[error("the path is encoded twice")]
    EncodedTwice,
    /// Control characters, encoded or not.
    #[error("the path has control characters")]
    Control,
    /// Bytes above ASCII as they are, or encoded and no UTF-8.
    #[error("the path is not encoded UTF-8")]
    Encoding,
}

/// The canonical form of the path of a request, without its query: encodings of letters, digits and
/// `-._~` are decoded, the digits of all others are upper case. Borrows what is canonical already.
///
/// # Errors
/// When two servers could read the path in two ways.
pub fn canonical(path: &str) -> Result<Cow<'_, str>, PathFault> {
    let canonical = if is_plain(path) { Cow::Borrowed(path) } else { decode(path)? };
    check_segments(&canonical)?;
    Ok(canonical)
}

/// Whether every byte stands for itself.
fn is_plain(path: &str) -> bool {
    path.bytes().all(|byte| {
        matches!(byte, b'!'..=b'~') && !matches!(byte, b'%' | b'\\' | b';' | b'#' | b'?')
    })
}

fn decode(path: &str) -> Result<Cow<'_, str>, PathFault> {
    let mut canonical = String::with_capacity(path.len());
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    let mut changed = false;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match byte {
            b'%' => {
                let ([high, low], tail) = tail.split_first_chunk().ok_or(PathFault::Percent)?;
                let byte = hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low);
                let byte = byte.ok_or(PathFault::Percent)?;
                check_encoded(byte)?;
                decoded.push(byte);
                if is_unreserved(byte) {
                    canonical.push(char::from(byte));
                    changed = true;
                } else {
                    let digits = [high.to_ascii_uppercase(), low.to_ascii_uppercase()];
                    changed |= digits != [*high, *low];
                    canonical.push('%');
                    canonical.extend(digits.map(char::from));
                }
                rest = tail;
            }
            b'\\' => return Err(PathFault::Separator),
            b';' => return Err(PathFault::Parameters),
            b'!'..=b'~' if !matches!(byte, b'#' | b'?') => {
                canonical.push(char::from(*byte));
                decoded.push(*byte);
            }
            0x80.. => return Err(PathFault::Encoding),
            _ => return Err(PathFault::Control),
        }
    }
    if std::str::from_utf8(&decoded).is_err() {
        return Err(PathFault::Encoding);
    }
    // What is left after decoding must not decode again.
    if decoded.windows(3).any(|window| {
        matches!(window, [b'%', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
    }) {
        return Err(PathFault::EncodedTwice);
    }
    Ok(if changed { Cow::Owned(canonical) } else { Cow::Borrowed(path) })
}

fn check_encoded(byte: u8) -> Result<(), PathFault> {
    match byte {
        0..=0x1f | 0x7f => Err(PathFault::Control),
        b'/' | b'\\' => Err(PathFault::Separator),
        b';' => Err(PathFault::Parameters),
        _ => Ok(()),
    }
}

fn check_segments(path: &str) -> Result<(), PathFault> {
    if path == "/" {
        return Ok(());
    }
    let rest = path.strip_prefix('/').ok_or(PathFault::Segments)?;
    let segments = rest.strip_suffix('/').unwrap_or(rest);
    match segments.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        true => Err(PathFault::Segments),
        false => Ok(()),
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, expected: &str) {
        assert_eq!(canonical(path).as_deref(), Ok(expected), "{path}");
        assert_eq!(canonical(expected).as_deref(), Ok(expected), "{expected} is not canonical");
    }

    #[test]
    fn plain_paths_stay_as_they_are() {
        for path in
            ["/", "/api/v1/tickets/7", "/tickets/", "/a.b/..c/d..", "/a%20b", "/caf%C3%A9", "/~x"]
        {
            check(path, path);
            assert!(matches!(canonical(path), Ok(Cow::Borrowed(_))), "{path}");
        }
    }

    #[test]
    fn needless_encodings_are_decoded_and_the_digits_of_others_upper_case() {
        check("/%74ickets", "/tickets");
        check("/a%7eb%2Dc", "/a~b-c");
        check("/caf%c3%a9", "/caf%C3%A9");
        check("/100%25", "/100%25");
        check("/100%25zz", "/100%25zz");
    }

    #[test]
    fn paths_that_two_servers_may_read_in_two_ways_are_refused() {
        use PathFault::{
            Control, EncodedTwice, Encoding, Parameters, Percent, Segments, Separator,
        };
        let cases = [
            (
                Segments,
                vec!["", "a", "*", "/a/../b", "/..", "/a/./b", "//a", "/a//b", "/a//", "//"],
            ),
            (Segments, vec!["/%2e%2e/a", "/a/%2E", "/.%2e/", "/%2e."]),
            (Separator, vec!["/a%2fb", "/a%2Fb", "/a%5Cb", "/a%5cb", "/a\\b", "/..\\b"]),
            (Parameters, vec!["/a;b", "/a/..;/b", "/a%3bb", "/a%3Bb"]),
            (Percent, vec!["/%", "/%2", "/%zz", "/%u002f", "/a%2"]),
            (EncodedTwice, vec!["/%252f", "/%252e%252e/", "/%2500"]),
            (Control, vec!["/%00", "/%0d%0a", "/a b", "/\u{7f}", "/%7f", "/a\tb", "/a#b", "/a?b"]),
            (Encoding, vec!["/\u{e9}", "/%c0%af", "/%ff", "/%ed%a0%80", "/%c3"]),
        ];
        for (expected, paths) in cases {
            for path in paths {
                assert_eq!(canonical(path), Err(expected), "{path:?}");
            }
        }
    }

    #[test]
    fn an_escape_made_of_escapes_is_encoded_twice() {
        assert_eq!(canonical("/%25%32%66"), Err(PathFault::EncodedTwice));
        assert_eq!(canonical("/%252%66"), Err(PathFault::EncodedTwice));
    }
}
