//! JSON bodies that a policy changes: each is kept until it is complete, changed, and sent on. Until
//! then nothing of it leaves, so that a body that cannot be changed is never seen half changed.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, StatusCode, header};
use routes::JsonChanges;

use crate::{
    answer::Problem,
    json_body::{ChangeError, Changes},
};

/// Fields about the bytes of a body, which are not those of the changed one.
static ABOUT_BYTES: [HeaderName; 6] = [
    header::CONTENT_LENGTH,
    header::ACCEPT_RANGES,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

/// How bodies are changed.
#[derive(Debug)]
pub(crate) struct BodyRule {
    changes: Changes,
    max: usize,
}

/// One body on its way.
#[derive(Debug)]
pub(crate) struct ChangedBody {
    rule: Arc<BodyRule>,
    bytes: BytesMut,
}

/// Why a body cannot be changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the body is longer than {0} bytes")]
    TooLong(usize),
    #[error("the body is not JSON by its Content-Type")]
    OtherType,
    #[error("the body is compressed")]
    Encoded,
    #[error(transparent)]
    Unchangeable(#[from] ChangeError),
}

impl BodyRule {
    /// The rule a policy names; `None` when a value is not JSON, which `Config::parse` refuses.
    pub(crate) fn new(config: &JsonChanges) -> Option<Self> {
        let mut changes = Changes::default();
        if let Some(pointer) = &config.unwrap {
            changes.unwrap(pointer);
        }
        for pointer in &config.remove {
            changes.remove(pointer);
        }
        for (pointer, name) in &config.rename {
            changes.rename(pointer, name);
        }
        for (pointer, json) in &config.set {
            changes.set(pointer, json).ok()?;
        }
        if let Some(name) = &config.wrap {
            changes.wrap(name);
        }
        Some(Self { changes, max: config.max })
    }

    /// Begins to change a body with this head.
    ///
    /// # Errors
    /// When it can be told already that it cannot be changed.
    pub(crate) fn begin(self: &Arc<Self>, headers: &HeaderMap) -> Result<ChangedBody, BodyError> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        if !text(header::CONTENT_TYPE).is_some_and(is_json) {
            return Err(BodyError::OtherType);
        }
        let is_plain = |value: &str| value.trim().eq_ignore_ascii_case("identity");
        if headers.contains_key(header::CONTENT_ENCODING)
            && !text(header::CONTENT_ENCODING).is_some_and(is_plain)
        {
            return Err(BodyError::Encoded);
        }
        let length = text(header::CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
        if length.is_some_and(|length| length > self.max) {
            return Err(BodyError::TooLong(self.max));
        }
        Ok(ChangedBody { rule: Arc::clone(self), bytes: BytesMut::new() })
    }
}

impl ChangedBody {
    /// Begins again, because the request is sent again.
    pub(crate) fn restart(&mut self) {
        self.bytes.clear();
    }

    /// Takes the next part; at the end gives the whole changed body in its place.
    ///
    /// # Errors
    /// When the body turns out to be too long or not to be JSON.
    pub(crate) fn take(&mut self, part: &mut Option<Bytes>, is_end: bool) -> Result<(), BodyError> {
        if let Some(part) = part.take() {
            if self.bytes.len() + part.len() > self.rule.max {
                return Err(BodyError::TooLong(self.rule.max));
            }
            self.bytes.extend_from_slice(&part);
        }
        if is_end && !self.bytes.is_empty() {
            *part = Some(Bytes::from(self.rule.changes.apply(&self.bytes)?));
            self.bytes.clear();
        }
        Ok(())
    }
}

impl BodyError {
    /// What a client is told whose request cannot be changed.
    pub(crate) fn of_request(&self) -> Problem {
        let (status, kind) = match self {
            Self::TooLong(_) => (413, "body-too-long"),
            Self::OtherType | Self::Encoded => (415, "body-not-json"),
            Self::Unchangeable(_) => (400, "body-not-json"),
        };
        Problem::new(status, kind, self.to_string())
    }

    /// What a client is told when the answer to it cannot be changed.
    pub(crate) fn of_answer(&self) -> Problem {
        let detail = "the answer of the upstream cannot be changed as its policy says";
        Problem::new(502, "answer-unchangeable", detail)
    }
}

/// Fields that no longer hold when a body is changed.
pub(crate) fn about_bytes() -> &'static [HeaderName] {
    &ABOUT_BYTES
}

/// Whether an answer with this status has a body.
pub(crate) fn has_body(method: &http::Method, status: StatusCode) -> bool {
    *method != http::Method::HEAD
        && !status.is_informational()
        && !matches!(
            status,
            StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
        )
}

/// `application/json` and `application/…+json`, in UTF-8 as RFC 8259 wants it.
fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let is_json = essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"));
    let other_charset = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        name.trim().eq_ignore_ascii_case("charset")
            && !value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
    };
    is_json && !parts.any(other_charset)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use http::HeaderValue;

    use super::*;

    fn rule(max: usize) -> Arc<BodyRule> {
        let rename = BTreeMap::from([("/name".to_owned(), "title".to_owned())]);
        let config = JsonChanges {
            max,
            unwrap: None,
            remove: vec!["/secret".to_owned()],
            rename,
            set: BTreeMap::new(),
            wrap: None,
        };
        Arc::new(BodyRule::new(&config).expect("a rule"))
    }

    fn head(fields: &[(HeaderName, &'static str)]) -> HeaderMap {
        let field = |(name, value): &(HeaderName, &'static str)| {
            (name.clone(), HeaderValue::from_static(value))
        };
        fields.iter().map(field).collect()
    }

    fn json() -> HeaderMap {
        head(&[(header::CONTENT_TYPE, "application/json")])
    }

    #[test]
    fn a_body_leaves_once_and_as_a_whole() {
        let mut body = rule(100).begin(&json()).expect("JSON");
        let mut part = Some(Bytes::from_static(br#"{"name":1.0,"#));
        body.take(&mut part, false).expect("room");
        assert_eq!(part, None);
        part = Some(Bytes::from_static(br#""secret":2}"#));
        body.take(&mut part, false).expect("room");
        assert_eq!(part, None);
        body.take(&mut part, true).expect("JSON");
        assert_eq!(part.as_deref(), Some(&br#"{"title":1.0}"#[..]));
    }

    #[test]
    fn a_body_that_is_sent_again_is_not_doubled() {
        let mut body = rule(100).begin(&json()).expect("JSON");
        let whole = || Some(Bytes::from_static(br#"{"name":1}"#));
        body.take(&mut whole(), false).expect("room");
        body.restart();
        let mut part = whole();
        body.take(&mut part, true).expect("JSON");
        assert_eq!(part.as_deref(), Some(&br#"{"title":1}"#[..]));
    }

    #[test]
    fn a_body_beyond_the_bound_is_refused_however_it_comes() {
        let told =
            head(&[(header::CONTENT_TYPE, "application/json"), (header::CONTENT_LENGTH, "11")]);
        assert!(matches!(rule(10).begin(&told), Err(BodyError::TooLong(10))));
        let mut body = rule(10).begin(&json()).expect("JSON");
        let mut part = Some(Bytes::from_static(b"[1,2,3"));
        body.take(&mut part, false).expect("room");
        part = Some(Bytes::from_static(b",4,5]"));
        let refused = body.take(&mut part, true).expect_err("too long");
        assert_eq!(refused.of_request().status, 413);
    }

    #[test]
    fn only_plain_json_is_changed() {
        let begins = |fields: &[(HeaderName, &'static str)]| rule(10).begin(&head(fields)).is_ok();
        for value in
            ["application/json", "application/problem+json; charset=\"UTF-8\"", "Application/JSON"]
        {
            assert!(begins(&[(header::CONTENT_TYPE, value)]), "{value}");
        }
        for value in
            ["text/plain", "application/jsonp", "text/json", "application/json; charset=utf-16"]
        {
            assert!(!begins(&[(header::CONTENT_TYPE, value)]), "{value}");
        }
        assert!(!begins(&[]));
        let json = (header::CONTENT_TYPE, "application/json");
        assert!(!begins(&[json.clone(), (header::CONTENT_ENCODING, "gzip")]));
        assert!(begins(&[json, (header::CONTENT_ENCODING, "identity")]));
    }

    #[test]
    fn what_is_not_json_after_all_is_a_bad_request() {
        let mut body = rule(100).begin(&json()).expect("JSON");
        let mut part = Some(Bytes::from_static(b"name=1"));
        let refused = body.take(&mut part, true).expect_err("not JSON");
        assert_eq!(refused.of_request().status, 400);
        assert_eq!(part, None);
    }

    #[test]
    fn an_empty_body_stays_empty() {
        let mut body = rule(100).begin(&json()).expect("JSON");
        let mut part = None;
        body.take(&mut part, true).expect("nothing to change");
        assert_eq!(part, None);
    }
}
