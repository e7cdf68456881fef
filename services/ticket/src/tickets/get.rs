//! Reading one ticket.

use chrono::{DateTime, Utc};
use kit::{ApiError, Caller};

use super::Tickets;
use super::locked::{not_found, require_read};

/// A ticket with the names of what it refers to.
#[derive(Debug, Clone, sqlx::FromRow)]
#[expect(missing_docs, reason = "the fields are the columns of the same names")]
pub struct TicketDetail {
    pub id: i64,
    pub number: String,
    pub title: Option<String>,
    pub queue_id: i32,
    pub queue: Option<String>,
    pub state_id: i16,
    pub state: Option<String>,
    pub priority_id: i16,
    pub priority: Option<String>,
    pub type_id: Option<i16>,
    pub owner_id: i32,
    pub responsible_id: Option<i32>,
    pub customer_id: Option<String>,
    pub customer_user_id: Option<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub article_count: i64,
}

impl Tickets {
    /// One ticket.
    ///
    /// # Errors
    /// 404, 403, or the database's failure.
    pub async fn get(&self, caller: &Caller, id: i64) -> Result<TicketDetail, ApiError> {
        let mut connection = self.pool.acquire().await?;
        require_read(&mut connection, id, caller).await?;
        sqlx::query_as(
            "select t.id, t.number, t.title, t.queue_id, q.name as queue, t.state_id,
                    s.name as state, t.priority_id, p.name as priority, t.type_id, t.owner_id,
                    t.responsible_id, t.customer_id, t.customer_user_id, t.created_at, t.updated_at,
                    (select count(*) from articles a where a.ticket_id = t.id) as article_count
             from tickets t
             left join queues q on q.id = t.queue_id
             left join states s on s.id = t.state_id
             left join priorities p on p.id = t.priority_id
             where t.id = $1",
        )
        .bind(id)
        .fetch_optional(&mut *connection)
        .await?
        .ok_or_else(not_found)
    }
}
