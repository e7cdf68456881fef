//! Asks the database a stream reads from how far it is: for barriers, for the status, and to keep an
//! idle stream moving.

use std::{sync::Arc, time::Duration};

use pg::Lsn;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior},
};
use tokio_postgres::{Client, types::PgLsn};
use tokio_util::sync::CancellationToken;

use crate::{
    StreamError, session,
    status::{State, StreamShared},
};

/// How often the status is brought up to date.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// An idle stream is kept moving this often.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(10);

/// A database that does not answer for so long counts as unknown.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Questions that may wait.
const ASKS_MAX: usize = 1024;

type Answer = oneshot::Sender<Result<Lsn, BarrierError>>;

/// Why everything committed before now is not known to be applied.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum BarrierError {
    /// The stream is not reading.
    #[error("the stream is {state}{reason}")]
    NotReading { state: &'static str, reason: String },
    /// The database that is read could not be asked.
    #[error("the position could not be read: {0}")]
    Unknown(String),
    /// It took too long.
    #[error("not applied within {timeout:?}: position {wanted} is wanted")]
    Timeout { timeout: Duration, wanted: Lsn },
}

/// Asks for barriers on one stream.
#[derive(Clone, Debug)]
pub(crate) struct BarrierHandle {
    shared: Arc<StreamShared>,
    asks: mpsc::Sender<Answer>,
}

/// The asking task of one stream.
#[derive(Debug)]
pub(crate) struct Probe {
    shared: Arc<StreamShared>,
    asks: mpsc::Receiver<Answer>,
    client: Option<Client>,
}

impl BarrierHandle {
    /// Waits until everything that was committed before this call on the side that is read has been
    /// applied; answers the position.
    ///
    /// # Errors
    /// [`BarrierError`]: it is not known to be applied then.
    pub(crate) async fn wait(&self, timeout: Duration) -> Result<Lsn, BarrierError> {
        let deadline = Instant::now() + timeout;
        self.check()?;
        let (answer, answered) = oneshot::channel();
        let gone = || BarrierError::Unknown("the replicator is stopping".to_owned());
        self.asks.send(answer).await.map_err(|_| gone())?;
        let late = |_| BarrierError::Timeout { timeout, wanted: Lsn::MAX };
        let wanted = tokio::time::timeout_at(deadline, answered)
            .await
            .map_err(late)?
            .map_err(|_| gone())??;
        let mut position = self.shared.position();
        let reached = position.wait_for(|position| *position >= wanted);
        match tokio::time::timeout_at(deadline, reached).await {
            Ok(Ok(position)) => Ok(*position),
            Ok(Err(_)) => Err(gone()),
            Err(_) => {
                self.check()?;
                Err(BarrierError::Timeout { timeout, wanted })
            }
        }
    }

    fn check(&self) -> Result<(), BarrierError> {
        let state = self.shared.state();
        match state {
            State::Streaming | State::Stopped | State::Starting | State::Retrying => Ok(()),
            State::Absent | State::Copying | State::Paused | State::Failed => {
                let reason = self.shared.report().map(|report| report.reason).unwrap_or_default();
                let reason = if reason.is_empty() { reason } else { format!(": {reason}") };
                Err(BarrierError::NotReading { state: state.as_str(), reason })
            }
        }
    }
}

impl Probe {
    pub(crate) fn new(shared: Arc<StreamShared>) -> (Self, BarrierHandle) {
        let (sender, asks) = mpsc::channel(ASKS_MAX);
        let handle = BarrierHandle { shared: Arc::clone(&shared), asks: sender };
        (Self { shared, asks, client: None }, handle)
    }

    /// Answers until stopped.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut sample = tokio::time::interval(SAMPLE_EVERY);
        sample.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut moved_at = (Lsn::ZERO, Instant::now());
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                ask = self.asks.recv() => {
                    let Some(first) = ask else { return };
                    self.answer(first).await;
                }
                _ = sample.tick() => {
                    self.sample().await;
                    self.keep_moving(&mut moved_at).await;
                }
            }
        }
    }

    /// One question to the database answers everybody who asked before it.
    async fn answer(&mut self, first: Answer) {
        let mut waiting = vec![first];
        while let Ok(ask) = self.asks.try_recv() {
            waiting.push(ask);
        }
        let position = *self.shared.position().borrow();
        let result = self.timed(async |client| mark(client, position).await).await;
        let result = result.map_err(BarrierError::Unknown);
        for ask in waiting {
            drop(ask.send(result.clone()));
        }
    }

    async fn sample(&mut self) {
        if self.shared.state() == State::Absent {
            return;
        }
        let slot = self.shared.spec.slot();
        let sample = self.timed(async |client| sample(client, &slot).await).await.ok();
        self.shared.sampled(sample);
    }

    /// Where nothing happens the server has nothing to report: give it something.
    async fn keep_moving(&mut self, moved: &mut (Lsn, Instant)) {
        let position = *self.shared.position().borrow();
        if position != moved.0 || !self.shared.state().is_reading() {
            *moved = (position, Instant::now());
        } else if moved.1.elapsed() >= HEARTBEAT_EVERY {
            moved.1 = Instant::now();
            let beat = self.timed(async |client| heartbeat(client).await).await;
            if let Err(error) = beat {
                tracing::debug!(stream = self.shared.spec.key(), error, "no heartbeat");
            }
        }
    }

    /// Runs a question on the session, connecting when there is none; the session does not outlive
    /// a failure.
    async fn timed<T>(
        &mut self,
        question: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, String> {
        let spec = Arc::clone(&self.shared.spec);
        let asked = async {
            let client = match self.client.take() {
                Some(client) if !client.is_closed() => client,
                Some(_) | None => {
                    session::open(spec.read_url(), spec.reads(), "ficus-cdc-probe").await?
                }
            };
            let answer = question(&client)
                .await
                .map_err(StreamError::database("read the position", spec.reads()))?;
            Ok::<_, StreamError>((answer, client))
        };
        match tokio::time::timeout(ANSWER_WITHIN, asked).await {
            Ok(Ok((answer, client))) => {
                self.client = Some(client);
                Ok(answer)
            }
            Ok(Err(error)) => Err(telemetry::Chain(&error).to_string()),
            Err(_) => Err(format!("no answer within {ANSWER_WITHIN:?}")),
        }
    }
}

/// A position after everything that is committed now. A stream that is not there yet gets a small
/// transaction of our own to wait for: it is flushed when this returns, and wakes the server's sender.
async fn mark(client: &Client, position: Lsn) -> Result<Lsn, tokio_postgres::Error> {
    let row = client.query_one("SELECT pg_current_wal_insert_lsn()", &[]).await?;
    let inserted = lsn(row.get(0));
    if inserted <= position {
        return Ok(inserted);
    }
    let sql = "SELECT pg_logical_emit_message(true, 'ficus.heartbeat', '')";
    Ok(lsn(client.query_one(sql, &[]).await?.get(0)))
}

async fn heartbeat(client: &Client) -> Result<(), tokio_postgres::Error> {
    let sql = "SELECT pg_logical_emit_message(false, 'ficus.heartbeat', '')";
    client.query_one(sql, &[]).await.map(drop)
}

/// How far the log is flushed, and how much of it the slot keeps.
async fn sample(client: &Client, slot: &str) -> Result<(Lsn, u64), tokio_postgres::Error> {
    let row = client
        .query_one(
            "SELECT pg_current_wal_flush_lsn(), coalesce((SELECT
                 pg_wal_lsn_diff(pg_current_wal_insert_lsn(), restart_lsn)::bigint
                 FROM pg_replication_slots WHERE slot_name = $1), 0)",
            &[&slot],
        )
        .await?;
    Ok((lsn(row.get(0)), u64::try_from(row.get::<_, i64>(1)).unwrap_or(0)))
}

fn lsn(value: PgLsn) -> Lsn {
    Lsn::new(value.into())
}
