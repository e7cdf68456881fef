//! The head of an HTTP/1 request, looked at as bytes before any parser does: parsers are lenient each in
//! its own way, and a request that two of them read differently is two requests.

use crate::field;

/// Longest request line, in bytes.
pub const LINE_BYTES_MAX: usize = 8 * 1024;
/// Longest head, in bytes: request line, fields and the empty line.
pub const HEAD_BYTES_MAX: usize = LINE_BYTES_MAX + FIELD_BYTES_MAX;
/// All field lines together, in bytes.
pub const FIELD_BYTES_MAX: usize = 32 * 1024;
/// Most field lines.
pub const FIELDS_MAX: usize = 100;

/// Methods that are let pass: those of RFC 9110 and 5789 but CONNECT and TRACE, WebDAV with its
/// versions and searches, and QUERY.
const METHODS: [&[u8]; 24] = [
    b"GET",
    b"HEAD",
    b"POST",
    b"PUT",
    b"PATCH",
    b"DELETE",
    b"OPTIONS",
    b"QUERY",
    b"PROPFIND",
    b"PROPPATCH",
    b"MKCOL",
    b"COPY",
    b"MOVE",
    b"LOCK",
    b"UNLOCK",
    b"REPORT",
    b"SEARCH",
    b"MKCALENDAR",
    b"ACL",
    b"BIND",
    b"UNBIND",
    b"REBIND",
    b"LINK",
    b"UNLINK",
];

/// Fields that must not be named by `Connection`: a hop that obeys would drop what the next relies on.
const NEVER_NOMINATED: [&[u8]; 14] = [
    b"host",
    b"content-length",
    b"transfer-encoding",
    b"content-type",
    b"content-encoding",
    b"authorization",
    b"cookie",
    b"expect",
    b"forwarded",
    b"x-real-ip",
    b"x-request-id",
    b"origin",
    b"traceparent",
    b"idempotency-key",
];

/// How the body of a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// After so many bytes; 0 is no body.
    Length(u64),
    /// With the last chunk.
    Chunked,
}

/// What a head says that matters beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The body.
    pub framing: Framing,
    /// It asks for a WebSocket.
    pub is_upgrade: bool,
}

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadFault {
    /// A line ends in LF alone, or CR stands alone.
    #[error("a line of the head does not end in CRLF")]
    LineEnd,
    /// Not `METHOD SP target SP HTTP/1.x`.
    #[error("the request line is malformed")]
    RequestLine,
    /// Longer than [`LINE_BYTES_MAX`].
    #[error("the request target is longer than 8 KiB")]
    LineTooLong,
    /// Not one of the methods that are let pass.
    #[error("the method is not supported")]
    Method,
    /// CONNECT or TRACE.
    #[error("the method is not allowed")]
    MethodRefused,
    /// Another major version.
    #[error("the HTTP version is not supported")]
    Version,
    /// The target is none of the forms a request to a server may have.
    #[error("the request target is malformed")]
    Target,
    /// A line is no `name: value`: folded, blanks before the colon, control characters.
    #[error("a header field is malformed")]
    Field,
    /// More than [`FIELDS_MAX`] or [`FIELD_BYTES_MAX`].
    #[error("the request has more than 100 header fields or 32 KiB of them")]
    TooLarge,
    /// None, several, or one that is no host.
    #[error("the request needs one Host that names a host")]
    Host,
    /// Host and the authority in the target differ.
    #[error("the request target and Host differ")]
    HostMismatch,
    /// Both lengths, several, or one that is no number.
    #[error("Content-Length and Transfer-Encoding do not say where the body ends")]
    Length,
    /// A transfer coding other than chunked.
    #[error("only the transfer coding chunked is supported")]
    Coding,
    /// GET and HEAD have none here.
    #[error("a GET or HEAD request must not have a body")]
    UnexpectedBody,
    /// `Connection` names a field that is for the other end.
    #[error("Connection names a field that must reach the server")]
    Connection,
    /// A WebSocket is asked for with something else than GET and HTTP/1.1.
    #[error("only a GET request of HTTP/1.1 can be upgraded")]
    Upgrade,
    /// Something else than 100-continue.
    #[error("the expectation is not supported")]
    Expectation,
}

impl HeadFault {
    /// The status it is answered with.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::LineTooLong => 414,
            Self::TooLarge => 431,
            Self::Method | Self::Coding => 501,
            Self::MethodRefused => 405,
            Self::Version => 505,
            Self::Expectation => 417,
            Self::LineEnd
            | Self::RequestLine
            | Self::Target
            | Self::Field
            | Self::Host
            | Self::HostMismatch
            | Self::Length
            | Self::UnexpectedBody
            | Self::Connection
            | Self::Upgrade => 400,
        }
    }
}

/// Looks for the end of a head in what came so far, of which `searched` bytes were looked at before.
/// Returns the length of the head with its empty line, or nothing yet.
///
/// # Errors
/// As soon as a line ends in LF alone or the head is too long, so that nobody waits for the rest.
pub fn find_end(bytes: &[u8], searched: usize) -> Result<Option<usize>, HeadFault> {
    // A line end may lie across the border of what was looked at.
    let from = searched.saturating_sub(3).min(bytes.len());
    for offset in memchr::memchr_iter(b'\n', bytes.get(from..).unwrap_or_default()) {
        let end = from + offset;
        let line = bytes.get(..end).unwrap_or_default();
        if line.last() != Some(&b'\r') {
            return Err(HeadFault::LineEnd);
        }
        if line.ends_with(b"\r\n\r") {
            return match end < HEAD_BYTES_MAX {
                true => Ok(Some(end + 1)),
                false => Err(HeadFault::TooLarge),
            };
        }
    }
    let line_ended = memchr::memchr(b'\n', bytes.get(..LINE_BYTES_MAX).unwrap_or(bytes)).is_some();
    if !line_ended && bytes.len() >= LINE_BYTES_MAX {
        Err(HeadFault::LineTooLong)
    } else if bytes.len() >= HEAD_BYTES_MAX {
        Err(HeadFault::TooLarge)
    } else {
        Ok(None)
    }
}

/// Checks a whole head, with its empty line.
///
/// # Errors
/// When it is malformed, or can be read in two ways.
pub fn read(bytes: &[u8]) -> Result<Head, HeadFault> {
    let lines = bytes.strip_suffix(b"\r\n\r\n").ok_or(HeadFault::LineEnd)?;
    let (line, rest) = match memchr::memmem::find(lines, b"\r\n") {
        Some(at) => lines.split_at_checked(at).ok_or(HeadFault::LineEnd)?,
        None => (lines, &b""[..]),
    };
    if line.len() > LINE_BYTES_MAX {
        return Err(HeadFault::LineTooLong);
    }
    if rest.len() > FIELD_BYTES_MAX {
        return Err(HeadFault::TooLarge);
    }
    let line = Line::read(line)?;
    let mut fields = Fields::default();
    let mut rest = rest;
    let mut count = 0;
    while let Some(tail) = rest.strip_prefix(b"\r\n") {
        let end = memchr::memchr(b'\r', tail).unwrap_or(tail.len());
        let (field, tail) = tail.split_at_checked(end).ok_or(HeadFault::Field)?;
        count += 1;
        if count > FIELDS_MAX {
            return Err(HeadFault::TooLarge);
        }
        let (name, value) = field::split(field).ok_or(HeadFault::Field)?;
        fields.note(name, value)?;
        rest = tail;
    }
    if !rest.is_empty() {
        return Err(HeadFault::LineEnd);
    }
    fields.judge(&line)
}

/// The request line.
struct Line<'h> {
    method: &'h [u8],
    /// Of a target in absolute form.
    authority: Option<&'h [u8]>,
    is_http_10: bool,
}

impl<'h> Line<'h> {
    fn read(line: &'h [u8]) -> Result<Self, HeadFault> {
        let mut parts = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(HeadFault::RequestLine);
        };
        let is_http_10 = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
                if major.is_ascii_digit() && minor.is_ascii_digit() =>
            {
                return Err(HeadFault::Version);
            }
            _ => return Err(HeadFault::RequestLine),
        };
        check_method(method)?;
        Ok(Self { method, authority: check_target(method, target)?, is_http_10 })
    }
}

/// Whether a method is let pass.
///
/// # Errors
/// When it is not one of those that are.
pub fn check_method(method: &[u8]) -> Result<(), HeadFault> {
    match method {
        b"CONNECT" | b"TRACE" => Err(HeadFault::MethodRefused),
        _ if METHODS.contains(&method) => Ok(()),
        // A method is case-sensitive, and servers disagree about that.
        _ if method.is_empty()
            || !method.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'-') =>
        {
            Err(HeadFault::RequestLine)
        }
        _ => Err(HeadFault::Method),
    }
}

/// The authority, if the target has one.
fn check_target<'h>(method: &[u8], target: &'h [u8]) -> Result<Option<&'h [u8]>, HeadFault> {
    if !target.iter().all(|byte| matches!(byte, b'!'..=b'~') && *byte != b'#') {
        return Err(HeadFault::Target);
    }
    match target {
        [b'/', ..] => Ok(None),
        b"*" if method == b"OPTIONS" => Ok(None),
        _ => {
            let rest = strip_prefix_ignoring_case(target, b"http://")
                .or_else(|| strip_prefix_ignoring_case(target, b"https://"))
                .ok_or(HeadFault::Target)?;
            let end = memchr::memchr3(b'/', b'?', b'\\', rest).unwrap_or(rest.len());
            let authority = rest.get(..end).unwrap_or_default();
            // Servers differ in what a target without a path means.
            let is_fine = field::is_authority(authority) && rest.get(end) == Some(&b'/');
            is_fine.then_some(Some(authority)).ok_or(HeadFault::Target)
        }
    }
}

fn strip_prefix_ignoring_case<'h>(text: &'h [u8], prefix: &[u8]) -> Option<&'h [u8]> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// The fields that decide about the message.
#[derive(Default)]
struct Fields<'h> {
    host: Option<&'h [u8]>,
    length: Option<u64>,
    is_chunked: bool,
    is_websocket: bool,
}

impl<'h> Fields<'h> {
    fn note(&mut self, name: &[u8], value: &'h [u8]) -> Result<(), HeadFault> {
        let is = |expected: &[u8]| name.eq_ignore_ascii_case(expected);
        // Only few names have these lengths.
        match name.len() {
            4 if is(b"host")
                && (self.host.replace(value).is_some() || !field::is_authority(value)) =>
            {
                return Err(HeadFault::Host);
            }
            14 if is(b"content-length") => {
                let length = field::length(value).ok_or(HeadFault::Length)?;
                if self.length.replace(length).is_some() {
                    return Err(HeadFault::Length);
                }
            }
            17 if is(b"transfer-encoding") => {
                let is_second = std::mem::replace(&mut self.is_chunked, true);
                if is_second {
                    return Err(HeadFault::Length);
                }
                check_coding(value)?;
            }
            10 if is(b"connection") => {
                let refused = |element: &[u8]| {
                    NEVER_NOMINATED.iter().any(|name| element.eq_ignore_ascii_case(name))
                        || strip_prefix_ignoring_case(element, b"x-forwarded").is_some()
                        || strip_prefix_ignoring_case(element, b"ficus-").is_some()
                };
                if field::elements(value).any(refused) {
                    return Err(HeadFault::Connection);
                }
            }
            7 if is(b"upgrade") => {
                self.is_websocket |= field::elements(value)
                    .any(|element| element.eq_ignore_ascii_case(b"websocket"));
            }
            6 if is(b"expect") && !value.eq_ignore_ascii_case(b"100-continue") => {
                return Err(HeadFault::Expectation);
            }
            _ => {}
        }
        Ok(())
    }

    fn judge(self, line: &Line<'_>) -> Result<Head, HeadFault> {
        let host = self.host.ok_or(HeadFault::Host)?;
        if line.authority.is_some_and(|authority| !authority.eq_ignore_ascii_case(host)) {
            return Err(HeadFault::HostMismatch);
        }
        let framing = match (self.is_chunked, self.length) {
            (true, None) if !line.is_http_10 => Framing::Chunked,
            (true, _) => return Err(HeadFault::Length),
            (false, length) => Framing::Length(length.unwrap_or(0)),
        };
        if framing != Framing::Length(0) && matches!(line.method, b"GET" | b"HEAD") {
            return Err(HeadFault::UnexpectedBody);
        }
        if self.is_websocket && (line.method != b"GET" || line.is_http_10) {
            return Err(HeadFault::Upgrade);
        }
        Ok(Head { framing, is_upgrade: self.is_websocket })
    }
}

fn check_coding(value: &[u8]) -> Result<(), HeadFault> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let is_known = |coding: &[u8]| {
        [&b"gzip"[..], b"x-gzip", b"deflate", b"compress", b"x-compress"]
            .iter()
            .any(|known| coding.eq_ignore_ascii_case(known))
    };
    let mut codings = field::elements(value).collect::<Vec<_>>();
    let last = codings.pop();
    let ends_in_chunks = last.is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"));
    match ends_in_chunks && !codings.is_empty() && codings.into_iter().all(is_known) {
        true => Err(HeadFault::Coding),
        false => Err(HeadFault::Length),
    }
}

#[cfg(test)]
mod tests;
