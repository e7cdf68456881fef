//! Requests that Ficus makes itself: health checks and shadows. They reach a peer the same way as
//! requests of downstreams do, TLS and HTTP/2 included, but over connections of their own.

use std::fmt;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Uri, header};
use pingora::{
    connectors::http::Connector, http::RequestHeader, protocols::http::client::HttpSession,
    upstreams::peer::HttpPeer,
};

use super::Peer;

/// Asks with GET. Has a pool of connections that nothing else uses.
pub(crate) struct Asker(Connector);

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Why there is no whole answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// Nobody answered, or not in HTTP.
    #[error("the peer did not answer")]
    Unreachable(#[source] Box<pingora::Error>),
    /// The peer's certificates are not there.
    #[error("the peer's certificates could not be read yet")]
    NoCredentials,
    /// The answer is longer than was asked for.
    #[error("the answer is too long")]
    TooLong,
}

impl From<Box<pingora::Error>> for AskError {
    fn from(error: Box<pingora::Error>) -> Self {
        Self::Unreachable(error)
    }
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asker")
    }
}

impl Asker {
    pub(crate) fn new() -> Self {
        Self(Connector::new(None))
    }

    /// Asks a peer for a path, and once more when a kept connection turns out to be closed.
    ///
    /// # Errors
    /// When there is no answer of at most `body_max` bytes.
    pub(crate) async fn ask(
        &self,
        peer: &Peer,
        path: &str,
        headers: &HeaderMap,
        body_max: usize,
    ) -> Result<Answered, AskError> {
        let target = peer.to_http_peer(None).ok_or(AskError::NoCredentials)?;
        let (session, was_kept) = self.0.get_http_session(&*target).await?;
        let head = request(peer, path, headers, &session)?;
        match self.exchange(session, &target, head, body_max).await {
            Err(AskError::Unreachable(_)) if was_kept => {}
            outcome => return outcome,
        }
        let (session, _) = self.0.get_http_session(&*target).await?;
        let head = request(peer, path, headers, &session)?;
        self.exchange(session, &target, head, body_max).await
    }

    async fn exchange(
        &self,
        mut session: HttpSession,
        target: &HttpPeer,
        request: RequestHeader,
        body_max: usize,
    ) -> Result<Answered, AskError> {
        let timeouts = &target.options;
        session.set_read_timeout(timeouts.read_timeout);
        session.set_write_timeout(timeouts.write_timeout);
        session.write_request_header(Box::new(request)).await?;
        session.finish_request_body().await?;
        let (status, headers) = loop {
            session.read_response_header().await?;
            match session.response_header() {
                Some(head) if !head.status.is_informational() => {
                    break (head.status.as_u16(), head.headers.clone());
                }
                Some(_) | None => {}
            }
        };
        let mut body = BytesMut::new();
        while let Some(part) = session.read_response_body().await? {
            if body.len() + part.len() > body_max {
                session.shutdown().await;
                return Err(AskError::TooLong);
            }
            body.extend_from_slice(&part);
        }
        if let HttpSession::H1(session) = &mut session {
            session.respect_keepalive();
        }
        self.0.release_http_session(session, target, target.options.idle_timeout).await;
        Ok(Answered { status, headers, body: body.freeze() })
    }
}

/// The head as the session's version wants it.
fn request(
    peer: &Peer,
    path: &str,
    headers: &HeaderMap,
    session: &HttpSession,
) -> pingora::Result<RequestHeader> {
    let mut request = RequestHeader::build("GET", path.as_bytes(), None)?;
    for (name, value) in headers {
        request.append_header(name, value)?;
    }
    if !request.headers.contains_key(header::HOST) {
        request.insert_header(header::HOST, peer.address.to_string())?;
    }
    if session.as_http2().is_some() {
        let host = request.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let scheme = if peer.has_tls() { "https" } else { "http" };
        let uri = Uri::builder().scheme(scheme).authority(host.unwrap_or_default());
        if let Ok(uri) = uri.path_and_query(path).build() {
            request.set_uri(uri);
        }
        request.remove_header(&header::HOST);
        request.set_version(http::Version::HTTP_2);
    }
    Ok(request)
}
