//! Mixed traffic through the proxy: API clients, browsers, and clients that hang up early. Every
//! acknowledged write goes into the ledger; every answer that an end user would call wrong is a failure.

mod agent;
mod hangup;
mod session;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::ledger::Ledger;

/// What to send, and where.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    /// `http://` address of the proxy.
    pub url: String,
    /// Tickets that exist before the run and that every client may read and write.
    pub tickets: Vec<u64>,
    /// API clients.
    pub clients: usize,
    /// Browsers with cookies.
    pub browsers: usize,
    /// Clients that leave before the answer.
    pub hangups: usize,
    /// Pause between two requests of one client.
    pub pace: Duration,
    /// Told apart in markers from other runs over the same databases.
    pub run: String,
}

/// What has been counted so far; shared by all clients.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    requests: AtomicU64,
    failed: AtomicU64,
    failures: std::sync::Mutex<Vec<String>>,
}

/// Failures kept with their text.
const FAILURES_MAX: usize = 50;

impl Counts {
    /// One more request was answered or given up.
    pub(crate) fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// One request went wrong for its user.
    pub(crate) fn failure(&self, what: String) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut failures = self.failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if failures.len() < FAILURES_MAX {
            failures.push(what);
        }
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Failures so far.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// The first failures' texts.
    pub(crate) fn failures(&self) -> Vec<String> {
        self.failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

/// Running traffic.
#[derive(Debug)]
pub(crate) struct Traffic {
    pub counts: Arc<Counts>,
    pub ledger: Arc<Ledger>,
    stop: CancellationToken,
    clients: JoinSet<()>,
}

impl Workload {
    /// Starts all clients. `tolerant`: an unanswered request or a 5xx is counted as unknown, not as a
    /// failure (for runs in which processes are killed).
    pub(crate) fn start(self, tolerant: bool) -> Traffic {
        let (counts, ledger) = (Arc::new(Counts::default()), Arc::new(Ledger::default()));
        let stop = CancellationToken::new();
        let mut clients = JoinSet::new();
        let shared = Arc::new(self);
        let total = shared.clients + shared.browsers + shared.hangups;
        for number in 0..total {
            let (load, counts, ledger) =
                (Arc::clone(&shared), Arc::clone(&counts), Arc::clone(&ledger));
            let client =
                session::Client { number, load, counts, ledger, stop: stop.clone(), tolerant };
            let (clients_end, browsers_end) = (shared.clients, shared.clients + shared.browsers);
            clients.spawn(async move {
                if number < clients_end {
                    agent::run_api(client).await;
                } else if number < browsers_end {
                    agent::run_browser(client).await;
                } else {
                    hangup::run(client).await;
                }
            });
        }
        Traffic { counts, ledger, stop, clients }
    }
}

impl Traffic {
    /// Lets every client finish its request and ends.
    pub(crate) async fn finish(mut self) -> (Arc<Counts>, Arc<Ledger>) {
        self.stop.cancel();
        while self.clients.join_next().await.is_some() {}
        (self.counts, self.ledger)
    }
}
