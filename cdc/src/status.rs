//! What a stream tells about itself: written by its tasks, read by the server.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use cutover::StreamKind;
use pg::Lsn;
use rpc::v1;
use tokio::{sync::watch, time::Instant};

use crate::{
    clock,
    copy::CopyProgress,
    dirty::DirtyKeys,
    lag::LagClock,
    metrics::{self, Sampled},
    spec::StreamSpec,
    tables::ParkedSize,
    wal::{Assessment, GiveUp, Level, Reading},
    wire::Progress,
};

/// A reading of the source older than this says nothing about now.
const SAMPLE_AGE_MAX: Duration = Duration::from_secs(5);

/// What everybody who has to do with one stream shares.
#[derive(Debug)]
pub(crate) struct StreamShared {
    pub(crate) spec: Arc<StreamSpec>,
    /// Every transaction that ended up to here is in the database that is written.
    position: watch::Sender<Lsn>,
    pub(crate) dirty: Arc<DirtyKeys>,
    /// Why the stream must end now.
    give_up: watch::Sender<Option<GiveUp>>,
    status: Mutex<Status>,
}

/// Where a stream is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It was not started, or dropped.
    Absent,
    Starting,
    Copying,
    Streaming,
    /// It reads and applies nothing: the side it writes to owns the capability.
    Stopped,
    Paused,
    Retrying,
    Failed,
}

#[derive(Debug)]
struct Status {
    state: State,
    reason: String,
    progress: Option<Progress>,
    sample: Option<Sample>,
    /// Where the end of the log was lately.
    ends: LagClock,
    /// When the source was first seen ahead of the stream, since it last was not.
    behind_since: Option<Instant>,
    last_commit: Option<(Duration, Instant)>,
    counts: Counts,
    /// Of the running connection, as they were counted last.
    received_bytes: u64,
    tables: Vec<v1::TableStatus>,
    /// While tables are copied.
    copy: Option<Arc<CopyProgress>>,
    indexes_left: u32,
    /// The source failed to send transactions before their end: it is asked for whole ones.
    wants_whole: bool,
    /// The stream stands at a write it must not carry over.
    is_breached: bool,
    /// Writes of a breach up to here are left out.
    forgiven: Lsn,
}

/// What the database that is read said last.
#[derive(Clone, Debug)]
struct Sample {
    at: Instant,
    reading: Reading,
    /// `None`: there is no slot.
    wal: Option<Assessment>,
}

/// Counters since the process started.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    rows: u64,
    transactions: u64,
    conflicts: u64,
    breaches: u64,
}

impl State {
    /// All states of a stream that exists.
    pub(crate) const EXISTING: [Self; 7] = [
        Self::Starting,
        Self::Copying,
        Self::Streaming,
        Self::Stopped,
        Self::Paused,
        Self::Retrying,
        Self::Failed,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Starting => "starting",
            Self::Copying => "copying",
            Self::Streaming => "streaming",
            Self::Stopped => "stopped",
            Self::Paused => "paused",
            Self::Retrying => "retrying",
            Self::Failed => "failed",
        }
    }

    /// Whether the stream reads the log now.
    pub(crate) const fn is_reading(self) -> bool {
        matches!(self, Self::Streaming | Self::Stopped)
    }
}

impl StreamShared {
    pub(crate) fn new(spec: StreamSpec, dirty: Arc<DirtyKeys>) -> Self {
        let status = Status {
            state: State::Absent,
            reason: String::new(),
            progress: None,
            sample: None,
            ends: LagClock::default(),
            behind_since: None,
            last_commit: None,
            counts: Counts::default(),
            received_bytes: 0,
            tables: Vec::new(),
            copy: None,
            indexes_left: 0,
            wants_whole: false,
            is_breached: false,
            forgiven: Lsn::ZERO,
        };
        let position = watch::Sender::new(Lsn::ZERO);
        let give_up = watch::Sender::new(None);
        Self { spec: Arc::new(spec), position, dirty, give_up, status: Mutex::new(status) }
    }

    pub(crate) fn state(&self) -> State {
        self.lock().state
    }

    /// Changes the state; logged and counted only when it differs.
    pub(crate) fn set_state(&self, state: State, reason: impl Into<String>) {
        let reason = reason.into();
        let mut status = self.lock();
        let changed = status.state != state || status.reason != reason;
        status.state = state;
        status.reason.clone_from(&reason);
        if !state.is_reading() {
            status.progress = None;
        }
        if state != State::Copying {
            status.copy = None;
        }
        drop(status);
        if !changed {
            return;
        }
        let stream = self.spec.key();
        metrics::stream_state(&stream, state);
        match state {
            State::Failed => tracing::error!(stream, %reason, "stream failed"),
            State::Retrying => tracing::warn!(stream, %reason, "stream will be tried again"),
            State::Absent
            | State::Starting
            | State::Copying
            | State::Streaming
            | State::Stopped
            | State::Paused => {
                tracing::info!(stream, state = state.as_str(), %reason, "stream changed state");
            }
        }
    }

    /// The stream's position, to be waited on.
    pub(crate) fn position(&self) -> watch::Receiver<Lsn> {
        self.position.subscribe()
    }

    /// Everything up to here is applied.
    pub(crate) fn move_to(&self, lsn: Lsn) {
        let moved = self.position.send_if_modified(|position| {
            let ahead = lsn > *position;
            if ahead {
                *position = lsn;
            }
            ahead
        });
        if moved {
            let mut status = self.lock();
            if status.sample.as_ref().is_some_and(|sample| sample.reading.flushed <= lsn) {
                status.behind_since = None;
            }
        }
    }

    /// A new run starts at a position that may lie before the last one's.
    pub(crate) fn restart_at(&self, lsn: Lsn) {
        self.position.send_replace(lsn);
    }

    pub(crate) fn reads_through(&self, progress: Progress) {
        self.lock().progress = Some(progress);
    }

    /// Rows and transactions were committed; the last of them had been committed so long ago.
    pub(crate) fn applied(&self, rows: u64, transactions: u64, lag: Duration) {
        let mut status = self.lock();
        status.counts.rows += rows;
        status.counts.transactions += transactions;
        status.last_commit = Some((lag, Instant::now()));
        drop(status);
        metrics::applied(&self.spec.key(), rows, transactions, lag);
    }

    pub(crate) fn count_conflict(&self) {
        self.lock().counts.conflicts += 1;
        metrics::conflict(&self.spec.key());
    }

    /// Whether transactions are to come only after their end.
    pub(crate) fn wants_whole(&self) -> bool {
        self.lock().wants_whole
    }

    pub(crate) fn ask_for_whole(&self) {
        self.lock().wants_whole = true;
    }

    pub(crate) fn is_breached(&self) -> bool {
        self.lock().is_breached
    }

    /// An operator has seen the breach: what was written up to here is left out.
    pub(crate) fn forgive(&self, until: Lsn) {
        let mut status = self.lock();
        status.is_breached = false;
        status.forgiven = until;
    }

    pub(crate) fn is_forgiven(&self, commit_lsn: Lsn) -> bool {
        commit_lsn <= self.lock().forgiven
    }

    pub(crate) fn count_breach(&self) {
        let mut status = self.lock();
        status.counts.breaches += 1;
        status.is_breached = true;
        drop(status);
        metrics::breach(&self.spec.key());
    }

    /// What the database that is read said about itself, and what that means; `None`: it could not be
    /// asked.
    pub(crate) fn sampled(&self, seen: Option<(Reading, Option<Assessment>)>) {
        let position = *self.position.borrow();
        let now = Instant::now();
        let mut status = self.lock();
        if let Some((reading, _)) = &seen {
            status.ends.note(now, reading.flushed);
            if reading.flushed <= position {
                status.behind_since = None;
            } else if status.behind_since.is_none() {
                status.behind_since = Some(now);
            }
        }
        status.sample = seen.map(|(reading, wal)| Sample { at: now, reading, wal });
        let sampled = status.figures(position);
        drop(status);
        metrics::sampled(&self.spec, &sampled);
        if self.spec.kind == StreamKind::Forward {
            let size = self.dirty.size();
            let touched = (size.keys + size.ranges, size.tables > 0);
            metrics::dirty(&self.spec.capability, touched);
        }
    }

    /// The stream must end; whoever keeps it will hear of it.
    pub(crate) fn give_up(&self, why: GiveUp) {
        self.give_up.send_replace(Some(why));
    }

    /// Reasons to end the stream, as they come.
    pub(crate) fn given_up(&self) -> watch::Receiver<Option<GiveUp>> {
        self.give_up.subscribe()
    }

    pub(crate) fn set_tables(&self, tables: Vec<v1::TableStatus>) {
        self.lock().tables = tables;
    }

    /// A copy begins.
    pub(crate) fn copies(&self, progress: Arc<CopyProgress>) {
        self.lock().copy = Some(progress);
    }

    /// So many indexes are to be built after the copy.
    pub(crate) fn indexes_left(&self, count: usize) {
        self.lock().indexes_left = u32::try_from(count).unwrap_or(u32::MAX);
    }

    /// Changes the status of the table that the monolith calls so.
    pub(crate) fn update_table(&self, source: &str, change: impl FnOnce(&mut v1::TableStatus)) {
        if let Some(table) = self.lock().tables.iter_mut().find(|table| table.source == source) {
            change(table);
        }
    }

    /// A message is parked for a table; answers the bytes that are parked for all of them.
    pub(crate) fn park(&self, source: &str, message: usize) -> u64 {
        self.change_parked(source, |size| size.add(message));
        self.lock().tables.iter().map(|table| table.parked_bytes).sum()
    }

    /// Parked messages of a table took effect.
    pub(crate) fn unpark(&self, source: &str, size: ParkedSize) {
        self.change_parked(source, |parked| parked.remove(size));
    }

    fn change_parked(&self, source: &str, change: impl FnOnce(&mut ParkedSize)) {
        self.update_table(source, |table| {
            let mut size = ParkedSize { rows: table.parked_rows, bytes: table.parked_bytes };
            change(&mut size);
            (table.parked_rows, table.parked_bytes) = (size.rows, size.bytes);
            metrics::parked(&self.spec.key(), source, size);
        });
    }

    /// Everything, for the outside; `None` for a stream that does not exist.
    pub(crate) fn report(&self) -> Option<v1::StreamStatus> {
        let position = *self.position.borrow();
        let status = self.lock();
        if status.state == State::Absent {
            return None;
        }
        let text = |lsn: Lsn| if lsn.is_zero() { String::new() } else { lsn.to_string() };
        let mut tables = status.tables.clone();
        let mut copy = None;
        if let Some(progress) = &status.copy {
            let (all, each) = progress.report(Instant::now());
            copy = Some(all);
            for (table, progress) in tables.iter_mut().zip(each) {
                table.copy = Some(progress);
            }
        }
        let received = status.progress.as_ref().map_or(Lsn::ZERO, Progress::received);
        Some(v1::StreamStatus {
            capability: self.spec.capability.to_string(),
            kind: self.spec.kind.as_str().to_owned(),
            state: status.state.as_str().to_owned(),
            reason: status.reason.clone(),
            received_lsn: text(received),
            applied_lsn: text(position),
            source_lsn: status
                .sample
                .as_ref()
                .map_or_else(String::new, |sample| text(sample.reading.flushed)),
            lag_bytes: status.lag_bytes(position),
            lag_ms: status
                .lag(position)
                .map(|lag| u64::try_from(lag.as_millis()).unwrap_or(u64::MAX)),
            rows_applied: status.counts.rows,
            transactions_applied: status.counts.transactions,
            conflicts: status.counts.conflicts,
            breaches: status.counts.breaches,
            wal: status.recent().map(Sample::report),
            tables,
            copy,
            indexes_left: status.indexes_left,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Status {
    /// The last reading of the source, while it says something about now.
    fn recent(&self) -> Option<&Sample> {
        self.sample.as_ref().filter(|sample| sample.at.elapsed() < SAMPLE_AGE_MAX)
    }

    /// The same, once the stream has a position to compare it with.
    fn fresh(&self, position: Lsn) -> Option<&Sample> {
        self.recent().filter(|_| !position.is_zero())
    }

    fn lag_bytes(&self, position: Lsn) -> Option<u64> {
        self.fresh(position).map(|sample| sample.reading.flushed.saturating_since(position))
    }

    /// Zero when everything the source had at the last reading is applied. Else the last commit's
    /// lag where that is fresh, else how long the stream has been behind.
    fn lag(&self, position: Lsn) -> Option<Duration> {
        let sample = self.fresh(position)?;
        if sample.reading.flushed <= position {
            return Some(Duration::ZERO);
        }
        match self.last_commit {
            Some((lag, at)) if at >= sample.at => Some(lag),
            Some(_) | None => self.behind_since.map(|since| since.elapsed()),
        }
    }

    /// What is shown as metrics, and the bytes that came since this was asked last.
    fn figures(&mut self, position: Lsn) -> Sampled {
        let received_bytes = self.progress.as_ref().map_or(0, Progress::received_bytes);
        let new_bytes = received_bytes.saturating_sub(self.received_bytes);
        self.received_bytes = received_bytes;
        let slot = self.recent().and_then(|sample| sample.reading.slot);
        let lag = |position: Option<Lsn>| {
            let (sample, position) = self.recent().zip(position.filter(|lsn| !lsn.is_zero()))?;
            let bytes = sample.reading.flushed.saturating_since(position);
            Some((bytes, self.ends.behind(sample.at, position)?))
        };
        let applied = lag(Some(position));
        Sampled {
            received_bytes: new_bytes,
            received: lag(self.progress.as_ref().map(Progress::received)),
            applied: applied.map(|(bytes, behind)| (bytes, self.lag(position).unwrap_or(behind))),
            confirmed: lag(slot.and_then(|slot| slot.confirmed)),
            wal: self.recent().and_then(|sample| sample.wal),
            server_spilled: slot.and_then(|slot| slot.spilled),
            oldest_transaction: self.recent().and_then(|sample| sample.reading.oldest_transaction),
        }
    }
}

impl Sample {
    fn report(&self) -> v1::WalStatus {
        let seconds = |duration: Duration| duration.as_secs();
        let wal = self.wal.as_ref();
        v1::WalStatus {
            level: wal.and_then(|wal| wal.level).map_or("", Level::as_str).to_owned(),
            slot_status: wal.map_or("", |wal| wal.slot.as_str()).to_owned(),
            retained_bytes: wal.and_then(|wal| wal.retained),
            limit_bytes: wal.map(|wal| wal.limit),
            limit_set_by: wal.map_or("", |wal| wal.bound.as_str()).to_owned(),
            used_ratio: wal.and_then(|wal| wal.used),
            eta_s: wal.and_then(|wal| wal.eta).map(seconds),
            server_spilled_bytes: self.reading.slot.and_then(|slot| slot.spilled),
            oldest_transaction_s: self.reading.oldest_transaction.map(seconds),
        }
    }
}

/// The status of tables before anything is known of them.
pub(crate) fn table_statuses(spec: &StreamSpec, state: &str) -> Vec<v1::TableStatus> {
    let status = |mapping: &routes::TableMapping| v1::TableStatus {
        source: mapping.source.to_string(),
        target: mapping.target.to_string(),
        state: state.to_owned(),
        rows_copied: 0,
        ..v1::TableStatus::default()
    };
    spec.mappings.iter().map(status).collect()
}

/// When a verification ended.
pub(crate) fn now_unix_ms() -> u64 {
    clock::unix_ms()
}
