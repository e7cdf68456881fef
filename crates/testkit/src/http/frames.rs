//! HTTP/2 by hand: frames and header blocks as bytes, valid or not, and what a server did with them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::exchange::exchange_raw;

/// What a client says first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Content of the PING after everything else.
const LAST_PING: &[u8; 8] = b"the last";

/// Kinds of frames (RFC 9113, 6).
pub mod kind {
    /// A piece of a body.
    pub const DATA: u8 = 0;
    /// The begin of a header block.
    pub const HEADERS: u8 = 1;
    /// The end of one stream.
    pub const RST_STREAM: u8 = 3;
    /// Parameters.
    pub const SETTINGS: u8 = 4;
    /// Announces a request the server makes itself.
    pub const PUSH_PROMISE: u8 = 5;
    /// Asks for an echo.
    pub const PING: u8 = 6;
    /// The end of the connection.
    pub const GOAWAY: u8 = 7;
    /// Allows more bytes.
    pub const WINDOW_UPDATE: u8 = 8;
    /// More of a header block.
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub mod flag {
    /// Of DATA and HEADERS: the stream ends.
    pub const END_STREAM: u8 = 1;
    /// Of SETTINGS and PING: an answer.
    pub const ACK: u8 = 1;
    /// Of HEADERS and CONTINUATION: the block ends.
    pub const END_HEADERS: u8 = 4;
    /// Of DATA and HEADERS: padding follows.
    pub const PADDED: u8 = 8;
}

/// What a server did on one connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Status of the answer, by stream; 0 when it could not be read.
    pub statuses: BTreeMap<u32, u16>,
    /// Error code of RST_STREAM, by stream.
    pub resets: BTreeMap<u32, u32>,
    /// Error code of GOAWAY.
    pub goaway: Option<u32>,
    /// Answers to PING and SETTINGS.
    pub acks: usize,
    /// The server ended the connection.
    pub is_closed: bool,
}

/// A frame.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut frame = length.get(1..).unwrap_or_default().to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header block of literal fields, none of which is indexed.
#[must_use]
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of 7 bits (RFC 7541, 5.1).
fn integer(block: &mut Vec<u8>, value: usize) {
    let byte = |value: usize| u8::try_from(value).unwrap_or(u8::MAX);
    if value < 127 {
        return block.push(byte(value));
    }
    block.push(127);
    let mut rest = value - 127;
    while rest >= 128 {
        block.push(byte(rest % 128 + 128));
        rest /= 128;
    }
    block.push(byte(rest));
}

/// HEADERS with a whole block.
#[must_use]
pub fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(kind::HEADERS, flags | flag::END_HEADERS, stream, &block(fields))
}

/// The pseudo-header fields of a GET.
#[must_use]
pub const fn get(path: &str) -> [(&str, &str); 4] {
    [(":method", "GET"), (":scheme", "http"), (":authority", "ficus.test"), (":path", path)]
}

/// SETTINGS with these parameters.
#[must_use]
pub fn settings(parameters: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (name, value) in parameters {
        payload.extend(name.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    frame(kind::SETTINGS, 0, 0, &payload)
}

/// Preface, empty SETTINGS, and these frames on a new connection; reads until the server closes, says
/// nothing more, or so many streams have an answer. With none the last frame is a PING, whose echo says
/// that everything before it was looked at.
///
/// # Errors
/// When no connection can be opened.
pub async fn converse(
    address: SocketAddr,
    frames: &[u8],
    streams: usize,
) -> std::io::Result<Outcome> {
    let mut bytes = [PREFACE, &settings(&[]), frames].concat();
    if streams == 0 {
        bytes.extend(frame(kind::PING, 0, 0, LAST_PING));
    }
    converse_raw(address, &bytes, streams).await
}

/// These bytes on a new connection, without preface.
///
/// # Errors
/// When no connection can be opened.
pub async fn converse_raw(
    address: SocketAddr,
    bytes: &[u8],
    streams: usize,
) -> std::io::Result<Outcome> {
    let echo = frame(kind::PING, flag::ACK, 0, LAST_PING);
    let is_enough = |answer: &[u8]| {
        if streams == 0 {
            return answer.ends_with(&echo);
        }
        let outcome = read(answer);
        outcome.goaway.is_some() || outcome.statuses.len() + outcome.resets.len() >= streams
    };
    let (answer, is_closed) = exchange_raw(address, bytes, is_enough).await?;
    Ok(Outcome { is_closed, ..read(&answer) })
}

fn read(mut bytes: &[u8]) -> Outcome {
    let mut outcome = Outcome::default();
    while let Some(([high, middle, low, kind, flags, id @ ..], rest)) =
        bytes.split_first_chunk::<9>()
    {
        let length = u32::from_be_bytes([0, *high, *middle, *low]);
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(rest.len());
        let (payload, rest) = rest.split_at(length);
        bytes = rest;
        let stream = u32::from_be_bytes(*id) & 0x7fff_ffff;
        let code = |at: usize| {
            payload
                .get(at..at + 4)
                .and_then(|code| code.try_into().ok())
                .map_or(0, u32::from_be_bytes)
        };
        match *kind {
            kind::HEADERS => {
                outcome.statuses.entry(stream).or_insert_with(|| status(payload));
            }
            kind::RST_STREAM => {
                outcome.resets.insert(stream, code(0));
            }
            // the first may only announce the end
            kind::GOAWAY => outcome.goaway = Some(code(4)),
            kind::SETTINGS | kind::PING if flags & flag::ACK != 0 => outcome.acks += 1,
            _ => {}
        }
    }
    outcome
}

/// The status at the start of a header block; 0 when it is not understood.
fn status(block: &[u8]) -> u16 {
    // a server may begin with a change of its table's size
    let block = match block {
        [first, rest @ ..] if first >> 5 == 1 => rest,
        _ => block,
    };
    match block {
        [0x88, ..] => 200,
        [0x89, ..] => 204,
        [0x8a, ..] => 206,
        [0x8b, ..] => 304,
        [0x8c, ..] => 400,
        [0x8d, ..] => 404,
        [0x8e, ..] => 500,
        [0x08 | 0x48, length, rest @ ..] => {
            let value = rest.get(..usize::from(length & 0x7f)).unwrap_or_default();
            if length & 0x80 == 0 {
                std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
            } else {
                digits(value)
            }
        }
        _ => 0,
    }
}

/// Three digits in Huffman's code (RFC 7541, appendix B): 0 to 2 have five bits, 3 to 9 six.
fn digits(coded: &[u8]) -> u16 {
    let bits = coded.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    let mut left = coded.len() * 8;
    let mut number = 0;
    for _ in 0..3 {
        let take = |count: usize| {
            let shift = left.checked_sub(count)?;
            u16::try_from(bits >> shift & ((1 << count) - 1)).ok()
        };
        let (digit, used) = match (take(5), take(6)) {
            (Some(five @ 0..=2), _) => (five, 5),
            (_, Some(six @ 0x19..=0x1f)) => (six - 0x19 + 3, 6),
            (Some(_) | None, Some(_) | None) => return 0,
        };
        number = number * 10 + digit;
        left -= used;
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_blocks_are_written_as_the_rfc_says() {
        assert_eq!(frame(kind::PING, 0, 0, b"12345678"), b"\0\0\x08\x06\0\0\0\0\x0012345678");
        assert_eq!(block(&[("a", "bc")]), b"\0\x01a\x02bc");
        let long = "x".repeat(300);
        assert_eq!(block(&[("a", &long)]).get(..5), Some(&b"\0\x01a\x7f\xad"[..]));
        assert_eq!(settings(&[(4, 1)]), b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\x01");
    }

    #[test]
    fn what_a_server_says_is_read() {
        let mut said = settings(&[]);
        said.extend(frame(kind::SETTINGS, flag::ACK, 0, &[]));
        said.extend(frame(kind::HEADERS, 4, 1, b"\x88"));
        said.extend(frame(kind::HEADERS, 4, 3, b"\x48\x03431"));
        // 413 in Huffman's code: 011010 00001 011001, padded with ones
        said.extend(frame(kind::HEADERS, 4, 5, &[0x48, 0x83, 0x68, 0x2c, 0xff]));
        said.extend(frame(kind::RST_STREAM, 0, 7, &[0, 0, 0, 1]));
        said.extend(frame(kind::GOAWAY, 0, 0, &[0, 0, 0, 7, 0, 0, 0, 11]));
        let outcome = read(&said);
        assert_eq!(outcome.statuses, BTreeMap::from([(1, 200), (3, 431), (5, 413)]));
        assert_eq!(outcome.resets, BTreeMap::from([(7, 1)]));
        assert_eq!((outcome.goaway, outcome.acks), (Some(11), 1));
    }
}
