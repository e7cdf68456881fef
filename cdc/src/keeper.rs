//! Keeps one stream running: one task owns its life, others ask through a handle.
//!
//! ```text
//! absent ──Start──> starting ──> copying ──> streaming <──> stopped
//!            ^          ^ backoff   │  │  │
//!            │          └─ retrying ┘  │  └─ paused ──Resume──> starting
//!          Drop                        └──── failed ──Resume, Start──> starting
//!
//! whatever runs ──the log budget is used up, or the log is lost──> failed, stays so over a restart
//! ```

use std::{pin::Pin, sync::Arc, time::Duration};

use cutover::StreamKind;
use rand::Rng;
use telemetry::Chain;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    StreamError,
    apply::Applier,
    apply_row::ApplyRow,
    copy,
    create::{self, Created},
    error::ErrorClass,
    mapping::{Format, TablePlan},
    metrics, resync, session,
    spec::StreamSpec,
    status::{State, StreamShared, table_statuses},
    stream::Run,
    tables::{self, LoadedTables, NewState, TableCommand, TableState},
    wal::GiveUp,
    wire::{ReplicationClient, StartOptions},
};

/// Pauses between attempts grow from the first to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How often a replicator that stands by looks for streams it was not told of.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// The first version of PostgreSQL that streams transactions before their commit, and sends values in
/// binary form.
const STREAMING_SINCE: u32 = 14;

/// Requests that may wait for the keeper.
const REQUESTS_MAX: usize = 16;

/// What the keeper can be asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Start,
    Drop,
    Pause,
    Resume,
    /// Puts one table right, named as the monolith calls it.
    Table(String, TableCommand),
}

/// Answers with the state afterwards.
type Answer = oneshot::Sender<Result<State, StreamError>>;

/// Asks the keeper of one stream.
#[derive(Clone, Debug)]
pub(crate) struct KeeperHandle {
    requests: mpsc::Sender<(Request, Answer)>,
}

/// Runs one stream.
#[derive(Debug)]
pub(crate) struct Keeper {
    shared: Arc<StreamShared>,
    requests: mpsc::Receiver<(Request, Answer)>,
    attempts: u32,
}

/// What the keeper does next.
enum Next {
    /// Runs the stream; with what its creation left, if it was just created.
    Run(Option<Created>),
    /// Runs it again after a pause.
    Retry,
    /// Looks whether another replicator was asked to start it.
    LookLater,
    /// Waits for a request.
    Rest,
}

type Work = Pin<Box<dyn Future<Output = Option<StreamError>> + Send>>;

impl KeeperHandle {
    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// [`StreamError::Worker`] when the replicator is stopping; else why it could not be done.
    pub(crate) async fn ask(&self, request: Request) -> Result<State, StreamError> {
        let (answer, answered) = oneshot::channel();
        self.requests.send((request, answer)).await.map_err(|_| StreamError::Worker)?;
        answered.await.map_err(|_| StreamError::Worker)?
    }
}

impl Keeper {
    pub(crate) fn new(shared: Arc<StreamShared>) -> (Self, KeeperHandle) {
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        (Self { shared, requests, attempts: 0 }, KeeperHandle { requests: sender })
    }

    /// Runs the stream, if there is one, and answers requests until stopped.
    pub(crate) async fn keep(mut self, stop: CancellationToken) {
        let mut work = self.work(Next::Run(None));
        let mut given_up = self.shared.given_up();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                request = self.requests.recv() => {
                    let Some((request, answer)) = request else { return };
                    if let Some(result) = self.answered(&request) {
                        drop(answer.send(result));
                        continue;
                    }
                    // Whatever runs ends before anything is changed.
                    drop(work);
                    tokio::select! {
                        () = stop.cancelled() => return,
                        (next, result) = Box::pin(self.serve(request)) => {
                            work = self.work(next);
                            drop(answer.send(result));
                        }
                    }
                    // What was said before is about a stream that is no more as it was.
                    given_up.mark_unchanged();
                }
                Ok(()) = given_up.changed() => {
                    let why = *given_up.borrow_and_update();
                    let Some(why) = why.filter(|_| self.shared.state() != State::Absent) else {
                        continue;
                    };
                    drop(work);
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = Box::pin(self.give_up(why)) => work = self.work(Next::Rest),
                    }
                }
                ended = &mut work => {
                    let next = self.after(ended);
                    work = self.work(next);
                }
            }
        }
    }

    fn is_running(&self) -> bool {
        match self.shared.state() {
            State::Copying | State::Streaming | State::Stopped => true,
            State::Absent | State::Starting | State::Paused | State::Retrying | State::Failed => {
                false
            }
        }
    }

    /// The answer to what needs no interruption of whatever runs.
    fn answered(&self, request: &Request) -> Option<Result<State, StreamError>> {
        let state = self.shared.state();
        match request {
            Request::Start => self.is_running().then_some(Ok(state)),
            Request::Table(..) if state == State::Copying => {
                let wait = "the first copy is under way: wait for its end";
                Some(Err(StreamError::Operator(wait.to_owned())))
            }
            Request::Drop | Request::Pause | Request::Resume | Request::Table(..) => None,
        }
    }

    async fn serve(&mut self, request: Request) -> (Next, Result<State, StreamError>) {
        self.attempts = 0;
        let spec = Arc::clone(&self.shared.spec);
        match request {
            Request::Start => match create::create(&spec).await {
                Ok(created) => {
                    let state = match &created {
                        Some(created) if created.snapshot.is_some() => State::Copying,
                        Some(_) | None => State::Starting,
                    };
                    self.shared.set_state(state, "");
                    (Next::Run(created), Ok(state))
                }
                Err(error) => (Next::Run(None), Err(error)),
            },
            Request::Drop => match create::remove(&spec).await {
                Ok(()) => {
                    self.shared.set_state(State::Absent, "");
                    (Next::Rest, Ok(State::Absent))
                }
                Err(error) => (Next::Run(None), Err(error)),
            },
            Request::Pause => match create::set_paused(&spec, true).await {
                Ok(true) => {
                    self.shared.set_state(State::Paused, "");
                    (Next::Rest, Ok(State::Paused))
                }
                Ok(false) => (Next::Run(None), Err(StreamError::Gone)),
                Err(error) => (Next::Run(None), Err(error)),
            },
            Request::Resume => match self.resume(&spec).await {
                Ok(true) => {
                    self.shared.set_state(State::Starting, "");
                    (Next::Run(None), Ok(State::Starting))
                }
                Ok(false) => (Next::Run(None), Err(StreamError::Gone)),
                Err(error) => (Next::Run(None), Err(error)),
            },
            Request::Table(table, command) => {
                let done = tables::command(&spec, &table, command).await;
                if let Ok(state) = &done {
                    self.shared.update_table(&table, |table| {
                        state.as_str().clone_into(&mut table.state);
                    });
                }
                (Next::Run(None), done.map(|_| self.shared.state()))
            }
        }
    }

    /// The last resort: the stream ends here, with the reason where everybody sees it.
    async fn give_up(&self, why: GiveUp) {
        let spec = &self.shared.spec;
        let mut reason = why.reason(spec);
        if let Err(error) = create::give_up(spec, &reason, why.drops_slot()).await {
            let slot = spec.slot();
            reason = format!("{reason}; this did not succeed (slot {slot}): {}", Chain(&error));
        }
        metrics::given_up(&spec.key());
        self.shared.set_state(State::Failed, reason);
    }

    /// After a breach, to resume is to leave out what was written until now.
    async fn resume(&self, spec: &StreamSpec) -> Result<bool, StreamError> {
        if self.shared.is_breached() {
            let until = create::current_position(spec).await?;
            tracing::warn!(stream = spec.key(), %until, "writes of the breach are left out");
            self.shared.forgive(until);
        }
        create::set_paused(spec, false).await
    }

    fn work(&self, next: Next) -> Work {
        let shared = Arc::clone(&self.shared);
        match next {
            Next::Run(created) => Box::pin(live(shared, created)),
            Next::Retry => {
                let pause = backoff(self.attempts);
                Box::pin(async move {
                    tokio::time::sleep(pause).await;
                    live(shared, None).await
                })
            }
            Next::LookLater => Box::pin(async move {
                tokio::time::sleep(LOOK_EVERY).await;
                live(shared, None).await
            }),
            Next::Rest => Box::pin(std::future::pending()),
        }
    }

    /// What follows from the end of a run.
    fn after(&mut self, ended: Option<StreamError>) -> Next {
        let Some(error) = ended else { return Next::Rest };
        if self.is_running() {
            // It had come far enough to start counting anew.
            self.attempts = 0;
        }
        match &error {
            StreamError::Gone => {
                self.shared.set_state(State::Absent, "");
                return Next::LookLater;
            }
            StreamError::Paused => {
                self.shared.set_state(State::Paused, "");
                return Next::Rest;
            }
            StreamError::Breach { .. } => self.shared.count_breach(),
            StreamError::Wire { source, .. } if source.is_internal() => {
                self.shared.ask_for_whole();
            }
            StreamError::Conflict { .. }
            | StreamError::Database { .. }
            | StreamError::Copy { .. }
            | StreamError::Connect { .. }
            | StreamError::Wire { .. }
            | StreamError::Decode { .. }
            | StreamError::Mapping(_)
            | StreamError::Operator(_)
            | StreamError::Changed { .. }
            | StreamError::ParkedFull { .. }
            | StreamError::Spill(_)
            | StreamError::Rewritten { .. }
            | StreamError::Stale
            | StreamError::Worker => {}
        }
        match error.class() {
            ErrorClass::Reread => Next::Run(None),
            ErrorClass::Transient => {
                self.attempts = self.attempts.saturating_add(1);
                self.shared.set_state(State::Retrying, Chain(&error).to_string());
                Next::Retry
            }
            ErrorClass::NeedsOperator => {
                self.shared.set_state(State::Failed, Chain(&error).to_string());
                Next::Rest
            }
        }
    }
}

/// One life of the stream: from its row in the database to whatever ends it. `None`: there is no
/// such stream.
async fn live(shared: Arc<StreamShared>, created: Option<Created>) -> Option<StreamError> {
    match Box::pin(try_live(&shared, created)).await {
        Ok(()) => None,
        Err(error) => Some(settle(&shared, error).await),
    }
}

/// What one table has to do with alone is noted with that table, and the stream starts again: its
/// changes are parked from where it stood, and the other tables go on. Answers what is left to deal with.
async fn settle(shared: &StreamShared, error: StreamError) -> StreamError {
    if matches!(error, StreamError::Conflict { .. }) {
        shared.count_conflict();
    }
    if shared.state() == State::Copying {
        // What does not fit the first copy is for the operator to mend before anything streams.
        return error;
    }
    let reason = Chain(&error).to_string();
    let wait = |state, key| NewState { state, reason: &reason, key, skips: false };
    let noted = match &error {
        StreamError::Conflict { table: named, .. } => {
            let Some(source) = tables::table_of_conflict(&shared.spec, named) else {
                return error;
            };
            let key = tables::key_of_conflict(named);
            tables::quarantine(shared, &source, wait(TableState::Quarantined, key)).await
        }
        StreamError::Changed { table, .. } => {
            tables::quarantine(shared, table, wait(TableState::Changed, None)).await
        }
        StreamError::ParkedFull { table } => tables::park_no_more(shared, table).await,
        StreamError::Database { .. }
        | StreamError::Copy { .. }
        | StreamError::Connect { .. }
        | StreamError::Wire { .. }
        | StreamError::Decode { .. }
        | StreamError::Spill(_)
        | StreamError::Rewritten { .. }
        | StreamError::Mapping(_)
        | StreamError::Operator(_)
        | StreamError::Breach { .. }
        | StreamError::Stale
        | StreamError::Gone
        | StreamError::Paused
        | StreamError::Worker => return error,
    };
    match noted {
        Ok(()) => StreamError::Stale,
        Err(error) => error,
    }
}

async fn try_live(shared: &Arc<StreamShared>, created: Option<Created>) -> Result<(), StreamError> {
    let spec = &shared.spec;
    let row = read_row(spec).await?.ok_or(StreamError::Gone)?;
    if let Some(reason) = row.gave_up.clone() {
        return Err(StreamError::Operator(reason));
    }
    if row.paused {
        return Err(StreamError::Paused);
    }
    if shared.state() == State::Absent {
        shared.set_state(State::Starting, "");
    }
    let plans: Arc<[TablePlan]> = if row.copied {
        // A table that does not fit any more waits alone.
        spec.tables().await?.into_iter().filter_map(|table| table.plan.ok()).collect()
    } else {
        spec.plans().await?.into()
    };
    let is_new = created.is_some() || !row.copied;
    let client = if row.copied {
        match created {
            Some(created) => created.client,
            None => create::connect(spec.read_url(), spec.reads(), &spec.slot()).await?,
        }
    } else {
        let created = match created {
            Some(created) => created,
            None => create::recreate(spec, &plans).await?,
        };
        shared.set_tables(table_statuses(spec, TableState::Pending.as_str()));
        shared.set_state(State::Copying, "");
        let snapshot = created.snapshot.as_deref().unwrap_or_default();
        copy::copy(shared, &plans, (snapshot, created.lsn)).await?;
        created.client
    };
    copy::finish(shared, &plans, !row.copied).await?;
    note_unseen_changes(shared, &row, is_new);
    stream(shared, client).await
}

/// Changes that this process did not see make its list of touched keys useless: those another
/// replicator applied meanwhile, and everything that a copy wrote.
fn note_unseen_changes(shared: &StreamShared, row: &ApplyRow, is_new: bool) {
    let seen = *shared.position().borrow();
    let is_complete = match (is_new, create::begins_with_copy(shared.spec.kind)) {
        (true, copies) => !copies,
        (false, _) => !seen.is_zero() && row.lsn <= seen,
    };
    if !is_complete && shared.spec.kind != StreamKind::Reference {
        shared.dirty.touch_all();
    }
}

async fn stream(
    shared: &Arc<StreamShared>,
    mut client: ReplicationClient,
) -> Result<(), StreamError> {
    let spec = &shared.spec;
    let side = spec.reads();
    let tables = tables::load(shared).await?;
    let plans = Arc::clone(&tables.plans);
    let options = start_options(shared, &client, &tables);
    let format = if options.binary { Format::Binary } else { Format::Text };
    let applier = Applier::open(Arc::clone(spec), Arc::clone(&plans), format).await?;
    let row = applier.row().clone();
    let lineage = client.identify_system().await.map_err(StreamError::wire(side))?;
    if lineage.system_id != row.peer_system_id
        || i64::from(lineage.timeline) != i64::from(row.peer_timeline)
    {
        return Err(StreamError::Operator(format!(
            "the {side} database is on server {} timeline {}, the stream was made on server {} \
             timeline {}: after a failover or a restored backup log positions mean nothing; verify, \
             then drop the stream and start it again",
            lineage.system_id, lineage.timeline, row.peer_system_id, row.peer_timeline
        )));
    }
    shared.restart_at(row.lsn);
    let stream = match client.start(&spec.slot(), row.lsn, options).await {
        Ok(stream) => stream,
        Err(error) if error.is_slot_missing() || error.is_slot_lost() => {
            return Err(StreamError::Operator(format!(
                "slot {} is gone or has lost its log, and changes with it: drop the stream and start \
                 it again",
                spec.slot()
            )));
        }
        Err(error) => return Err(StreamError::wire(side)(error)),
    };
    let resyncing = tables.resyncing();
    let run = Run::new(Arc::clone(shared), applier, Arc::clone(&plans), tables.rows, stream);
    tokio::select! {
        ended = Box::pin(run.run()) => ended,
        never = Box::pin(resync::run(shared, &plans, resyncing)) => match never {},
    }
}

/// The most that the server and the tables allow: values in binary form, and large transactions before
/// their commit.
fn start_options(
    shared: &StreamShared,
    client: &ReplicationClient,
    tables: &LoadedTables,
) -> StartOptions {
    let is_able = client.server_version().major() >= STREAMING_SINCE;
    StartOptions {
        proto_version: if is_able { 2 } else { 1 },
        streaming: is_able && !shared.wants_whole(),
        // What is parked may be read by another version, with types that changed meanwhile.
        binary: is_able && !tables.parks() && Format::of(&tables.plans) == Format::Binary,
        ..StartOptions::new([shared.spec.publication()])
    }
}

async fn read_row(spec: &StreamSpec) -> Result<Option<ApplyRow>, StreamError> {
    let side = spec.writes();
    let client = session::open(spec.write_url(), side, "ficus-cdc-keeper").await;
    let client = match client {
        Ok(client) => client,
        // Before anything was installed there may be no such role.
        Err(StreamError::Connect { source, .. }) if is_not_installed(&source) => return Ok(None),
        Err(error) => return Err(error),
    };
    crate::apply_row::read(&client, &spec.key())
        .await
        .map_err(|error| tables::outdated(spec, error))
}

fn is_not_installed(error: &guard::GuardError) -> bool {
    let guard::GuardError::Database { source, .. } = error else { return false };
    let code = source.code().map(tokio_postgres::error::SqlState::code);
    matches!(code, Some("22023" | "28000" | "42704"))
}

/// Grows with the attempts and is never the same for two streams.
fn backoff(attempts: u32) -> Duration {
    let (first, last) = BACKOFF;
    let doubled = first.saturating_mul(2_u32.saturating_pow(attempts.saturating_sub(1).min(10)));
    doubled.min(last).mul_f64(rand::rng().random_range(0.75..1.25))
}
