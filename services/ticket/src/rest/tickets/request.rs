//! What clients send. The types are named as in the monolith: a client with a malformed body is told
//! their names.

use axum::http::StatusCode;
use kit::ApiError;
use serde::{Deserialize, Deserializer};

use crate::tickets::create;
use crate::tickets::update::Change;

#[derive(Debug, Deserialize)]
pub(super) struct NewTicket {
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

#[derive(Debug, Deserialize)]
pub(super) struct Fields {
    title: Option<String>,
    queue_id: Option<i32>,
    type_id: Option<i16>,
    state_id: Option<i16>,
    priority_id: Option<i16>,
    ticket_lock_id: Option<i16>,
    customer_id: Option<String>,
    customer_user_id: Option<String>,
    user_id: Option<i32>,
    /// Null is not the same as absent.
    #[serde(default, deserialize_with = "given")]
    responsible_user_id: Option<Option<i32>>,
}

impl TryFrom<NewTicket> for create::NewTicket {
    type Error = ApiError;

    fn try_from(request: NewTicket) -> Result<Self, ApiError> {
        let queue_id = request.queue_id.filter(|_| !request.title.is_empty()).ok_or_else(|| {
            let message = "Invalid ticket request: missing title or queue";
            ApiError::refused(StatusCode::BAD_REQUEST, message)
        })?;
        Ok(Self {
            title: request.title,
            queue_id,
            priority_id: request.priority_id,
            state_id: request.state_id,
            type_id: request.type_id,
            body: request.body,
            customer_id: request.customer_id,
            customer_user_id: request.customer_user_id.or(request.customer_email),
        })
    }
}

impl From<Fields> for Change {
    fn from(fields: Fields) -> Self {
        Self {
            title: fields.title,
            queue_id: fields.queue_id,
            type_id: fields.type_id,
            state_id: fields.state_id,
            priority_id: fields.priority_id,
            lock_id: fields.ticket_lock_id,
            customer_id: fields.customer_id,
            customer_user_id: fields.customer_user_id,
            owner_id: fields.user_id,
            responsible_id: fields.responsible_user_id,
        }
    }
}

/// Tells a null from a missing field.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<i32>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}
