//! Closes tickets whose pending time is over. A writer of its own that no request passes through, as real
//! monoliths have several.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::{FromRow, PgConnection, PgPool};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::articles::NewArticle;
use crate::error::sqlstate;
use crate::tickets::history::{Change, record};

/// Tickets of one transaction.
const BATCH: usize = 50;

/// The job writes in the administrator's name.
const USER_ID: i32 = 1;

const SYSTEM_SENDER: i16 = 2;

/// What the job has done since the process began.
#[derive(Debug, Default)]
pub struct AutoCloseCounts {
    closed: AtomicU64,
    refused: AtomicU64,
}

/// The job.
#[derive(Debug)]
pub struct AutoClose {
    pool: PgPool,
    counts: Arc<AutoCloseCounts>,
}

#[derive(Debug, FromRow)]
struct Due {
    id: i64,
    from_state: String,
    to_state: String,
}

impl AutoCloseCounts {
    /// Tickets closed.
    #[must_use]
    pub fn closed(&self) -> u64 {
        self.closed.load(Ordering::Relaxed)
    }

    /// Batches that the database refused or that could not be written; their tickets stay due.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl AutoClose {
    /// `pool` is the job's own, so that the database shows who writes.
    #[must_use]
    pub fn new(pool: PgPool, counts: Arc<AutoCloseCounts>) -> Self {
        Self { pool, counts }
    }

    /// Runs a [`round`](Self::round) now and after each pause of `every`, until `stop`.
    pub async fn run(self, every: Duration, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.round(&stop).await;
        }
    }

    /// Closes all tickets that are due, batch by batch, and returns how many those were. It ends early when a batch
    /// is refused, which is logged and counted, and between two batches when `stop` is cancelled.
    pub async fn round(&self, stop: &CancellationToken) -> usize {
        let mut closed = 0;
        while !stop.is_cancelled() {
            match self.close_batch().await {
                Ok(0) => break,
                Ok(count) => {
                    closed += count;
                    self.counts.closed.fetch_add(count as u64, Ordering::Relaxed);
                    if count < BATCH {
                        break;
                    }
                }
                Err(error) => {
                    self.counts.refused.fetch_add(1, Ordering::Relaxed);
                    let sqlstate = sqlstate(&error);
                    tracing::warn!(sqlstate, %error, "auto-close was refused, tickets stay due");
                    break;
                }
            }
        }
        if closed > 0 {
            tracing::info!(closed, "closed tickets that were due");
        }
        closed
    }

    async fn close_batch(&self) -> Result<usize, sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        let due = close_due(&mut transaction).await?;
        for ticket in &due {
            let body = "The pending time of this ticket is over.";
            let note = NewArticle {
                sender_type_id: SYSTEM_SENDER,
                subject: "Ticket Closed",
                ..NewArticle::notice(ticket.id, body, USER_ID)
            };
            note.insert(&mut transaction).await?;
        }
        for ticket in &due {
            let change = Change::State { from: &ticket.from_state, to: &ticket.to_state };
            record(&mut transaction, ticket.id, &change, USER_ID).await?;
        }
        transaction.commit().await?;
        Ok(due.len())
    }
}

/// Tickets that somebody is working on at this moment are left to the next round.
async fn close_due(transaction: &mut PgConnection) -> Result<Vec<Due>, sqlx::Error> {
    sqlx::query_as(
        "WITH due AS (
             SELECT t.id, s.name AS from_state, CASE t.ticket_state_id WHEN 7 THEN 2 ELSE 3 END AS state_id
             FROM ticket t JOIN ticket_state s ON s.id = t.ticket_state_id AND s.type_id = 5
             WHERE t.until_time > 0 AND t.until_time < extract(epoch FROM now())::integer
             ORDER BY t.until_time, t.id LIMIT $1 FOR UPDATE OF t SKIP LOCKED)
         UPDATE ticket t SET ticket_state_id = due.state_id, until_time = 0,
                             change_time = now() AT TIME ZONE 'UTC', change_by = $2
         FROM due WHERE t.id = due.id
         RETURNING t.id, due.from_state, (SELECT name FROM ticket_state WHERE id = due.state_id) AS to_state",
    )
    .bind(BATCH as i64)
    .bind(USER_ID)
    .fetch_all(transaction)
    .await
}
