//! Identifiers in paths, refused in the monolith's words.

use axum::http::StatusCode;
use kit::ApiError;

/// The id of a ticket.
pub(super) fn ticket_id(text: &str) -> Result<i64, ApiError> {
    number(text, "Invalid ticket ID")
}

/// The id of an article.
pub(super) fn article_id(text: &str) -> Result<i64, ApiError> {
    number(text, "Invalid article ID")
}

fn number(text: &str, refusal: &'static str) -> Result<i64, ApiError> {
    text.parse().map_err(|_| ApiError::refused(StatusCode::BAD_REQUEST, refusal))
}
