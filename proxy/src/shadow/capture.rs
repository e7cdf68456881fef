//! What is kept of a request and its answer to ask the same again and compare: everything within the
//! budget, or only the reason why not.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, header, uri::PathAndQuery};
use pingora::http::RequestHeader;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;

use crate::upstream::Upstream;

/// Headers of a connection, not of a request, and those that would make two answers incomparable.
const LEFT_OUT: [HeaderName; 12] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::CONTENT_LENGTH,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::EXPECT,
    header::ACCEPT_ENCODING,
    header::RANGE,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_RANGE,
];

/// How the answers of a route are compared.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// Share of the requests that are compared.
    pub(crate) sample: f64,
    /// Share of the equal answers after which the monolith is asked twice more.
    pub(crate) noise: f64,
    /// Longer answers, in bytes, are not compared.
    pub(crate) body_max: usize,
    body: compare::Rules,
}

/// Why a request was not compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Skip {
    /// Too many shadows are under way.
    Busy,
    /// The answer is larger than the budget.
    BodyTooLarge,
    /// The answer is encoded, partial, or not an answer at all.
    NotComparable,
    /// The downstream left before the answer was complete.
    Incomplete,
    /// An upstream could not be asked.
    Unreachable,
    /// An upstream took too long.
    TimedOut,
    /// The answers differed, and it is not known when the service has caught up.
    NotCaughtUp,
    /// A transfer began before a difference could be confirmed.
    Moved,
    /// The monolith's own answer changed each time it was asked.
    Unstable,
}

/// The head to ask again with.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) path_and_query: PathAndQuery,
    pub(crate) headers: HeaderMap,
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    head: AnswerHead,
    body: Bytes,
}

/// What of an answer's head is compared.
#[derive(Clone, Debug, Default)]
struct AnswerHead {
    status: u16,
    content_type: Option<String>,
    location: Option<String>,
}

/// Where two answers differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// All differences, kept or not.
    pub(crate) total: usize,
    /// The first ones.
    pub(crate) differences: Vec<Difference>,
}

/// Collects one exchange.
#[derive(Debug)]
pub(crate) struct Capture {
    service: Arc<Upstream>,
    /// Bounds what all captures keep; none was free when absent.
    permit: Option<OwnedSemaphorePermit>,
    body_max: usize,
    head: Option<Head>,
    answer: AnswerHead,
    body: Vec<Bytes>,
    size: usize,
    skip: Option<Skip>,
    is_whole: bool,
}

/// A whole exchange.
#[derive(Debug)]
pub(crate) struct Captured {
    pub(crate) service: Arc<Upstream>,
    pub(crate) head: Head,
    pub(crate) expected: Answer,
    /// Returned when the comparison is over.
    pub(crate) _permit: OwnedSemaphorePermit,
}

/// One difference between two answers. Values never leave the comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Difference {
    /// JSON pointer into the body, or what differs beside it.
    pub(crate) pointer: String,
    pub(crate) kind: &'static str,
    /// Keyed hash of the expected value; empty when it is not there. A status stands as it is.
    pub(crate) expected: String,
    /// The same of the actual one.
    pub(crate) actual: String,
}

impl Skip {
    /// Stable name used in metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "skipped_busy",
            Self::BodyTooLarge => "skipped_body_too_large",
            Self::NotComparable => "skipped_not_comparable",
            Self::Incomplete => "skipped_incomplete",
            Self::Unreachable => "skipped_unreachable",
            Self::TimedOut => "skipped_timed_out",
            Self::NotCaughtUp => "skipped_not_caught_up",
            Self::Moved => "skipped_moved",
            Self::Unstable => "skipped_unstable",
        }
    }
}

impl Capture {
    /// Keeps nothing but the reason when there is no permit.
    pub(crate) fn new(
        service: Arc<Upstream>,
        body_max: usize,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self {
            service,
            skip: permit.is_none().then_some(Skip::Busy),
            permit,
            body_max,
            head: None,
            answer: AnswerHead::default(),
            body: Vec::new(),
            size: 0,
            is_whole: false,
        }
    }

    /// Keeps the head as the upstream got it; forgets the answer of an earlier attempt.
    pub(crate) fn head(&mut self, request: &RequestHeader) {
        self.body.clear();
        self.size = 0;
        let Some(path_and_query) = request.uri.path_and_query().cloned() else {
            self.skip = Some(Skip::NotComparable);
            return;
        };
        let mut headers = request.headers.clone();
        for name in &LEFT_OUT {
            headers.remove(name);
        }
        self.head = Some(Head { path_and_query, headers });
    }

    /// Keeps what matters of the answer's head.
    pub(crate) fn answer_head(&mut self, status: u16, headers: &HeaderMap) {
        match AnswerHead::new(status, headers) {
            Ok(answer) => self.answer = answer,
            Err(skip) => self.skip = Some(skip),
        }
    }

    /// Keeps a part of the answer's body, without copying it.
    pub(crate) fn answer_body(&mut self, part: Option<&Bytes>, is_last: bool) {
        self.is_whole |= is_last;
        let Some(part) = part else { return };
        self.size += part.len();
        if self.size > self.body_max {
            self.skip.get_or_insert(Skip::BodyTooLarge);
            self.body = Vec::new();
        }
        if self.skip.is_none() {
            self.body.push(part.clone());
        }
    }

    /// What to ask, whom, and what to compare the answer with.
    ///
    /// # Errors
    /// Says why there is nothing to compare.
    pub(crate) fn finish(self) -> Result<Captured, Skip> {
        match (self.skip, self.head, self.permit, self.is_whole) {
            (Some(skip), ..) => Err(skip),
            (None, Some(head), Some(permit), true) => {
                let mut body = BytesMut::with_capacity(self.size);
                self.body.iter().for_each(|part| body.extend_from_slice(part));
                let expected = Answer { head: self.answer, body: body.freeze() };
                Ok(Captured { service: self.service, head, expected, _permit: permit })
            }
            (None, ..) => Err(Skip::Incomplete),
        }
    }
}

impl Answer {
    /// An answer that can be compared.
    ///
    /// # Errors
    /// Says why it cannot.
    pub(crate) fn new(status: u16, headers: &HeaderMap, body: Bytes) -> Result<Self, Skip> {
        Ok(Self { head: AnswerHead::new(status, headers)?, body })
    }
}

impl AnswerHead {
    fn new(status: u16, headers: &HeaderMap) -> Result<Self, Skip> {
        let is_encoded =
            headers.get(header::CONTENT_ENCODING).is_some_and(|value| value != "identity");
        if is_encoded || status == 101 || status == 206 || status == 304 {
            return Err(Skip::NotComparable);
        }
        let text = |name: HeaderName| {
            headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        Ok(Self {
            status,
            content_type: text(header::CONTENT_TYPE),
            location: text(header::LOCATION),
        })
    }

    fn as_compared(&self) -> compare::Head<'_> {
        compare::Head {
            status: self.status,
            content_type: self.content_type.as_deref(),
            location: self.location.as_deref(),
        }
    }
}

impl Rules {
    /// The rules of a route; `None` when a pointer is malformed, which `Config::parse` refuses.
    pub(crate) fn new(shadow: &routes::Shadow) -> Option<Self> {
        let body = compare::Rules::new(&shadow.ignore, &shadow.unordered).ok()?;
        Some(Self { sample: shadow.sample, noise: shadow.noise, body_max: shadow.max_body, body })
    }
}

impl Found {
    fn one(pointer: &str, kind: &'static str, (expected, actual): (String, String)) -> Self {
        let pointer = pointer.to_owned();
        Self { total: 1, differences: vec![Difference { pointer, kind, expected, actual }] }
    }
}

fn hash_text(hash: Option<compare::ValueHash>) -> String {
    hash.map_or_else(String::new, |hash| hash.to_string())
}

/// Where two answers differ; `None` when they do not.
pub(crate) fn differences(
    expected: &Answer,
    actual: &Answer,
    rules: &Rules,
    key: compare::HashKey,
) -> Option<Found> {
    let heads = (expected.head.as_compared(), actual.head.as_compared());
    if let Some(difference) = compare::compare_heads(heads.0, heads.1, key) {
        let (name, values) = match difference {
            compare::HeadDifference::Status { expected, actual } => {
                ("status", (expected.to_string(), actual.to_string()))
            }
            compare::HeadDifference::ContentType => ("content-type", <_>::default()),
            compare::HeadDifference::Location { expected, actual } => {
                ("location", (hash_text(expected), hash_text(actual)))
            }
        };
        return Some(Found::one(name, "head", values));
    }
    let content_type = heads.0.content_type;
    match compare::compare(&expected.body, &actual.body, content_type, &rules.body, key) {
        compare::Outcome::Equal => None,
        compare::Outcome::Bytes => {
            let hash = |body: &Bytes| key.of_bytes(body).to_string();
            Some(Found::one("", "bytes", (hash(&expected.body), hash(&actual.body))))
        }
        compare::Outcome::Different { differences, count } => {
            let found = differences.into_iter().map(|difference| Difference {
                pointer: difference.pointer,
                kind: difference.kind.as_str(),
                expected: hash_text(difference.expected),
                actual: hash_text(difference.actual),
            });
            Some(Found { total: count, differences: found.collect() })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, time::Duration};

    use http::HeaderValue;
    use tokio::sync::Semaphore;

    use super::*;

    const BODY_MAX: usize = 1024;
    const KEY: compare::HashKey = compare::HashKey([7; 16]);

    fn capture() -> Capture {
        let second = Duration::from_secs(1);
        let service = Arc::new(Upstream::new(
            routes::Upstream {
                name: "ticket".to_owned(),
                peers: vec![SocketAddr::from(([127, 0, 0, 1], 1))],
                database: None,
                owner_database: None,
                timeouts: routes::Timeouts { read: second, ..routes::Timeouts::default() },
                health: None,
                tls: None,
                protocol: routes::Protocol::Http1,
                resilience: routes::Resilience::default(),
            },
            None,
        ));
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().ok();
        let mut capture = Capture::new(service, BODY_MAX, permit);
        let mut request = RequestHeader::build("GET", b"/a?b=c", None).expect("a request");
        for (name, value) in [("cookie", "s=1"), ("accept-encoding", "br"), ("if-none-match", "x")]
        {
            request.insert_header(name, value).expect("a header");
        }
        capture.head(&request);
        capture
    }

    fn answer(body: &'static str) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Answer::new(200, &headers, Bytes::from_static(body.as_bytes())).expect("comparable")
    }

    #[test]
    fn a_whole_exchange_is_kept_with_its_credentials_and_without_conditions() {
        let mut capture = capture();
        capture.answer_head(200, &HeaderMap::new());
        capture.answer_body(Some(&Bytes::from_static(b"ab")), false);
        capture.answer_body(Some(&Bytes::from_static(b"c")), true);
        let Captured { head, expected: answer, .. } = capture.finish().expect("whole");
        assert_eq!(head.path_and_query, "/a?b=c");
        assert_eq!(head.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["cookie"]);
        assert_eq!((answer.head.status, &answer.body[..]), (200, &b"abc"[..]));
    }

    #[test]
    fn an_answer_cut_off_or_too_large_or_encoded_is_left_out() {
        let mut cut_off = capture();
        cut_off.answer_head(200, &HeaderMap::new());
        cut_off.answer_body(Some(&Bytes::from_static(b"ab")), false);
        assert_eq!(cut_off.finish().err(), Some(Skip::Incomplete));
        let mut large = capture();
        large.answer_body(Some(&Bytes::from(vec![0; BODY_MAX + 1])), true);
        assert_eq!(large.finish().err(), Some(Skip::BodyTooLarge));
        let mut encoded = capture();
        let headers =
            HeaderMap::from_iter([(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))]);
        encoded.answer_head(200, &headers);
        encoded.answer_body(None, true);
        assert_eq!(encoded.finish().err(), Some(Skip::NotComparable));
    }

    #[test]
    fn differences_name_the_place_and_the_kind_and_no_value() {
        let shadow = routes::Shadow {
            sample: 1.0,
            noise: 0.0,
            ignore: vec!["/time".to_owned()],
            unordered: Vec::new(),
            max_body: 1024,
        };
        let rules = Rules::new(&shadow).expect("valid pointers");
        let expected = answer(r#"{"title":"a","time":1}"#);
        assert_eq!(differences(&expected, &answer(r#"{"time":2,"title":"a"}"#), &rules, KEY), None);
        let found = differences(&expected, &answer(r#"{"title":"secret"}"#), &rules, KEY);
        let found = found.expect("they differ");
        let [place] = found.differences.as_slice() else { panic!("{found:?}") };
        assert_eq!((place.pointer.as_str(), place.kind), ("/title", "value"));
        assert_eq!((place.expected.len(), place.actual.len()), (16, 16), "hashes");
        assert!(!format!("{found:?}").contains("secret"));
        let mut moved = answer("{}");
        moved.head.status = 404;
        let found = differences(&expected, &moved, &rules, KEY).expect("they differ");
        assert_eq!(found, Found::one("status", "head", ("200".to_owned(), "404".to_owned())));
    }
}
