//! What happened to a ticket, in words for agents.

use sqlx::PgConnection;

/// Characters of a note that its history entry quotes.
const EXCERPT_CHARS: usize = 140;

/// A change of a ticket; its row in `ticket_history` is written after the change itself.
#[derive(Debug)]
pub(crate) enum Change<'a> {
    Created { tn: &'a str },
    Noted { article_id: i64, body: &'a str },
    State { from: &'a str, to: &'a str },
    Owner { to: &'a str },
    Other,
}

impl Change<'_> {
    /// The row's type, a name in `ticket_history_type`.
    fn kind(&self) -> &'static str {
        match self {
            Self::Created { .. } => "NewTicket",
            Self::Noted { .. } => "AddNote",
            Self::State { .. } => "StateUpdate",
            Self::Owner { .. } => "OwnerUpdate",
            Self::Other => "Misc",
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Created { tn } => format!("Ticket created ({tn})"),
            Self::Noted { body, .. } => {
                let excerpt: String = body.chars().take(EXCERPT_CHARS).collect();
                format!("Note added — {excerpt}")
            }
            Self::State { from, to } => format!("State changed from {from} to {to}"),
            Self::Owner { to } => format!("Assigned to {to}"),
            Self::Other => "Ticket updated".to_owned(),
        }
    }

    fn article_id(&self) -> Option<i64> {
        match self {
            Self::Noted { article_id, .. } => Some(*article_id),
            Self::Created { .. } | Self::State { .. } | Self::Owner { .. } | Self::Other => None,
        }
    }
}

/// Writes the change with a snapshot of the ticket as it now is.
pub(crate) async fn record(
    transaction: &mut PgConnection,
    ticket_id: i64,
    change: &Change<'_>,
    user_id: i32,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO ticket_history (name, history_type_id, ticket_id, article_id, type_id, queue_id, owner_id,
                                     priority_id, state_id, create_time, create_by, change_time, change_by)
         SELECT left($1, 200), (SELECT id FROM ticket_history_type WHERE name = $2), id, $3,
                COALESCE(type_id, 0), queue_id, user_id, ticket_priority_id, ticket_state_id,
                now() AT TIME ZONE 'UTC', $4, now() AT TIME ZONE 'UTC', $4
         FROM ticket WHERE id = $5",
    )
    .bind(change.text())
    .bind(change.kind())
    .bind(change.article_id())
    .bind(user_id)
    .bind(ticket_id)
    .execute(transaction)
    .await?;
    Ok(())
}
