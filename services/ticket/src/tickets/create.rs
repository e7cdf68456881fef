//! Creating a ticket.

use axum::http::StatusCode;
use kit::{ApiError, Caller, Mode, Work};

use super::articles::{NewArticle, channel, sender};
use super::event::{Event, EventKind};
use super::{TITLE_BYTES_MAX, Tickets, number, reference};
use crate::access::{Access, Permission};

const PRIORITY_DEFAULT: i16 = 3;
const STATE_NEW: i16 = 1;
/// Types of states that need a time until which the ticket is pending, which creation cannot give.
const PENDING_STATE_TYPES: [i16; 2] = [4, 5];

/// A ticket to be created.
#[derive(Debug, Clone, Default)]
pub struct NewTicket {
    /// At most 255 bytes.
    pub title: String,
    /// Must be valid, and the caller must have `create` on it.
    pub queue_id: i32,
    /// Must exist; normal when absent.
    pub priority_id: Option<i16>,
    /// Must exist and not be a pending one; new when absent.
    pub state_id: Option<i16>,
    /// Unclassified in the database when absent.
    pub type_id: Option<i16>,
    /// A first article is written when this is not blank.
    pub body: String,
    /// The customer's company.
    pub customer_id: Option<String>,
    /// The customer.
    pub customer_user_id: Option<String>,
}

/// A ticket that was created.
#[derive(Debug, Clone)]
pub struct Created {
    /// Below zero in a dry run.
    pub id: i64,
    /// The ticket number.
    pub number: String,
    /// As given.
    pub title: String,
    /// As given.
    pub queue_id: i32,
    /// As given, or the default.
    pub state_id: i16,
    /// As given, or the default.
    pub priority_id: i16,
}

impl Tickets {
    /// Creates a ticket owned by `caller`, with its first event, and its first article if there is
    /// something to say.
    ///
    /// # Errors
    /// 400 or 403 in the monolith's words, the fence, or the database's failure.
    pub async fn create(
        &self,
        caller: &Caller,
        ticket: &NewTicket,
        mode: Mode,
    ) -> Result<Created, ApiError> {
        let mut work = self.begin(mode).await?;
        let outcome = create(&mut work, caller, ticket).await;
        work.finish(outcome).await
    }
}

async fn create(work: &mut Work, caller: &Caller, ticket: &NewTicket) -> Result<Created, ApiError> {
    let state_id = ticket.state_id.unwrap_or(STATE_NEW);
    check(work, caller, ticket, state_id).await?;
    let number = number::next(work).await?;
    let priority_id = ticket.priority_id.unwrap_or(PRIORITY_DEFAULT);
    let sign = work.id_sign();
    let id: i64 = sqlx::query_scalar(
        "insert into tickets (id, number, title, queue_id, lock_id, type_id, owner_id,
             responsible_id, priority_id, state_id, customer_id, customer_user_id, timeout,
             pending_until, escalation_at, escalation_update_at, escalation_response_at,
             escalation_solution_at, archived, created_at, created_by, updated_at, updated_by)
         values (nextval('tickets_id_seq') * $1, $2, $3, $4, 1, $5, $6, $6, $7, $8, $9, $10,
             0, 0, 0, 0, 0, 0, 0, now(), $6, now(), $6)
         returning id",
    )
    .bind(sign)
    .bind(&number)
    .bind(&ticket.title)
    .bind(ticket.queue_id)
    .bind(ticket.type_id)
    .bind(caller.user_id)
    .bind(priority_id)
    .bind(state_id)
    .bind(&ticket.customer_id)
    .bind(&ticket.customer_user_id)
    .fetch_one(work.connection())
    .await?;
    if !ticket.body.trim().is_empty() {
        let article = NewArticle {
            sender_type_id: sender::CUSTOMER,
            channel_id: channel::EMAIL,
            is_visible: true,
            subject: ticket.title.clone(),
            body: ticket.body.clone(),
            content_type: "text/plain".to_owned(),
            ..NewArticle::default()
        };
        article.write(work, id, caller.user_id).await?;
    }
    let name = format!("Ticket created ({number})");
    Event { kind: EventKind::NewTicket, ticket_id: id, article_id: None, name }
        .record(work, caller.user_id)
        .await?;
    let (title, queue_id) = (ticket.title.clone(), ticket.queue_id);
    Ok(Created { id, number, title, queue_id, state_id, priority_id })
}

/// In the monolith's order, so that the first of several mistakes is named.
async fn check(
    work: &mut Work,
    caller: &Caller,
    ticket: &NewTicket,
    state_id: i16,
) -> Result<(), ApiError> {
    let connection = work.connection();
    let group_id = reference::group_of_queue(connection, ticket.queue_id).await?;
    let group_id = group_id.ok_or_else(|| bad("invalid queue"))?;
    Access::load(connection, caller).await?.require(Permission::Create, group_id)?;
    let state = reference::state(connection, state_id).await?;
    let state = state.ok_or_else(|| bad("invalid ticket state"))?;
    if ticket.title.len() > TITLE_BYTES_MAX {
        return Err(bad("title too long"));
    }
    if PENDING_STATE_TYPES.contains(&state.type_id) {
        return Err(bad("pending state requires pending until"));
    }
    Ok(())
}

fn bad(message: &'static str) -> ApiError {
    ApiError::refused(StatusCode::BAD_REQUEST, message)
}
