//! Closes pending tickets whose time has come, in small transactions, and only while this service
//! owns the tickets. The fence in the database has the last word.

use std::time::Duration;

use kit::error::{Chain, is_fenced, sqlstate};
use kit::metrics::Metrics;
use kit::ownership;
use prometheus::{IntCounter, IntCounterVec, Opts};
use sqlx::PgPool;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::CAPABILITY;
use crate::tickets::articles::{channel, sender};

/// Tickets in one transaction: few enough for a fence to get its locks in time.
const BATCH: i64 = 50;
/// The user the monolith's own job acts as.
const ACTOR: i32 = 1;

/// The job.
#[derive(Debug)]
pub struct AutoClose {
    pool: PgPool,
    every: Duration,
    closed: IntCounter,
    looks: IntCounterVec,
}

/// How a look for due tickets ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// The tickets are not ours; nothing was looked at.
    NotOwner,
    /// Everything that was due is closed: this many.
    Done(u64),
}

#[derive(sqlx::FromRow)]
struct Closed {
    id: i64,
    name: String,
}

impl AutoClose {
    /// A job that looks for due tickets `every` so often, on a pool of its own.
    ///
    /// # Errors
    /// When its figures are registered already.
    pub fn new(
        pool: PgPool,
        every: Duration,
        metrics: &Metrics,
    ) -> Result<Self, prometheus::Error> {
        let closed = IntCounter::new("ficus_service_auto_closed_total", "Tickets closed.")?;
        let looks = IntCounterVec::new(
            Opts::new("ficus_service_auto_close_looks_total", "Looks for due tickets."),
            &["outcome"],
        )?;
        metrics.register(closed.clone())?;
        metrics.register(looks.clone())?;
        Ok(Self { pool, every, closed, looks })
    }

    /// Runs until `shutdown` is cancelled. A batch that has begun is finished.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let outcome = match self.look(&shutdown).await {
                Ok(Look::NotOwner) => "not_owner",
                Ok(Look::Done(0)) => "idle",
                Ok(Look::Done(closed)) => {
                    tracing::info!(closed, "pending tickets closed");
                    "closed"
                }
                Err(error) => {
                    let sqlstate = sqlstate(&error).unwrap_or_default();
                    tracing::warn!(%sqlstate, error = %Chain(&error), "auto close refused or failed");
                    if is_fenced(&error) { "refused" } else { "failed" }
                }
            };
            self.looks.with_label_values(&[outcome]).inc();
        }
    }

    /// Closes what is due, batch by batch, asking before each whether the tickets are still ours.
    async fn look(&self, shutdown: &CancellationToken) -> Result<Look, sqlx::Error> {
        let mut total = 0;
        while !shutdown.is_cancelled() {
            if !ownership::is_owner(&self.pool, CAPABILITY).await? {
                return Ok(Look::NotOwner);
            }
            let closed = self.close_batch().await?;
            self.closed.inc_by(closed);
            total += closed;
            if closed < BATCH.unsigned_abs() {
                break;
            }
        }
        Ok(Look::Done(total))
    }

    async fn close_batch(&self) -> Result<u64, sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        let closed: Vec<Closed> = sqlx::query_as(
            "with due as (
                 select t.id, t.state_id, s.name
                 from tickets t join states s on s.id = t.state_id
                 where s.type_id = 5 and t.state_id in (7, 8)
                   and t.pending_until > 0 and t.pending_until < extract(epoch from now())
                 order by t.pending_until, t.id limit $1 for update of t skip locked)
             update tickets t
             set state_id = case due.state_id when 7 then 2 else 3 end, pending_until = 0,
                 updated_at = now(), updated_by = $2
             from due, states after
             where t.id = due.id and after.id = case due.state_id when 7 then 2 else 3 end
             returning t.id, 'State changed from ' || due.name || ' to ' || after.name as name",
        )
        .bind(BATCH)
        .bind(ACTOR)
        .fetch_all(&mut *transaction)
        .await?;
        if closed.is_empty() {
            transaction.rollback().await?;
            return Ok(0);
        }
        let (ids, names): (Vec<i64>, Vec<String>) =
            closed.into_iter().map(|ticket| (ticket.id, ticket.name)).unzip();
        let article_ids: Vec<i64> = sqlx::query_scalar(
            "insert into articles (ticket_id, sender_type_id, channel_id, visible_to_customer,
                 created_at, created_by, updated_at, updated_by)
             select id, $3, $4, 0, now(), $2, now(), $2 from unnest($1) as id
             returning id",
        )
        .bind(&ids)
        .bind(ACTOR)
        .bind(sender::SYSTEM)
        .bind(channel::NOTE)
        .fetch_all(&mut *transaction)
        .await?;
        sqlx::query(
            "insert into article_bodies (article_id, subject, content_type, body, received_at,
                 created_at, created_by, updated_at, updated_by)
             select id, 'Ticket Closed', 'text/plain', 'The pending time of this ticket is over.',
                 extract(epoch from now())::int, now(), $2, now(), $2
             from unnest($1) as id",
        )
        .bind(&article_ids)
        .bind(ACTOR)
        .execute(&mut *transaction)
        .await?;
        sqlx::query(
            "insert into ticket_events (name, type_id, ticket_id, ticket_type_id, queue_id, owner_id,
                 priority_id, state_id, created_at, created_by, updated_at, updated_by)
             select e.name, k.id, t.id, coalesce(t.type_id, 0), t.queue_id, t.owner_id,
                 t.priority_id, t.state_id, now(), $3, now(), $3
             from unnest($1, $2) as e (ticket_id, name)
             join tickets t on t.id = e.ticket_id
             join event_types k on k.name = 'StateUpdate'",
        )
        .bind(&ids)
        .bind(&names)
        .bind(ACTOR)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(ids.len().try_into().unwrap_or(u64::MAX))
    }
}
