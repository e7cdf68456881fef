//! W3C trace context (Recommendation, level 1): a request keeps the trace it came with or begins one, and
//! goes on under a span of this proxy. Works whether or not anybody collects spans.

use http::{HeaderMap, HeaderValue};
use pingora::{Result, http::RequestHeader};

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// Longest `tracestate` that is passed on, all its fields together.
const TRACESTATE_MAX: usize = 512;

/// Bit of the flags that says that the caller records the trace.
const SAMPLED: u8 = 1;

/// The trace of one request, and this proxy's span in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TraceContext {
    trace: u128,
    /// The caller's span; absent when the trace begins here.
    parent: Option<u64>,
    span: u64,
    flags: u8,
}

impl TraceContext {
    /// The trace the request belongs to, or a new one when it names none that can be read.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut named = headers.get_all(TRACEPARENT).iter();
        let only = match (named.next(), named.next()) {
            (Some(only), None) => only.to_str().ok(),
            (Some(_) | None, Some(_)) | (None, None) => None,
        };
        let span = nonzero(rand::random);
        match only.and_then(parse) {
            Some((trace, parent, flags)) => Self { trace, parent: Some(parent), span, flags },
            None => Self { trace: nonzero(rand::random), parent: None, span, flags: 0 },
        }
    }

    /// Puts this proxy's span into a request. What the caller's vendors keep goes on with its trace, and
    /// not into a new one.
    pub(crate) fn forward(&self, request: &mut RequestHeader) -> Result<()> {
        request.insert_header(TRACEPARENT, self.to_header())?;
        let fields = request.headers.get_all(TRACESTATE);
        let bytes: usize = fields.iter().map(HeaderValue::len).sum();
        if self.parent.is_none() || bytes > TRACESTATE_MAX {
            request.remove_header(TRACESTATE);
        }
        Ok(())
    }

    /// 32 hexadecimal digits.
    pub(crate) fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }

    fn to_header(self) -> String {
        let Self { trace, span, flags, .. } = self;
        format!("00-{trace:032x}-{span:016x}-{:02x}", flags & SAMPLED)
    }
}

/// Zero stands for no trace and no span.
fn nonzero<N: Default + PartialEq>(mut draw: impl FnMut() -> N) -> N {
    loop {
        let number = draw();
        if number != N::default() {
            return number;
        }
    }
}

/// `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`: trace, span and flags. Later versions may
/// add parts at the end.
fn parse(text: &str) -> Option<(u128, u64, u8)> {
    let is_lower_hex =
        |part: &str| part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let mut parts = text.trim().splitn(5, '-');
    let mut part = |length: usize| parts.next().filter(|p| p.len() == length && is_lower_hex(p));
    let version = u8::from_str_radix(part(2)?, 16).ok()?;
    let trace = u128::from_str_radix(part(32)?, 16).ok()?;
    let span = u64::from_str_radix(part(16)?, 16).ok()?;
    let flags = u8::from_str_radix(part(2)?, 16).ok()?;
    let has_more = parts.next().is_some();
    let is_valid = version != 0xff && trace != 0 && span != 0 && !(version == 0 && has_more);
    is_valid.then_some((trace, span, flags))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn headers(values: &[&str]) -> HeaderMap {
        let named = |value: &&str| (TRACEPARENT, value.parse::<HeaderValue>().expect("a header"));
        let mut headers = HeaderMap::new();
        for (name, value) in values.iter().map(named) {
            headers.append(name, value);
        }
        headers
    }

    fn forwarded(context: &TraceContext, state: Option<&str>) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/", None).expect("a request");
        if let Some(state) = state {
            request.insert_header(TRACESTATE, state).expect("a header");
        }
        context.forward(&mut request).expect("it can be sent");
        request
    }

    #[test]
    fn a_trace_goes_on_under_a_span_of_its_own() {
        let context = TraceContext::of(&headers(&[&format!("00-{TRACE}-{SPAN}-01")]));
        assert_eq!(context.trace_id(), TRACE);
        let request = forwarded(&context, Some("vendor=1"));
        let sent = request.headers[TRACEPARENT].to_str().expect("text");
        assert!(sent.starts_with(&format!("00-{TRACE}-")) && sent.ends_with("-01"), "{sent}");
        assert!(!sent.contains(SPAN), "{sent}");
        assert_eq!(request.headers[TRACESTATE], "vendor=1");
    }

    #[test]
    fn what_is_no_trace_begins_a_new_one_without_anybody_s_state() {
        let zero_trace = format!("00-{}-{SPAN}-01", "0".repeat(32));
        let zero_span = format!("00-{TRACE}-{}-01", "0".repeat(16));
        let cases = [
            "".to_owned(),
            zero_trace,
            zero_span,
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}0-{SPAN}-01"),
            format!("0-{TRACE}-{SPAN}-01"),
        ];
        for case in cases {
            let context = TraceContext::of(&headers(&[&case]));
            assert_eq!(context.parent, None, "{case}");
            assert_ne!(context.trace_id(), TRACE, "{case}");
            let request = forwarded(&context, Some("vendor=1"));
            assert!(request.headers.get(TRACESTATE).is_none(), "{case}");
        }
    }

    #[test]
    fn two_parents_are_none() {
        let parent = format!("00-{TRACE}-{SPAN}-01");
        assert_eq!(TraceContext::of(&headers(&[&parent, &parent])).parent, None);
    }

    #[test]
    fn a_later_version_may_say_more_and_unknown_flags_are_not_passed_on() {
        let context = TraceContext::of(&headers(&[&format!("cc-{TRACE}-{SPAN}-ff-more")]));
        assert_eq!(context.trace_id(), TRACE);
        assert!(context.to_header().ends_with("-01"));
        assert!(context.to_header().starts_with("00-"));
    }

    #[test]
    fn a_state_that_is_too_long_is_left_out() {
        let context = TraceContext::of(&headers(&[&format!("00-{TRACE}-{SPAN}-00")]));
        let long = format!("vendor={}", "x".repeat(TRACESTATE_MAX));
        assert!(forwarded(&context, Some(&long)).headers.get(TRACESTATE).is_none());
    }

    #[test]
    fn traces_that_begin_here_differ() {
        let (one, two) = (TraceContext::of(&HeaderMap::new()), TraceContext::of(&HeaderMap::new()));
        assert_ne!(one.trace, two.trace);
        assert_ne!(one.span, two.span);
    }
}
