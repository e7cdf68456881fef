//! What is said about a ticket: its articles and their bodies.

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use kit::{ApiError, Caller, Mode, Work};

use super::Tickets;
use super::draft::Draft;
use super::event::{Event, EventKind};
use super::locked::{LockedTicket, require_read};
use crate::access::Permission;

/// Characters of the body that the history shows.
const EXCERPT_CHARS_MAX: usize = 140;

/// Kinds of senders, by the monolith's ids.
pub mod sender {
    /// An agent.
    pub const AGENT: i16 = 1;
    /// The system itself.
    pub const SYSTEM: i16 = 2;
    /// A customer.
    pub const CUSTOMER: i16 = 3;
}

/// Communication channels, by the monolith's ids.
pub mod channel {
    /// Mail.
    pub const EMAIL: i64 = 1;
    /// Phone.
    pub const PHONE: i64 = 2;
    /// A note in the system itself.
    pub const NOTE: i64 = 3;
    /// Chat.
    pub const CHAT: i64 = 4;
}

/// An article to be written.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "the fields are the columns of the same names")]
pub struct NewArticle {
    pub sender_type_id: i16,
    pub channel_id: i64,
    pub is_visible: bool,
    pub subject: String,
    pub body: String,
    pub content_type: String,
    pub from: Option<String>,
    pub to: Option<String>,
    pub cc: Option<String>,
    pub reply_to: Option<String>,
    pub in_reply_to: Option<String>,
    pub references: Option<String>,
    pub message_id: Option<String>,
    /// Seconds since 1970; the time of the transaction when absent.
    pub received_at: Option<i32>,
}

/// What the database made of a [`NewArticle`].
#[derive(Debug, Clone, Copy, sqlx::FromRow)]
pub struct Written {
    /// Below zero in a dry run.
    pub id: i64,
    /// Time of the transaction.
    pub created_at: DateTime<Utc>,
}

/// An article with its body.
#[derive(Debug, Clone, sqlx::FromRow)]
#[expect(missing_docs, reason = "the fields are the columns of the same names")]
pub struct Article {
    pub id: i64,
    pub ticket_id: i64,
    pub sender_type_id: i16,
    pub channel_id: i64,
    pub visible_to_customer: i16,
    pub created_at: DateTime<Utc>,
    pub created_by: i32,
    pub subject: Option<String>,
    pub body: Option<String>,
    pub content_type: Option<String>,
    pub sender: Option<String>,
    pub recipient: Option<String>,
}

impl Tickets {
    /// All articles of a ticket, oldest first. Customers see only what is visible to them.
    ///
    /// # Errors
    /// 404, 403, or the database's failure.
    pub async fn articles(&self, caller: &Caller, id: i64) -> Result<Vec<Article>, ApiError> {
        let mut connection = self.pool.acquire().await?;
        require_read(&mut connection, id, caller).await?;
        Ok(sqlx::query_as(
            "select a.id, a.ticket_id, a.sender_type_id, a.channel_id, a.visible_to_customer,
                    a.created_at, a.created_by, b.subject, b.body, b.content_type, b.sender,
                    b.recipient
             from articles a left join article_bodies b on b.article_id = a.id
             where a.ticket_id = $1 and (a.visible_to_customer = 1 or not $2)
             order by a.id, b.id",
        )
        .bind(id)
        .bind(caller.role == kit::auth::Role::Customer)
        .fetch_all(&mut *connection)
        .await?)
    }

    /// One article of a ticket.
    ///
    /// # Errors
    /// 404, 403, or the database's failure.
    pub async fn article(
        &self,
        caller: &Caller,
        id: i64,
        article_id: i64,
    ) -> Result<Article, ApiError> {
        let mut connection = self.pool.acquire().await?;
        require_read(&mut connection, id, caller).await?;
        sqlx::query_as(
            "select a.id, a.ticket_id, a.sender_type_id, a.channel_id, a.visible_to_customer,
                    a.created_at, a.created_by, b.subject, b.body, b.content_type, b.sender,
                    b.recipient
             from articles a left join article_bodies b on b.article_id = a.id
             where a.ticket_id = $1 and a.id = $2 and (a.visible_to_customer = 1 or not $3)
             order by b.id desc limit 1",
        )
        .bind(id)
        .bind(article_id)
        .bind(caller.role == kit::auth::Role::Customer)
        .fetch_optional(&mut *connection)
        .await?
        .ok_or_else(|| ApiError::refused(StatusCode::NOT_FOUND, "Article not found"))
    }

    /// Adds an article and marks the ticket as changed and as seen by `caller`.
    ///
    /// # Errors
    /// 400, 403 or 404 in the monolith's words, the fence, or the database's failure.
    pub async fn add_article(
        &self,
        caller: &Caller,
        ticket_id: i64,
        draft: Draft,
        mode: Mode,
    ) -> Result<(NewArticle, Written), ApiError> {
        let mut work = self.begin(mode).await?;
        let outcome = add(&mut work, caller, ticket_id, draft).await;
        work.finish(outcome).await
    }
}

async fn add(
    work: &mut Work,
    caller: &Caller,
    ticket_id: i64,
    draft: Draft,
) -> Result<(NewArticle, Written), ApiError> {
    LockedTicket::lock(work, ticket_id, caller, Permission::Note).await?;
    let article = draft.into_article()?;
    sqlx::query("update tickets set updated_at = now(), updated_by = $2 where id = $1")
        .bind(ticket_id)
        .bind(caller.user_id)
        .execute(work.connection())
        .await?;
    let written = article.write(work, ticket_id, caller.user_id).await?;
    let excerpt: String = article.body.chars().take(EXCERPT_CHARS_MAX).collect();
    Event {
        kind: EventKind::AddNote,
        ticket_id,
        article_id: Some(written.id),
        name: format!("Note added — {excerpt}"),
    }
    .record(work, caller.user_id)
    .await?;
    mark_seen(work, ticket_id, caller.user_id).await?;
    Ok((article, written))
}

impl NewArticle {
    /// A note of the system about a change, visible to agents only.
    pub(super) fn note(subject: &str, body: &str) -> Self {
        Self {
            sender_type_id: sender::AGENT,
            channel_id: channel::NOTE,
            subject: subject.to_owned(),
            body: body.to_owned(),
            content_type: "text/plain".to_owned(),
            ..Self::default()
        }
    }

    /// Writes article and body.
    pub(super) async fn write(
        &self,
        work: &mut Work,
        ticket_id: i64,
        by: i32,
    ) -> Result<Written, ApiError> {
        let sign = work.id_sign();
        let written: Written = sqlx::query_as(
            "insert into articles (id, ticket_id, sender_type_id, channel_id, visible_to_customer,
                 created_at, created_by, updated_at, updated_by)
             values (nextval('articles_id_seq') * $1, $2, $3, $4, $5, now(), $6, now(), $6)
             returning id, created_at",
        )
        .bind(sign)
        .bind(ticket_id)
        .bind(self.sender_type_id)
        .bind(self.channel_id)
        .bind(i16::from(self.is_visible))
        .bind(by)
        .fetch_one(work.connection())
        .await?;
        sqlx::query(
            "insert into article_bodies (id, article_id, sender, reply_to, recipient, cc, subject,
                 message_id, message_id_md5, in_reply_to, reference_ids, content_type, body,
                 received_at, created_at, created_by, updated_at, updated_by)
             values (nextval('article_bodies_id_seq') * $1, $2, $3, $4, $5, $6, $7, $8, md5($8),
                 $9, $10, $11, $12, coalesce($13, extract(epoch from now())::int),
                 now(), $14, now(), $14)",
        )
        .bind(sign)
        .bind(written.id)
        .bind(&self.from)
        .bind(&self.reply_to)
        .bind(&self.to)
        .bind(&self.cc)
        .bind(&self.subject)
        .bind(&self.message_id)
        .bind(&self.in_reply_to)
        .bind(&self.references)
        .bind(&self.content_type)
        .bind(&self.body)
        .bind(self.received_at)
        .bind(by)
        .execute(work.connection())
        .await?;
        Ok(written)
    }
}

/// Remembers that the agent has seen the ticket as it is now.
pub(super) async fn mark_seen(work: &mut Work, ticket_id: i64, by: i32) -> Result<(), ApiError> {
    sqlx::query(
        "insert into ticket_flags (ticket_id, key, value, created_at, created_by)
         values ($1, 'Seen', '1', now(), $2)
         on conflict (ticket_id, key, created_by)
         do update set value = excluded.value, created_at = excluded.created_at",
    )
    .bind(ticket_id)
    .bind(by)
    .execute(work.connection())
    .await?;
    Ok(())
}
