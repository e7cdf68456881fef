//! Closing and reopening a ticket.

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use kit::{ApiError, Caller, Mode, Work};

use super::articles::NewArticle;
use super::event::{Event, EventKind};
use super::locked::LockedTicket;
use super::{Tickets, reference};
use crate::access::Permission;

const STATE_OPEN: i16 = 4;
/// Closed, successfully or not: these can be reopened.
const CLOSED_STATES: [i16; 2] = [2, 3];
/// Closed or merged into another ticket: these cannot be closed.
const ENDED_STATES: [i16; 3] = [2, 3, 9];

/// How a ticket is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Closing {
    /// The state `closed successful`.
    #[default]
    Successful,
    /// The state `closed unsuccessful`.
    Unsuccessful,
}

/// The state a ticket is in now, and since when.
#[derive(Debug, Clone)]
pub struct StateChanged {
    /// The new state.
    pub state_id: i16,
    /// Its name.
    pub state: String,
    /// Time of the transaction.
    pub at: DateTime<Utc>,
}

struct Transition<'a> {
    to: i16,
    subject: &'static str,
    reason: &'a str,
    /// Whether a ticket in this state can be moved, and what is said when it cannot.
    is_possible: fn(i16) -> bool,
    refusal: &'static str,
}

impl Closing {
    /// The closing with this state id.
    #[must_use]
    pub fn from_state_id(id: i16) -> Option<Self> {
        match id {
            2 => Some(Self::Successful),
            3 => Some(Self::Unsuccessful),
            _ => None,
        }
    }

    fn state_id(self) -> i16 {
        match self {
            Self::Successful => 2,
            Self::Unsuccessful => 3,
        }
    }
}

impl Tickets {
    /// Closes a ticket, with a note that says why.
    ///
    /// # Errors
    /// 400 when it is closed already, 403, 404, the fence, or the database's failure.
    pub async fn close(
        &self,
        caller: &Caller,
        id: i64,
        (closing, reason): (Closing, &str),
        mode: Mode,
    ) -> Result<StateChanged, ApiError> {
        let transition = Transition {
            to: closing.state_id(),
            subject: "Ticket Closed",
            reason,
            is_possible: |state| !ENDED_STATES.contains(&state),
            refusal: "Ticket is already closed",
        };
        self.transition(caller, id, &transition, mode).await
    }

    /// Opens a closed ticket again, with a note that says why.
    ///
    /// # Errors
    /// 400 when it is not closed, 403, 404, the fence, or the database's failure.
    pub async fn reopen(
        &self,
        caller: &Caller,
        id: i64,
        reason: &str,
        mode: Mode,
    ) -> Result<StateChanged, ApiError> {
        let transition = Transition {
            to: STATE_OPEN,
            subject: "Ticket Reopened",
            reason,
            is_possible: |state| CLOSED_STATES.contains(&state),
            refusal: "Ticket is not closed",
        };
        self.transition(caller, id, &transition, mode).await
    }

    async fn transition(
        &self,
        caller: &Caller,
        id: i64,
        transition: &Transition<'_>,
        mode: Mode,
    ) -> Result<StateChanged, ApiError> {
        let mut work = self.begin(mode).await?;
        let outcome = transition.run(&mut work, caller, id).await;
        work.finish(outcome).await
    }
}

impl Transition<'_> {
    async fn run(
        &self,
        work: &mut Work,
        caller: &Caller,
        id: i64,
    ) -> Result<StateChanged, ApiError> {
        let before = LockedTicket::lock(work, id, caller, Permission::Write).await?;
        if !(self.is_possible)(before.state_id) {
            return Err(ApiError::refused(StatusCode::BAD_REQUEST, self.refusal));
        }
        let at: DateTime<Utc> = sqlx::query_scalar(
            "update tickets set state_id = $2, pending_until = 0, archived = 0,
                 updated_at = now(), updated_by = $3
             where id = $1 returning updated_at",
        )
        .bind(id)
        .bind(self.to)
        .bind(caller.user_id)
        .fetch_one(work.connection())
        .await?;
        let note = NewArticle::note(self.subject, self.reason);
        note.write(work, id, caller.user_id).await?;
        let state = reference::state(work.connection(), self.to).await?;
        let state = state.map(|state| state.name).unwrap_or_default();
        let name = change_name(&before.state, &state);
        Event { kind: EventKind::StateUpdate, ticket_id: id, article_id: None, name }
            .record(work, caller.user_id)
            .await?;
        Ok(StateChanged { state_id: self.to, state, at })
    }
}

/// What the history says about a change of state.
pub(super) fn change_name(from: &str, to: &str) -> String {
    format!("State changed from {from} to {to}")
}
