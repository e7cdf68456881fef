//! How far a copy is: rows and bytes as they go, rates and the time that is left.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rpc::v1;
use tokio::time::Instant;

use crate::wire::Passed;

/// Rates are those of the last seconds.
const WINDOW: Duration = Duration::from_secs(10);
const MARK_EVERY: Duration = Duration::from_secs(1);
/// A rate over less than this says nothing.
const WINDOW_MIN: Duration = Duration::from_millis(500);

/// The progress of all tables of a copy.
#[derive(Debug)]
pub(crate) struct CopyProgress(Mutex<Tables>);

/// How large a table is before it is copied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// On disk.
    pub(super) bytes: u64,
    /// 0: not known.
    pub(super) rows_estimated: u64,
}

#[derive(Debug)]
struct Tables {
    tables: Vec<Table>,
    all: Meter,
}

#[derive(Debug)]
struct Table {
    extent: Extent,
    /// On disk, of finished units.
    done_bytes: u64,
    rows: Rows,
    /// Copied data.
    bytes: u64,
    meter: Option<Meter>,
}

/// Rows that were read.
#[derive(Clone, Copy, Debug, Default)]
struct Rows {
    /// By finished units, exactly.
    done: u64,
    /// By units that run.
    running: u64,
}

/// What is done at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    rows: u64,
    bytes: u64,
    /// From 0 to 1; `None` when nothing says how much there is.
    share: Option<f64>,
}

/// Remembers the last seconds.
#[derive(Debug)]
struct Meter {
    marks: VecDeque<(Instant, Done)>,
}

impl CopyProgress {
    pub(super) fn new(now: Instant, extents: &[Extent]) -> Self {
        let table = |extent: &Extent| Table {
            extent: *extent,
            done_bytes: 0,
            rows: Rows::default(),
            bytes: 0,
            meter: None,
        };
        let tables: Vec<Table> = extents.iter().map(table).collect();
        let all = Meter::new(now, sum(&tables));
        Self(Mutex::new(Tables { tables, all }))
    }

    /// Rows of a unit have gone through.
    pub(super) fn passed(&self, now: Instant, table: usize, passed: Passed) {
        let mut tables = self.lock();
        if let Some(table) = tables.tables.get_mut(table) {
            table.rows.running += passed.messages;
            table.bytes += passed.bytes;
            let done = table.done();
            table
                .meter
                .get_or_insert_with(|| {
                    Meter::new(now, Done { share: done.share, ..Done::default() })
                })
                .mark(now, done);
        }
        let all = sum(&tables.tables);
        tables.all.mark(now, all);
    }

    /// A unit of so many bytes on disk is done; its rows were counted while they went, and exactly
    /// by the server.
    pub(super) fn unit_done(&self, table: usize, unit_bytes: u64, counted: u64, rows: u64) {
        if let Some(table) = self.lock().tables.get_mut(table) {
            table.done_bytes += unit_bytes;
            table.rows.done += rows;
            table.rows.running = table.rows.running.saturating_sub(counted);
        }
    }

    /// The whole copy, and each table.
    pub(crate) fn report(&self, now: Instant) -> (v1::CopyProgress, Vec<v1::CopyProgress>) {
        let tables = self.lock();
        let each = tables.tables.iter().map(|table| {
            let expected = table.rows_expected();
            report(table.done(), expected, table.meter.as_ref(), now)
        });
        let each: Vec<v1::CopyProgress> = each.collect();
        let expected = tables.tables.iter().map(Table::rows_expected).sum::<Option<u64>>();
        (report(sum(&tables.tables), expected, Some(&tables.all), now), each)
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// What finished units tell about the rest is better than the planner's guess.
    fn rows_expected(&self) -> Option<u64> {
        let seen = self.rows.done + self.rows.running;
        let guess = if self.done_bytes >= self.extent.bytes {
            // An empty table too, before it is looked at.
            Some(self.rows.done)
        } else if self.done_bytes > 0 {
            Some(scaled(self.rows.done, self.extent.bytes, self.done_bytes))
        } else {
            Some(self.extent.rows_estimated).filter(|rows| *rows > 0)
        };
        guess.map(|rows| rows.max(seen))
    }

    fn done(&self) -> Done {
        let rows = self.rows.done + self.rows.running;
        let share = self.rows_expected().map(|all| if all == 0 { 1.0 } else { ratio(rows, all) });
        Done { rows, bytes: self.bytes, share }
    }
}

impl Meter {
    fn new(now: Instant, done: Done) -> Self {
        Self { marks: VecDeque::from([(now, done)]) }
    }

    fn mark(&mut self, now: Instant, done: Done) {
        if self.marks.back().is_some_and(|(at, _)| now.duration_since(*at) < MARK_EVERY) {
            return;
        }
        self.marks.push_back((now, done));
        while self.marks.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
            self.marks.pop_front();
        }
    }

    /// Time and progress since the oldest mark.
    fn since(&self, now: Instant) -> Option<(f64, Done)> {
        let (at, done) = self.marks.front()?;
        let elapsed = now.duration_since(*at);
        (elapsed >= WINDOW_MIN).then_some((elapsed.as_secs_f64(), *done))
    }
}

/// All tables as one; a table of which nothing is known leaves the share unknown.
fn sum(tables: &[Table]) -> Done {
    let mut all = Done { share: Some(0.0), ..Done::default() };
    let total: u64 = tables.iter().map(|table| table.extent.bytes).sum();
    for table in tables {
        let done = table.done();
        all.rows += done.rows;
        all.bytes += done.bytes;
        if table.extent.bytes > 0 {
            let weight = ratio(table.extent.bytes, total);
            all.share = all.share.zip(done.share).map(|(sum, share)| sum + share * weight);
        }
    }
    all
}

fn report(
    done: Done,
    rows_expected: Option<u64>,
    meter: Option<&Meter>,
    now: Instant,
) -> v1::CopyProgress {
    let mut report = v1::CopyProgress {
        rows: done.rows,
        rows_expected,
        bytes: done.bytes,
        ..v1::CopyProgress::default()
    };
    if let Some((seconds, before)) = meter.and_then(|meter| meter.since(now)) {
        report.rows_per_second = Some(whole(per(done.rows - before.rows.min(done.rows), seconds)));
        report.bytes_per_second =
            Some(whole(per(done.bytes - before.bytes.min(done.bytes), seconds)));
        report.eta_ms = eta(before.share, done.share, seconds);
    }
    report
}

/// The time until the share is 1, when it goes on as it went; `None` while it does not move, and when
/// it is there.
fn eta(before: Option<f64>, done: Option<f64>, seconds: f64) -> Option<u64> {
    let (before, done) = (before?, done?);
    let moved = done - before;
    (moved > 0.0 && done < 1.0).then(|| whole((1.0 - done) * seconds / moved * 1_000.0))
}

fn scaled(rows: u64, all: u64, done: u64) -> u64 {
    let scaled = u128::from(rows) * u128::from(all) / u128::from(done.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "a share for display")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

#[expect(clippy::cast_precision_loss, reason = "a rate for display")]
fn per(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "never negative, and a float beyond the range becomes its end"
)]
const fn whole(number: f64) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn progress(now: Instant, extents: &[(u64, u64)]) -> CopyProgress {
        let extent = |&(bytes, rows_estimated): &(u64, u64)| Extent { bytes, rows_estimated };
        CopyProgress::new(now, &extents.iter().map(extent).collect::<Vec<_>>())
    }

    fn rows(messages: u64) -> Passed {
        Passed { messages, bytes: messages * 100 }
    }

    #[test]
    fn a_steady_copy_tells_its_rate_and_when_it_will_end() {
        let mut now = Instant::now();
        let progress = progress(now, &[(1_000, 10_000)]);
        for _ in 0..5 {
            now += SECOND;
            progress.passed(now, 0, rows(1_000));
        }
        let (all, tables) = progress.report(now);
        assert_eq!((all.rows, all.bytes, all.rows_expected), (5_000, 500_000, Some(10_000)));
        assert_eq!(all.rows_per_second, Some(1_000));
        assert_eq!(all.bytes_per_second, Some(100_000));
        assert_eq!(all.eta_ms, Some(5_000));
        assert_eq!(tables.len(), 1);
        assert_eq!(tables[0].rows, 5_000);
    }

    #[test]
    fn a_copy_that_stands_still_has_a_falling_rate_and_no_end() {
        let mut now = Instant::now();
        let progress = progress(now, &[(1_000, 10_000)]);
        now += SECOND;
        progress.passed(now, 0, rows(1_000));
        for _ in 0..30 {
            now += SECOND;
            progress.passed(now, 0, rows(0));
        }
        let (all, _) = progress.report(now);
        assert_eq!((all.rows_per_second, all.eta_ms), (Some(0), None));
    }

    #[test]
    fn an_unknown_number_of_rows_stays_unknown_until_a_unit_is_done() {
        let mut now = Instant::now();
        let progress = progress(now, &[(1_000, 0), (3_000, 70)]);
        now += SECOND;
        progress.passed(now, 0, rows(50));
        let (all, tables) = progress.report(now);
        assert_eq!((all.rows_expected, all.eta_ms), (None, None));
        assert_eq!(tables[0].rows_expected, None);
        assert_eq!(tables[1].rows_expected, Some(70));
        progress.unit_done(0, 250, 50, 49);
        let (all, tables) = progress.report(now);
        assert_eq!(tables[0].rows_expected, Some(196), "a quarter had 49");
        assert_eq!((all.rows, all.rows_expected), (49, Some(266)));
    }

    #[test]
    fn nothing_is_left_of_tables_that_are_done_or_empty() {
        let mut now = Instant::now();
        let progress = progress(now, &[(1_000, 5), (0, 0)]);
        now += SECOND;
        progress.passed(now, 0, rows(8));
        progress.unit_done(0, 1_000, 8, 7);
        progress.unit_done(1, 0, 0, 0);
        now += SECOND;
        let (all, tables) = progress.report(now);
        assert_eq!((all.rows, all.eta_ms), (7, None));
        assert_eq!(tables[0].rows_expected, Some(7));
        assert_eq!(tables[1].rows, 0);
    }
}
