//! What a request is answered with when it is not done. Refusals of the sign-in and permission layer have no
//! `success` field, everything else has: clients rely on both.

use axum::Json;
use axum::response::{IntoResponse, Redirect, Response};
use http::header::SET_COOKIE;
use http::{HeaderValue, StatusCode};
use serde_json::json;

use crate::auth::ACCESS_COOKIES;

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// A browser that is not signed in.
    #[error("not signed in")]
    SignInFirst,
    /// An API client without a token.
    #[error("missing authorization token")]
    MissingToken,
    /// A token or session that no longer counts; `cookies` are to be forgotten by the client.
    #[error("{message}")]
    SignedOut { message: &'static str, cookies: Vec<&'static str> },
    /// Refused by the permission layer.
    #[error("{0}")]
    Forbidden(&'static str),
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// Login failed.
    #[error("invalid credentials")]
    InvalidCredentials,
    /// What the path names does not exist.
    #[error("{0}")]
    NotFound(&'static str),
    /// The database could not be asked, or refused.
    #[error("database error")]
    Database(#[from] sqlx::Error),
    /// The update of a ticket failed: this monolith tells everybody what the database said.
    #[error("could not update the ticket")]
    UpdateFailed(#[source] sqlx::Error),
    /// A password hash or token could not be computed.
    #[error("could not sign in")]
    SignInFailed,
}

impl ApiError {
    /// A 400 with this text.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(message.into())
    }

    /// A 404 for a ticket.
    pub(crate) fn no_ticket() -> Self {
        Self::NotFound("Ticket not found")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        match self {
            Self::SignInFirst => Redirect::to("/login").into_response(),
            Self::MissingToken => bare(StatusCode::UNAUTHORIZED, "Missing authorization token"),
            Self::SignedOut { message, cookies } => signed_out(message, &cookies),
            Self::Forbidden(message) => bare(StatusCode::FORBIDDEN, message),
            Self::Invalid(message) => failure(StatusCode::BAD_REQUEST, &message),
            Self::InvalidCredentials => failure(StatusCode::UNAUTHORIZED, "Invalid credentials"),
            Self::NotFound(message) => failure(StatusCode::NOT_FOUND, message),
            Self::SignInFailed => {
                failure(StatusCode::INTERNAL_SERVER_ERROR, "Authentication failed")
            }
            Self::Database(error) => database_failure(&error, "Database error"),
            Self::UpdateFailed(error) => {
                database_failure(&error, &format!("Failed to update ticket: {error}"))
            }
        }
    }
}

/// The five-character SQLSTATE when the database itself answered.
pub(crate) fn sqlstate(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(std::borrow::Cow::into_owned)
}

fn database_failure(error: &sqlx::Error, message: &str) -> Response {
    tracing::error!(sqlstate = sqlstate(error), %error, "request failed");
    if matches!(error, sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_)) {
        return failure(StatusCode::SERVICE_UNAVAILABLE, "Database unavailable");
    }
    failure(StatusCode::INTERNAL_SERVER_ERROR, message)
}

fn bare(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "error": message }))).into_response()
}

fn failure(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "error": message, "success": false }))).into_response()
}

fn signed_out(message: &str, cookies: &[&'static str]) -> Response {
    let mut response = bare(StatusCode::UNAUTHORIZED, message);
    for name in ACCESS_COOKIES.iter().chain(cookies) {
        if let Ok(expired) = HeaderValue::try_from(format!("{name}=; Path=/; Max-Age=0; HttpOnly"))
        {
            response.headers_mut().append(SET_COOKIE, expired);
        }
    }
    response
}
