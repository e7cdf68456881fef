//! Answers the proxy gives itself: RFC 9457 documents.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use pingora::{http::ResponseHeader, protocols::http::ServerSession};
use serde::Serialize;

/// Seconds after which a downstream may ask again.
const RETRY_AFTER: u64 = 1;

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) status: u16,
    /// Last part of the type URI.
    pub(crate) kind: &'static str,
    pub(crate) detail: String,
    pub(crate) retry: bool,
    /// Further header fields.
    fields: Vec<(HeaderName, HeaderValue)>,
}

#[derive(Serialize)]
struct Document<'p> {
    r#type: String,
    title: &'p str,
    status: u16,
    detail: &'p str,
}

impl Problem {
    pub(crate) fn new(status: u16, kind: &'static str, detail: impl Into<String>) -> Self {
        Self { status, kind, detail: detail.into(), retry: false, fields: Vec::new() }
    }

    /// Tells the downstream to try again.
    pub(crate) fn with_retry(mut self) -> Self {
        self.retry = true;
        self
    }

    /// Adds a header field.
    pub(crate) fn with_field(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.fields.push((name, value));
        self
    }

    fn body(&self) -> Bytes {
        let title = self.title();
        let document = Document {
            r#type: format!("urn:ficus:problem:{}", self.kind),
            title,
            status: self.status,
            detail: &self.detail,
        };
        Bytes::from(serde_json::to_vec(&document).unwrap_or_default())
    }

    /// Head and body for a downstream whose request was never read to its end; closes the connection.
    pub(crate) fn raw(&self, is_head: bool) -> Vec<u8> {
        let body = self.body();
        let title = self.title();
        let mut raw = format!(
            "HTTP/1.1 {} {title}\r\nContent-Type: application/problem+json\r\nContent-Length: {}\r\n\
             Cache-Control: no-store\r\nConnection: close\r\n\r\n",
            self.status,
            body.len()
        )
        .into_bytes();
        if !is_head {
            raw.extend_from_slice(&body);
        }
        raw
    }

    fn title(&self) -> &'static str {
        http::StatusCode::from_u16(self.status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or("Error")
    }

    /// Sends it. The connection stays usable when the rest of the request can be read soon.
    ///
    /// # Errors
    /// When the downstream cannot be written to.
    pub(crate) async fn send(&self, session: &mut ServerSession) -> pingora::Result<()> {
        if session.response_written().is_some() {
            return Ok(());
        }
        let body = self.body();
        let is_head = session.req_header().method == http::Method::HEAD;
        let mut response = ResponseHeader::build(self.status, Some(4))?;
        response.insert_header(header::CONTENT_TYPE, "application/problem+json")?;
        response.insert_header(header::CONTENT_LENGTH, body.len())?;
        response.insert_header(header::CACHE_CONTROL, "no-store")?;
        if self.retry {
            response.insert_header(header::RETRY_AFTER, RETRY_AFTER)?;
        }
        for (name, value) in &self.fields {
            response.append_header(name.clone(), value.clone())?;
        }
        session.write_response_header(Box::new(response)).await?;
        if is_head {
            session.finish_body().await
        } else {
            session.write_response_body(body, true).await
        }
    }
}

/// Answers a preflight, which has no body.
///
/// # Errors
/// When the downstream cannot be written to.
pub(crate) async fn send_preflight(
    session: &mut ServerSession,
    fields: &[(HeaderName, HeaderValue)],
) -> pingora::Result<()> {
    let mut response = ResponseHeader::build(204, Some(fields.len()))?;
    for (name, value) in fields {
        response.append_header(name.clone(), value.clone())?;
    }
    session.write_response_header(Box::new(response)).await?;
    session.finish_body().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_an_rfc_9457_document() {
        let body = Problem::new(503, "held", "the gate is full").with_retry().body();
        assert_eq!(
            std::str::from_utf8(&body).expect("text"),
            r#"{"type":"urn:ficus:problem:held","title":"Service Unavailable","status":503,"detail":"the gate is full"}"#
        );
    }
}
