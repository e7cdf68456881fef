//! Tickets. Every write is one transaction that touches the tables in one order: ticket_number_counter, ticket,
//! article, article_data_mime, ticket_history, ticket_flag.

mod access;
mod create;
pub(crate) mod history;
mod list;
mod number;
mod read;
mod resolve;
mod update;

pub(crate) use access::{LockedTicket, mark_seen, require};
pub(crate) use create::create;
pub(crate) use list::{Filter, fetch_page, list};
pub(crate) use read::{fetch, get};
pub(crate) use resolve::{close, reopen};
pub(crate) use update::update;

use crate::error::ApiError;
use crate::request::path_id;

/// Bytes, not characters: the limit is older than the database's.
const TITLE_BYTES_MAX: usize = 255;

/// The id of a ticket in a path; ticket numbers are not accepted.
pub(crate) fn ticket_id(text: &str) -> Result<i64, ApiError> {
    path_id(text, "Invalid ticket ID")
}
