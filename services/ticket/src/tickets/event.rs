//! The history of a ticket: a snapshot of the ticket after each change, with a name for people.

use kit::{ApiError, Work};

/// Longest name the column holds, in characters.
const NAME_CHARS_MAX: usize = 200;

/// Kinds of events, by their names in `event_types`.
#[derive(Debug, Clone, Copy)]
pub(super) enum EventKind {
    NewTicket,
    AddNote,
    StateUpdate,
    OwnerUpdate,
    Misc,
}

/// Something that happened to a ticket.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) kind: EventKind,
    pub(super) ticket_id: i64,
    pub(super) article_id: Option<i64>,
    pub(super) name: String,
}

impl EventKind {
    fn name(self) -> &'static str {
        match self {
            Self::NewTicket => "NewTicket",
            Self::AddNote => "AddNote",
            Self::StateUpdate => "StateUpdate",
            Self::OwnerUpdate => "OwnerUpdate",
            Self::Misc => "Misc",
        }
    }
}

impl Event {
    /// Records the event with the ticket as it is now. Fails when the kind has not been replicated.
    pub(super) async fn record(self, work: &mut Work, by: i32) -> Result<(), ApiError> {
        let sign = work.id_sign();
        let name: String = self.name.chars().take(NAME_CHARS_MAX).collect();
        let _recorded: i64 = sqlx::query_scalar(
            "insert into ticket_events (id, name, type_id, ticket_id, article_id, ticket_type_id,
                 queue_id, owner_id, priority_id, state_id,
                 created_at, created_by, updated_at, updated_by)
             select nextval('ticket_events_id_seq') * $1, $2, k.id, t.id, $3,
                 coalesce(t.type_id, 0), t.queue_id, t.owner_id, t.priority_id, t.state_id,
                 now(), $4, now(), $4
             from tickets t join event_types k on k.name = $5
             where t.id = $6
             returning id",
        )
        .bind(sign)
        .bind(name)
        .bind(self.article_id)
        .bind(by)
        .bind(self.kind.name())
        .bind(self.ticket_id)
        .fetch_one(work.connection())
        .await?;
        Ok(())
    }
}
