//! What a request and the connection it came on tell each other, past the library between them.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures::task::AtomicWaker;
use http_rules::body::BodyFault;
use routes::Limits;

use super::ClientCertificate;

tokio::task_local! {
    static LINE: Arc<Line>;
}

/// Time in which the pace of a body is not judged.
const GRACE: Duration = Duration::from_secs(10);

/// One request's line to its connection.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// The answer is 101: what follows is no HTTP.
    tunnel: AtomicBool,
    /// Wakes the reader of the connection when that is said.
    pub(super) reader: AtomicWaker,
    fault: OnceLock<BodyError>,
    /// Bytes of the body that arrived.
    received: AtomicU64,
    /// No other request is taken on the connection.
    is_last: bool,
    /// What the client proved to be, by TLS.
    client: Option<Arc<ClientCertificate>>,
    /// The upstream is waiting for the body.
    wanted: AtomicBool,
    /// The body's pace does not matter, or not any more.
    at_ease: AtomicBool,
}

/// Why a body was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    /// It breaks the grammar.
    #[error(transparent)]
    Malformed(#[from] BodyFault),
    /// It arrives too slowly.
    #[error("the body of the request arrives too slowly")]
    Slow,
}

impl Line {
    pub(super) fn of(client: Option<Arc<ClientCertificate>>, is_last: bool) -> Self {
        Self { client, is_last, ..Self::default() }
    }

    /// Whether the answer must say that the connection ends. The library lets the request decide about
    /// that when it reads the head, so it has to be told again afterwards.
    pub(crate) fn is_last(&self) -> bool {
        self.is_last
    }

    /// The certificate the client showed, verified.
    pub(crate) fn client(&self) -> Option<&ClientCertificate> {
        self.client.as_deref()
    }

    /// The line of the request that the running task serves.
    pub(crate) fn current() -> Arc<Self> {
        LINE.try_with(Arc::clone).unwrap_or_default()
    }

    /// Serves a request whose line this is.
    pub(super) async fn scope<F: Future>(self: Arc<Self>, served: F) -> F::Output {
        LINE.scope(self, served).await
    }

    /// The upstream switched protocols.
    pub(crate) fn open_tunnel(&self) {
        self.tunnel.store(true, Relaxed);
        self.at_ease.store(true, Relaxed);
        self.reader.wake();
    }

    pub(super) fn is_tunnel(&self) -> bool {
        self.tunnel.load(Relaxed)
    }

    pub(super) fn give_up(&self, error: BodyError) {
        // Only the first reason counts.
        if self.fault.set(error).is_err() {
            tracing::debug!(%error, "the body was given up before");
        }
    }

    /// Why the body was given up, if it was.
    pub(crate) fn fault(&self) -> Option<BodyError> {
        self.fault.get().copied()
    }

    /// The request was sent to an upstream, which now waits for the body.
    pub(crate) fn want_body(&self) {
        self.wanted.store(true, Relaxed);
    }

    /// A piece of the body arrived. Returns how much did so far.
    pub(crate) fn note_body(&self, bytes: usize, is_end: bool) -> u64 {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        if is_end {
            self.at_ease.store(true, Relaxed);
        }
        self.received.fetch_add(bytes, Relaxed).saturating_add(bytes)
    }

    /// The upstream answers, or the request is a stream that may be silent: no hurry any more.
    pub(crate) fn be_at_ease(&self) {
        self.at_ease.store(true, Relaxed);
    }

    pub(super) fn is_at_ease(&self) -> bool {
        self.at_ease.load(Relaxed)
    }

    /// Completes when a body on HTTP/2 arrives too slowly. (On HTTP/1 the connection itself looks.)
    pub(super) async fn stalled(&self, limits: &Limits) {
        let window = GRACE.min(limits.body_idle).max(Duration::from_millis(100));
        let least = least_bytes(limits.body_rate, window);
        let mut silent = Duration::ZERO;
        loop {
            let (began_wanted, before) = (self.wanted.load(Relaxed), self.received.load(Relaxed));
            tokio::time::sleep(window).await;
            if self.is_at_ease() {
                return std::future::pending().await;
            }
            let received = self.received.load(Relaxed) - before;
            silent = if began_wanted && received == 0 { silent + window } else { Duration::ZERO };
            let is_slow = began_wanted && received > 0 && received < least;
            if is_slow || silent >= limits.body_idle {
                self.give_up(BodyError::Slow);
                return;
            }
        }
    }
}

/// Whether so many bytes are too few for so much waiting.
pub(super) fn is_too_slow(received: u64, waited: Duration, rate: usize) -> bool {
    waited > GRACE && received < least_bytes(rate, waited)
}

fn least_bytes(rate: usize, time: Duration) -> u64 {
    let rate = u64::try_from(rate).unwrap_or(u64::MAX);
    rate.saturating_mul(time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_too_slow_only_after_the_grace_and_below_the_rate() {
        let seconds = Duration::from_secs;
        assert!(!is_too_slow(0, seconds(10), 256));
        assert!(is_too_slow(20 * 256 - 1, seconds(20), 256));
        assert!(!is_too_slow(20 * 256, seconds(20), 256));
        assert!(!is_too_slow(0, seconds(20), 0));
    }
}
