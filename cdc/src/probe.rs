//! Asks the database a stream reads from how far it is and how much log it keeps: for barriers, for the
//! status, for the budget, and to keep an idle stream moving.

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
    wal::{self, WalWatch},
};

/// How often the status is brought up to date.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// An idle stream is kept moving this often.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(10);

/// A database that does not answer for so long counts as unknown.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Questions that may wait.
const ASKS_MAX: usize = 1024;

/// How long a barrier waits for the stream to pass by itself, before it writes to the log of the
/// database that is read: on a busy one others write, on an idle one the server tells its position.
const BY_ITSELF_WITHIN: Duration = Duration::from_millis(25);

type Answer = oneshot::Sender<Result<Lsn, BarrierError>>;

/// A question to the database that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    /// How far it has written.
    Position,
    /// The same, after it has written and flushed a mark.
    Mark,
}

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
    asks: mpsc::Sender<(Question, Answer)>,
}

/// The asking task of one stream.
#[derive(Debug)]
pub(crate) struct Probe {
    shared: Arc<StreamShared>,
    asks: mpsc::Receiver<(Question, Answer)>,
    client: Option<Client>,
    wal: WalWatch,
    began_at: Instant,
}

impl BarrierHandle {
    /// Waits until everything that was committed before this call on the side that is read has been
    /// applied; answers the position.
    ///
    /// # Errors
    /// [`BarrierError`]: it is not known to be applied then.
    pub(crate) async fn wait(&self, timeout: Duration) -> Result<Lsn, BarrierError> {
        let limit = Instant::now() + timeout;
        self.check()?;
        let late = |wanted| BarrierError::Timeout { timeout, wanted };
        let wanted = tokio::time::timeout_at(limit, self.ask(Question::Position))
            .await
            .map_err(|_| late(Lsn::MAX))??;
        let by_itself = limit.min(Instant::now() + BY_ITSELF_WITHIN);
        if let Some(position) = self.reached(wanted, by_itself).await {
            return Ok(position);
        }
        let wanted = tokio::time::timeout_at(limit, self.ask(Question::Mark))
            .await
            .map_err(|_| late(wanted))??;
        if let Some(position) = self.reached(wanted, limit).await {
            return Ok(position);
        }
        self.check()?;
        Err(late(wanted))
    }

    async fn ask(&self, question: Question) -> Result<Lsn, BarrierError> {
        let gone = || BarrierError::Unknown("the replicator is stopping".to_owned());
        let (answer, answered) = oneshot::channel();
        self.asks.send((question, answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// The stream's position once it is `wanted`, unless that takes too long.
    async fn reached(&self, wanted: Lsn, limit: Instant) -> Option<Lsn> {
        let mut position = self.shared.position();
        let reached = position.wait_for(|position| *position >= wanted);
        let position = tokio::time::timeout_at(limit, reached).await.ok()?.ok()?;
        Some(*position)
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
        let wal = WalWatch::new(shared.spec.wal_budget);
        (Self { shared, asks, client: None, wal, began_at: Instant::now() }, handle)
    }

    /// Answers until stopped.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut sample = tokio::time::interval(SAMPLE_EVERY);
        sample.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut moved_at = (Lsn::ZERO, Instant::now());
        loop {
            tokio::select! {
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

    /// One question to the database answers everybody who asked it before.
    async fn answer(&mut self, first: (Question, Answer)) {
        let mut waiting = vec![first];
        while let Ok(ask) = self.asks.try_recv() {
            waiting.push(ask);
        }
        let (marks, positions): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|(question, _)| *question == Question::Mark);
        for (question, waiting) in [(Question::Position, positions), (Question::Mark, marks)] {
            if waiting.is_empty() {
                continue;
            }
            let result = self.timed(async |client| position(client, question).await).await;
            let result = result.map_err(BarrierError::Unknown);
            for (_, answer) in waiting {
                drop(answer.send(result.clone()));
            }
        }
    }

    async fn sample(&mut self) {
        if self.shared.state() == State::Absent {
            self.shared.sampled(None);
            return;
        }
        let slot = self.shared.spec.slot();
        let reading = self.timed(async |client| wal::read(client, &slot).await).await.ok();
        let now = self.began_at.elapsed();
        let assessed = self.wal.assess(now, reading.as_ref().and_then(|it| it.slot.as_ref()));
        self.shared.sampled(reading.map(|reading| (reading, assessed)));
        let is_copying = self.shared.state() == State::Copying;
        let given_up = assessed.and_then(|it| self.wal.give_up(now, &it, is_copying));
        if let Some(why) = given_up {
            self.shared.give_up(why);
        }
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

/// A position after everything that is committed now. A mark is a small transaction of our own: it is
/// flushed, with everything before it, when this returns, and wakes the server's sender.
async fn position(client: &Client, question: Question) -> Result<Lsn, tokio_postgres::Error> {
    let sql = match question {
        Question::Position => "SELECT pg_current_wal_insert_lsn()",
        Question::Mark => "SELECT pg_logical_emit_message(true, 'ficus.heartbeat', '')",
    };
    Ok(lsn(client.query_one(sql, &[]).await?.get(0)))
}

async fn heartbeat(client: &Client) -> Result<(), tokio_postgres::Error> {
    let sql = "SELECT pg_logical_emit_message(false, 'ficus.heartbeat', '')";
    client.query_one(sql, &[]).await.map(drop)
}

fn lsn(value: PgLsn) -> Lsn {
    Lsn::new(value.into())
}
