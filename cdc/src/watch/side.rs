//! Reads the guards of one database, again and again, on a session of its own.

use std::{collections::BTreeMap, time::Duration};

use cutover::{GuardRow, Side};
use guard::{GuardClient, GuardError};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{BUSY, CALM};

/// A database that does not answer for so long counts as unknown.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Between attempts at a database that could not be read.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// A reading is no news after this; longer than a poll and its time limit.
const AGE_MAX: Duration = Duration::from_secs(3);

/// What the last look at a database gave.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    /// `None`: the database could not be read.
    rows: Option<BTreeMap<String, GuardRow>>,
    at: Instant,
}

/// The reading task of one database.
#[derive(Debug)]
pub(super) struct SideReader {
    url: String,
    side: Side,
    busy: watch::Receiver<bool>,
    readings: watch::Sender<Reading>,
    client: Option<GuardClient>,
}

impl Reading {
    /// The guard of a capability, while the reading is fresh.
    pub(super) fn row(&self, capability: &str, now: Instant) -> Option<GuardRow> {
        let is_fresh = now.duration_since(self.at) < AGE_MAX;
        self.rows.as_ref().filter(|_| is_fresh)?.get(capability).copied()
    }
}

impl SideReader {
    pub(super) fn new(
        url: String,
        side: Side,
        busy: watch::Receiver<bool>,
    ) -> (Self, watch::Receiver<Reading>) {
        let (readings, receiver) = watch::channel(Reading { rows: None, at: Instant::now() });
        (Self { url, side, busy, readings, client: None }, receiver)
    }

    /// Reads until stopped.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut was_known = true;
        loop {
            let looked = tokio::select! {
                () = stop.cancelled() => return,
                looked = tokio::time::timeout(ANSWER_WITHIN, self.look()) => looked,
            };
            let rows = match looked {
                Ok(Ok(rows)) => Some(rows),
                Ok(Err(error)) => {
                    let error = telemetry::Chain(&error).to_string();
                    if was_known {
                        tracing::warn!(side = %self.side, error, "guards cannot be read");
                    }
                    None
                }
                Err(_) => {
                    if was_known {
                        tracing::warn!(side = %self.side, "guards were not read in time");
                    }
                    None
                }
            };
            was_known = rows.is_some();
            if !was_known {
                self.client = None;
            }
            self.readings.send_replace(Reading { rows, at: Instant::now() });
            let pause = match (was_known, *self.busy.borrow_and_update()) {
                (true, true) => BUSY,
                (true, false) => CALM,
                // Every attempt is a new session, and a line in the server's log.
                (false, _) => AFTER_FAILURE,
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                // A transfer began on the other side.
                _ = self.busy.changed(), if was_known => {}
            }
        }
    }

    async fn look(&mut self) -> Result<BTreeMap<String, GuardRow>, GuardError> {
        let client = match self.client.take() {
            Some(client) if !client.is_closed() => client,
            Some(_) | None => GuardClient::connect(&self.url, "ficus-cdc-watch").await?,
        };
        let records = self.client.insert(client).view().await?;
        Ok(records.into_iter().map(|record| (record.capability, record.row)).collect())
    }
}
