//! The writes of a run, and what their writers were told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::StdRng};
use testkit::tokio_postgres::{Client, Error};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Both sides of a run.
pub(super) const TABLES: &str = "
CREATE TABLE item (
    id bigint PRIMARY KEY, version bigint NOT NULL, title text NOT NULL, amount numeric(12,2), body text);
ALTER TABLE item ALTER body SET STORAGE EXTERNAL;
CREATE INDEX item_version ON item (version);
CREATE TABLE entry (item_id bigint NOT NULL, name text NOT NULL, value jsonb, UNIQUE (item_id, name));
ALTER TABLE entry REPLICA IDENTITY USING INDEX entry_item_id_name_key;";

/// Rows before the stream is started; writers' own rows begin above.
const ROWS: i64 = 6_000;

/// Writers at the same time.
const WRITERS: u64 = 3;

/// Each writer's rows are between its number times this, and the next.
const SPAN: i64 = 100_000_000;

/// Between two transactions of a writer.
const PACE: Duration = Duration::from_millis(5);

/// Fills the source before the stream is started.
pub(super) fn fill() -> String {
    format!(
        "INSERT INTO item SELECT i, 0, 'Item ' || i, i / 3.0, CASE i % 4 WHEN 0 THEN repeat(md5(i::text), 100) END
             FROM generate_series(1, {ROWS}) i;
         INSERT INTO entry SELECT i, 'n' || i % 3, jsonb_build_object('i', i) FROM generate_series(1, {ROWS}) i;"
    )
}

/// What an id's row must be: `None` for one that was deleted.
type Known = BTreeMap<i64, Option<i64>>;

/// What the writers were told.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    known: Known,
    /// Rows of transactions whose end nobody was told.
    open: BTreeSet<i64>,
    pub(super) acked: u64,
}

/// Writers that run.
#[derive(Debug)]
pub(super) struct Load {
    ledger: Arc<Mutex<Ledger>>,
    stop: CancellationToken,
    writers: JoinSet<()>,
}

impl Load {
    /// Starts the writers on a server that may go away and come back.
    pub(super) fn start(url: &str, seed: u64) -> Self {
        let (ledger, stop) = (Arc::default(), CancellationToken::new());
        let mut writers = JoinSet::new();
        for number in 0..WRITERS {
            let random = StdRng::seed_from_u64(seed.wrapping_mul(31).wrapping_add(number));
            let base = SPAN * i64::try_from(number + 1).unwrap_or(1);
            let writer = Writer {
                random,
                base,
                next: 0,
                rows: BTreeMap::new(),
                ledger: Arc::clone(&ledger),
            };
            writers.spawn(writer.run(url.to_owned(), stop.clone()));
        }
        Self { ledger, stop, writers }
    }

    /// Ends the writers; answers what they were told.
    pub(super) async fn finish(mut self) -> Ledger {
        self.stop.cancel();
        while self.writers.join_next().await.is_some() {}
        std::mem::take(&mut *self.ledger.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Ledger {
    /// Acknowledged rows that a side does not have as they were acknowledged.
    pub(super) async fn lost_on(&self, side: &Client) -> anyhow::Result<u64> {
        let rows = side.query("SELECT id, version FROM item WHERE id >= $1", &[&SPAN]).await?;
        let found: BTreeMap<i64, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let is_lost = |(id, version): &(&i64, &Option<i64>)| {
            !self.open.contains(id) && found.get(id).copied() != **version
        };
        Ok(u64::try_from(self.known.iter().filter(is_lost).count())?)
    }
}

struct Writer {
    random: StdRng,
    base: i64,
    next: i64,
    rows: BTreeMap<i64, i64>,
    ledger: Arc<Mutex<Ledger>>,
}

impl Writer {
    async fn run(mut self, url: String, stop: CancellationToken) {
        let mut client = None;
        while !stop.is_cancelled() {
            tokio::time::sleep(PACE).await;
            let connected = match client.take() {
                Some(connected) => connected,
                None => match super::rig::connect(&url).await {
                    Ok(connected) => connected,
                    Err(_) => continue,
                },
            };
            let (sql, changes) = self.transaction();
            let outcome = connected.batch_execute(&sql).await;
            self.note(&changes, &outcome);
            // After a refusal the transaction is still open.
            if outcome.is_ok() {
                client = Some(connected);
            }
        }
    }

    /// A transaction, and what the rows are after it.
    fn transaction(&mut self) -> (String, Known) {
        let mut changes = Known::new();
        let count = if self.random.random_ratio(1, 3) { 5 } else { 1 };
        let mut sql = "BEGIN;".to_owned();
        if self.random.random_ratio(1, 60) {
            self.large(&mut sql, &mut changes);
        }
        for _ in 0..count {
            self.change(&mut sql, &mut changes);
        }
        let mine = self.base / SPAN;
        sql.push_str(&format!(
            "UPDATE entry SET value = jsonb_build_object('by', {mine}, 'n', {n})
                 WHERE item_id % 50 = {mine} + {n} % 40;COMMIT",
            n = self.next
        ));
        (sql, changes)
    }

    fn large(&mut self, sql: &mut String, changes: &mut Known) {
        let from = self.base + self.next + 1;
        let to = from + 1_500;
        sql.push_str(&format!(
            "INSERT INTO item SELECT i, 1, 'large', NULL, md5(i::text) FROM generate_series({from}, {to}) i;"
        ));
        changes.extend((from..=to).map(|id| (id, Some(1))));
        self.next += 1_501;
    }

    fn change(&mut self, sql: &mut String, changes: &mut Known) {
        let known = self.rows.iter().filter(|(id, _)| !changes.contains_key(id));
        let candidates = known.clone().count().max(1);
        let mine =
            known.map(|(id, version)| (*id, *version)).nth(self.random.random_range(0..candidates));
        let new = self.base + self.next + 1;
        let text = match (mine, self.random.random_range(0..10)) {
            (Some((id, version)), 3..=5) => {
                changes.insert(id, Some(version + 1));
                format!(
                    "UPDATE item SET version = version + 1, title = 'v{version}' WHERE id = {id};"
                )
            }
            (Some((id, version)), 6) => {
                changes.insert(id, Some(version + 1));
                format!(
                    "UPDATE item SET version = version + 1, body = repeat(md5('{version}'), 120) WHERE id = {id};"
                )
            }
            (Some((id, _)), 7) => {
                changes.insert(id, None);
                format!("DELETE FROM item WHERE id = {id};")
            }
            (Some((id, version)), 8) => {
                self.next += 1;
                changes.extend([(id, None), (new, Some(version))]);
                format!("UPDATE item SET id = {new} WHERE id = {id};")
            }
            _ => {
                self.next += 1;
                changes.insert(new, Some(1));
                format!(
                    "INSERT INTO item VALUES ({new}, 1, 'new', 1.5, repeat(md5('{new}'), {new} % 200));"
                )
            }
        };
        sql.push_str(&text);
    }

    fn note(&mut self, changes: &Known, outcome: &Result<(), Error>) {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        if outcome.is_ok() {
            ledger.acked += 1;
            for (id, version) in changes {
                ledger.known.insert(*id, *version);
                match version {
                    Some(version) => self.rows.insert(*id, *version),
                    None => self.rows.remove(id),
                };
            }
        } else {
            // It may have been done: nobody changes these rows again.
            for id in changes.keys() {
                ledger.open.insert(*id);
                self.rows.remove(id);
            }
        }
    }
}
