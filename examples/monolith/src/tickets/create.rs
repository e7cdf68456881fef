//! `POST /api/v1/tickets`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection};

use super::history::{Change, record};
use super::{TITLE_BYTES_MAX, number};
use crate::app::App;
use crate::articles::NewArticle;
use crate::auth::{Caller, Permission};
use crate::error::ApiError;
use crate::request::{created, json_body};

/// State types pending reminder and pending auto: this request has no field for the time they need.
const PENDING_TYPES: [i16; 2] = [4, 5];

#[derive(Debug, Deserialize)]
struct NewTicket {
    #[serde(default)]
    title: String,
    queue_id: Option<i32>,
    priority_id: Option<i16>,
    state_id: Option<i16>,
    type_id: Option<i16>,
    #[serde(default)]
    body: String,
    customer_email: Option<String>,
    customer_id: Option<String>,
    customer_user_id: Option<String>,
}

#[derive(Debug, Serialize, FromRow)]
struct Created {
    id: i64,
    queue_id: i32,
    ticket_priority_id: i16,
    ticket_state_id: i16,
    title: String,
    tn: String,
}

/// What the ids of the request stand for.
#[derive(Debug, FromRow)]
struct Referenced {
    group_id: Option<i32>,
    state_type_id: Option<i16>,
}

/// `POST /api/v1/tickets`.
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    body: Bytes,
) -> Result<Response, ApiError> {
    let request: NewTicket = json_body(&body, "Invalid ticket request")?;
    let queue_id = request
        .queue_id
        .filter(|_| !request.title.is_empty())
        .ok_or_else(|| ApiError::invalid("Invalid ticket request: missing title or queue"))?;
    let state_id = request.state_id.unwrap_or(1);
    let referenced: Referenced = sqlx::query_as(
        "SELECT (SELECT group_id FROM queue WHERE id = $1 AND valid_id = 1) AS group_id,
                (SELECT type_id FROM ticket_state WHERE id = $2) AS state_type_id",
    )
    .bind(queue_id)
    .bind(state_id)
    .fetch_one(&app.pool)
    .await?;
    let group_id = referenced.group_id.ok_or_else(|| ApiError::invalid("invalid queue"))?;
    caller.require(Permission::Create, group_id)?;
    let state_type_id =
        referenced.state_type_id.ok_or_else(|| ApiError::invalid("invalid ticket state"))?;
    if request.title.len() > TITLE_BYTES_MAX {
        return Err(ApiError::invalid("title too long"));
    }
    if PENDING_TYPES.contains(&state_type_id) {
        return Err(ApiError::invalid("pending state requires pending until"));
    }

    let mut transaction = app.pool.begin().await?;
    let tn = number::next(&mut transaction).await?;
    let ticket = insert(&mut transaction, &request, (queue_id, state_id), &tn, caller.id()).await?;
    if !request.body.trim().is_empty() {
        NewArticle {
            subject: &request.title,
            ..NewArticle::from_customer(ticket.id, &request.body, caller.id())
        }
        .insert(&mut transaction)
        .await?;
    }
    record(&mut transaction, ticket.id, &Change::Created { tn: &tn }, caller.id()).await?;
    transaction.commit().await?;
    Ok(created(ticket))
}

async fn insert(
    transaction: &mut PgConnection,
    request: &NewTicket,
    (queue_id, state_id): (i32, i16),
    tn: &str,
    user_id: i32,
) -> Result<Created, sqlx::Error> {
    sqlx::query_as(
        "INSERT INTO ticket (tn, title, queue_id, ticket_lock_id, type_id, user_id, responsible_user_id,
                             ticket_priority_id, ticket_state_id, customer_id, customer_user_id, timeout,
                             until_time, escalation_time, escalation_update_time, escalation_response_time,
                             escalation_solution_time, create_time, create_by, change_time, change_by)
         VALUES ($1, $2, $3, 1, $4, $5, $5, $6, $7, $8, $9, 0, 0, 0, 0, 0, 0,
                 now() AT TIME ZONE 'UTC', $5, now() AT TIME ZONE 'UTC', $5)
         RETURNING id, tn, title, queue_id, ticket_state_id, ticket_priority_id",
    )
    .bind(tn)
    .bind(&request.title)
    .bind(queue_id)
    .bind(request.type_id)
    .bind(user_id)
    .bind(request.priority_id.unwrap_or(3))
    .bind(state_id)
    .bind(&request.customer_id)
    .bind(request.customer_user_id.as_ref().or(request.customer_email.as_ref()))
    .fetch_one(transaction)
    .await
}
