//! Where the body of an HTTP/1 request ends, followed byte by byte in strict grammar: what comes after
//! the end is another request, and only the sender of the first byte may say where that is.

use crate::{field, head::Framing};

/// Longest chunk extension, and longest trailer section, in bytes.
const LINE_BYTES_MAX: usize = 1024;
const TRAILER_BYTES_MAX: usize = 8 * 1024;
/// Hexadecimal digits of a chunk's size.
const SIZE_DIGITS_MAX: u32 = 15;

/// Fields that change the meaning of a message and cannot come after its body.
const NOT_IN_TRAILERS: [&[u8]; 9] = [
    b"content-length",
    b"transfer-encoding",
    b"host",
    b"connection",
    b"authorization",
    b"cookie",
    b"content-type",
    b"trailer",
    b"expect",
];

/// A body that breaks the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// The size is no hexadecimal number, or too large, or something else stands beside it.
    #[error("the size of a chunk is malformed")]
    Size,
    /// A line ends in LF or CR alone, or has control characters.
    #[error("a line between the chunks is malformed")]
    Line,
    /// A chunk is longer or shorter than its size.
    #[error("a chunk does not have its size")]
    Data,
    /// A trailer is no field, is one that must not come after the body, or all are too long.
    #[error("the trailers are malformed")]
    Trailer,
}

/// Follows one body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body(State);

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Length(u64),
    Size { size: u64, digits: u32 },
    Extension { size: u64, length: usize },
    SizeEnd { size: u64 },
    Data(u64),
    DataEnd,
    DataEndLf,
    Trailer(Trailer),
    Done,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Trailer {
    line: Vec<u8>,
    total: usize,
    ended: bool,
}

impl Body {
    /// The body that such a head begins.
    #[must_use]
    pub const fn new(framing: Framing) -> Self {
        Self(match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size { size: 0, digits: 0 },
        })
    }

    /// Whether the next byte belongs to another request.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self.0, State::Done)
    }

    /// Takes what came next; returns how many of the bytes belong to this body. Fewer than all: the
    /// body is done.
    ///
    /// # Errors
    /// When the bytes break the grammar; nothing after that has a meaning.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<usize, BodyFault> {
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            used += match &mut self.0 {
                State::Done => break,
                State::Length(left) => {
                    let taken = take(left, rest);
                    if *left == 0 {
                        self.0 = State::Done;
                    }
                    taken
                }
                State::Data(left) => {
                    let taken = take(left, rest);
                    if *left == 0 {
                        self.0 = State::DataEnd;
                    }
                    taken
                }
                State::Size { .. }
                | State::Extension { .. }
                | State::SizeEnd { .. }
                | State::DataEnd
                | State::DataEndLf
                | State::Trailer(_) => {
                    self.step(rest.first().copied().unwrap_or_default())?;
                    1
                }
            };
        }
        Ok(used)
    }

    /// One byte of what stands between the data.
    fn step(&mut self, byte: u8) -> Result<(), BodyFault> {
        let next = match (&mut self.0, byte) {
            (State::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                if *digits == SIZE_DIGITS_MAX {
                    return Err(BodyFault::Size);
                }
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                State::Size { size: *size << 4 | u64::from(digit), digits: *digits + 1 }
            }
            (State::Size { digits: 0, .. }, _) => return Err(BodyFault::Size),
            (State::Size { size, .. }, b'\r') => State::SizeEnd { size: *size },
            (State::Size { size, .. }, b';') => State::Extension { size: *size, length: 1 },
            (State::Size { .. }, _) => return Err(BodyFault::Size),
            (State::Extension { size, .. }, b'\r') => State::SizeEnd { size: *size },
            (State::Extension { size, length }, _) => {
                if !field::is_value_byte(byte) || *length == LINE_BYTES_MAX {
                    return Err(BodyFault::Line);
                }
                State::Extension { size: *size, length: *length + 1 }
            }
            (State::SizeEnd { size: 0 }, b'\n') => State::Trailer(Trailer::default()),
            (State::SizeEnd { size }, b'\n') => State::Data(*size),
            (State::SizeEnd { .. }, _) => return Err(BodyFault::Line),
            (State::DataEnd, b'\r') => State::DataEndLf,
            (State::DataEndLf, b'\n') => State::Size { size: 0, digits: 0 },
            (State::DataEnd | State::DataEndLf, _) => return Err(BodyFault::Data),
            (State::Trailer(trailer), _) => match trailer.step(byte)? {
                true => State::Done,
                false => return Ok(()),
            },
            (State::Length(_) | State::Data(_) | State::Done, _) => return Ok(()),
        };
        self.0 = next;
        Ok(())
    }
}

fn take(left: &mut u64, bytes: &[u8]) -> usize {
    let taken = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
    *left -= u64::try_from(taken).unwrap_or(*left);
    taken
}

impl Trailer {
    /// Whether this byte ended the section.
    fn step(&mut self, byte: u8) -> Result<bool, BodyFault> {
        self.total += 1;
        match (self.ended, byte) {
            (false, b'\r') => self.ended = true,
            (true, b'\n') if self.line.is_empty() => return Ok(true),
            (true, b'\n') => {
                let (name, _) = field::split(&self.line).ok_or(BodyFault::Trailer)?;
                if NOT_IN_TRAILERS.iter().any(|refused| name.eq_ignore_ascii_case(refused)) {
                    return Err(BodyFault::Trailer);
                }
                self.line.clear();
                self.ended = false;
            }
            (true, _) => return Err(BodyFault::Line),
            (false, _) if self.total > TRAILER_BYTES_MAX => return Err(BodyFault::Trailer),
            (false, b'\n') => return Err(BodyFault::Line),
            (false, _) => self.line.push(byte),
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The outcome does not depend on how the bytes are cut.
    #[track_caller]
    fn check(text: &str, expected: Result<usize, BodyFault>) {
        let whole = Body::new(Framing::Chunked).advance(text.as_bytes());
        assert_eq!(whole, expected, "{text:?}");
        let mut body = Body::new(Framing::Chunked);
        let mut used = Ok(0);
        for byte in text.as_bytes() {
            used =
                used.and_then(|used: usize| Ok(used + body.advance(std::slice::from_ref(byte))?));
        }
        assert_eq!(used, expected, "{text:?} byte by byte");
    }

    #[test]
    fn a_body_of_a_length_ends_there() {
        let mut body = Body::new(Framing::Length(5));
        assert_eq!(body.advance(b"abc"), Ok(3));
        assert!(!body.is_done());
        assert_eq!(body.advance(b"deGET"), Ok(2));
        assert!(body.is_done());
        assert_eq!(body.advance(b"x"), Ok(0));
        assert!(Body::new(Framing::Length(0)).is_done());
    }

    #[test]
    fn chunks_end_with_the_empty_one_and_its_trailers() {
        check("0\r\n\r\nGET", Ok(5));
        check("3\r\nabc\r\n0\r\n\r\nGET", Ok(13));
        check("A;x=\"y\"\r\n0123456789\r\n000\r\n\r\n", Ok(28));
        check("1\r\na\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\nP", Ok(27));
    }

    #[test]
    fn chunks_that_could_be_read_in_two_ways_are_refused() {
        for text in [
            "\r\n",
            "g\r\n",
            "-1\r\n",
            "+1\r\n",
            "0x1\r\n",
            " 1\r\n",
            "1 \r\n",
            "1\n",
            "ffffffffffffffff\r\n",
            ";\r\n",
        ] {
            check(text, Err(BodyFault::Size));
        }
        for text in ["1;a\nX", "1;a\rX", "1\rX", "1;\0\r\n", "0\r\n\n", "0\r\nX: y\n\r\n"] {
            check(text, Err(BodyFault::Line));
        }
        for text in ["1\r\nab\r\n", "1\r\na\n", "1\r\na\rX", "2\r\na\r\n0\r\n\r\n"] {
            check(text, Err(BodyFault::Data));
        }
        for text in [
            "0\r\nHost: b\r\n\r\n",
            "0\r\nX y\r\n\r\n",
            "0\r\n X: y\r\n\r\n",
            "0\r\nContent-length: 1\r\n\r\n",
        ] {
            check(text, Err(BodyFault::Trailer));
        }
        check(&format!("1;{}\r\n", "x".repeat(LINE_BYTES_MAX + 1)), Err(BodyFault::Line));
        check(&format!("0\r\nX: {}\r\n", "x".repeat(TRAILER_BYTES_MAX)), Err(BodyFault::Trailer));
    }
}
