//! What a request can end with other than success, and how that reads to REST and gRPC clients.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use tonic::metadata::MetadataValue;

/// SQLSTATE raised by the fence of a side that does not own the capability.
pub const FENCED_SQLSTATE: &str = "FC001";
/// Header that tells the proxy "refused by the fence, nothing was done".
pub const FENCED_HEADER: &str = "ficus-fenced";

/// A request that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The client is told `message` and nothing else happened.
    #[error("{message}")]
    Refused {
        /// HTTP status of the answer.
        status: StatusCode,
        /// The monolith's own words.
        message: Cow<'static, str>,
        /// Which of the monolith's two error bodies carries them.
        envelope: Envelope,
    },
    /// The database refused the write because the other side owns the capability. Nothing was done.
    #[error("{capability} are owned by the other side at the moment")]
    Fenced {
        /// The capability, as the guard table names it.
        capability: &'static str,
    },
    /// The database failed. The client learns only `message`.
    #[error("{message}")]
    Database {
        /// The monolith's own words for this failure.
        message: &'static str,
        /// The cause, logged once when the answer is written.
        #[source]
        source: sqlx::Error,
    },
}

/// The two error bodies of the monolith.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Envelope {
    /// `{"error": …, "success": false}`, written by handlers.
    Full,
    /// `{"error": …}`, written by the checks that run before a handler.
    Bare,
}

/// An error with all its causes on one line, for log fields.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

#[derive(Serialize)]
struct Body<'a> {
    error: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    success: Option<bool>,
}

impl ApiError {
    /// A refusal by a handler, with the full envelope.
    pub fn refused(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self::Refused { status, message: message.into(), envelope: Envelope::Full }
    }

    /// A refusal by a check before the handler, with the bare envelope.
    pub fn barred(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self::Refused { status, message: message.into(), envelope: Envelope::Bare }
    }

    /// The same failure with other words for the client, when the database answered with it.
    #[must_use]
    pub fn saying(self, message: &'static str) -> Self {
        match self {
            Self::Database { source, .. } if !is_unavailable(&source) => {
                Self::Database { message, source }
            }
            other @ (Self::Database { .. } | Self::Refused { .. } | Self::Fenced { .. }) => other,
        }
    }

    /// Recognises the fence of `capability` in a failure of the database.
    #[must_use]
    pub fn of_capability(self, capability: &'static str) -> Self {
        match self {
            Self::Database { source, .. } if is_fenced(&source) => Self::Fenced { capability },
            other @ (Self::Database { .. } | Self::Refused { .. } | Self::Fenced { .. }) => other,
        }
    }

    /// The HTTP status this failure is answered with.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Refused { status, .. } => *status,
            Self::Fenced { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Database { source, .. } if is_unavailable(source) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Database { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// One event for each failure that is ours, at the place that handles it. Refusals are answers.
    fn log(&self) {
        match self {
            Self::Refused { .. } => {}
            Self::Fenced { capability } => tracing::info!(capability, "write refused by the fence"),
            Self::Database { source, .. } => {
                tracing::error!(error = %Chain(source), "request failed in the database");
            }
        }
    }
}

/// Whether the database refused a write because its side does not own the capability.
#[must_use]
pub fn is_fenced(error: &sqlx::Error) -> bool {
    sqlstate(error).as_deref() == Some(FENCED_SQLSTATE)
}

/// The SQLSTATE of a failure, when the database itself reported it.
#[must_use]
pub fn sqlstate(error: &sqlx::Error) -> Option<Cow<'_, str>> {
    error.as_database_error()?.code()
}

impl From<sqlx::Error> for ApiError {
    fn from(source: sqlx::Error) -> Self {
        let message =
            if is_unavailable(&source) { "Database unavailable" } else { "Database error" };
        Self::Database { message, source }
    }
}

/// Whether the database could not be asked at all.
fn is_unavailable(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_))
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.log();
        let success = match &self {
            Self::Refused { envelope: Envelope::Bare, .. } => None,
            Self::Refused { .. } | Self::Fenced { .. } | Self::Database { .. } => Some(false),
        };
        let message = self.to_string();
        let mut response = (self.status(), Json(Body { error: &message, success })).into_response();
        if matches!(self, Self::Fenced { .. }) {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            headers.insert(FENCED_HEADER, HeaderValue::from_static("true"));
        }
        response
    }
}

impl From<ApiError> for tonic::Status {
    fn from(error: ApiError) -> Self {
        error.log();
        let message = error.to_string();
        let mut status = match error.status() {
            StatusCode::BAD_REQUEST => Self::invalid_argument(message),
            StatusCode::UNAUTHORIZED => Self::unauthenticated(message),
            StatusCode::FORBIDDEN => Self::permission_denied(message),
            StatusCode::NOT_FOUND => Self::not_found(message),
            StatusCode::SERVICE_UNAVAILABLE => Self::unavailable(message),
            _ => Self::internal(message),
        };
        if matches!(error, ApiError::Fenced { .. }) {
            status.metadata_mut().insert(FENCED_HEADER, MetadataValue::from_static("true"));
            status.metadata_mut().insert("retry-after", MetadataValue::from_static("1"));
        }
        status
    }
}

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
