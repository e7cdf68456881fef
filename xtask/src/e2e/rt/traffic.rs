//! Real traffic: browsers and programs at once, and what administrators run from cron, until so many
//! requests were sent.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::browse::Browser;
use super::packages::{CRONTOOL, INDEXER};
use super::page::Session;
use super::rest::Program;
use super::tracker::Tracker;
use crate::workload::Counts;

/// Clients of each kind.
const BROWSERS: u64 = 3;
const PROGRAMS: u64 = 1;

/// Pause between two runs of what cron runs.
const CRON_EVERY: Duration = Duration::from_secs(10);

/// Longest pause of a client between two actions.
const PAUSE_MAX_MS: u64 = 200;

/// Running traffic.
#[derive(Debug)]
pub(super) struct Traffic {
    pub(super) counts: Arc<Counts>,
    wanted: u64,
    cron: CancellationToken,
    clients: JoinSet<()>,
    jobs: JoinSet<()>,
}

impl Traffic {
    /// Starts all clients against the proxy at `url`; they end by themselves after `wanted` requests.
    pub(super) fn start(url: &str, tracker: Arc<Tracker>, wanted: u64) -> anyhow::Result<Self> {
        let (counts, url) = (Arc::new(Counts::default()), Arc::from(url));
        let (mut clients, mut jobs) = (JoinSet::new(), JoinSet::new());
        for number in 0..BROWSERS + PROGRAMS {
            let session = Session::new(Arc::clone(&url), Arc::clone(&counts), number)?;
            let counts = Arc::clone(&counts);
            let client = if number < BROWSERS {
                Client::Browser(Browser::new(session))
            } else {
                Client::Program(Program::new(session))
            };
            clients.spawn(drive(client, number, counts, wanted));
        }
        let cron = CancellationToken::new();
        jobs.spawn(run_cron(tracker, Arc::clone(&counts), cron.clone()));
        Ok(Self { counts, wanted, cron, clients, jobs })
    }

    /// Waits until this share of all requests was sent.
    pub(super) async fn reached(&self, percent: u64, within: Duration) -> anyhow::Result<()> {
        let share = self.wanted * percent / 100;
        testkit::wait_until(within, || async {
            Ok((self.counts.requests() >= share).then_some(()))
        })
        .await
    }

    /// Waits for all clients, then ends the jobs, each after its run.
    pub(super) async fn finish(mut self) -> Arc<Counts> {
        while self.clients.join_next().await.is_some() {}
        self.cron.cancel();
        while self.jobs.join_next().await.is_some() {}
        self.counts
    }
}

#[derive(Debug)]
enum Client {
    Browser(Browser),
    Program(Program),
}

impl Client {
    async fn log_in(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Browser(browser) => browser.log_in().await,
            Self::Program(program) => program.log_in().await,
        }
    }

    async fn act(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Browser(browser) => browser.act().await,
            Self::Program(program) => program.act().await,
        }
    }
}

async fn drive(mut client: Client, number: u64, counts: Arc<Counts>, wanted: u64) {
    let mut is_signed_in = false;
    while counts.requests() < wanted {
        let outcome = if is_signed_in { client.act().await } else { client.log_in().await };
        match outcome {
            Ok(()) => is_signed_in = true,
            Err(error) => counts.failure(format!("client {number}: {error:#}")),
        }
        let pause = rand::rng().random_range(0..=PAUSE_MAX_MS);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

/// The full-text index is kept current, and tickets that wait get a higher priority.
async fn run_cron(tracker: Arc<Tracker>, counts: Arc<Counts>, stop: CancellationToken) {
    let raise = [
        "--search",
        "RT::Search::FromSQL",
        "--search-arg",
        "Status = 'new'",
        "--action",
        "RT::Action::SetPriority",
        "--action-arg",
        "77",
    ];
    let mut next = Instant::now();
    loop {
        next += CRON_EVERY;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep_until(next) => {}
        }
        for (program, arguments) in [(INDEXER, &["--quiet"][..]), (CRONTOOL, &raise[..])] {
            if let Err(error) = tracker.run(program, arguments).await {
                counts.failure(format!("{error:#}"));
            }
        }
        next = next.max(Instant::now());
    }
}
