//! One request, one transaction: committed, or run to its end and rolled back (a dry run).
//!
//! The proxy shadows writes as dry runs: the service does all its work, the proxy compares the
//! answer, and nothing stays.

use std::convert::Infallible;
use std::fmt;

use axum::extract::FromRequestParts;
use axum::response::{IntoResponseParts, ResponseParts};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use crate::error::ApiError;

/// Request header that asks for a dry run, and answer header that confirms it. Its value is `1`.
pub const DRY_RUN_HEADER: &str = "ficus-dry-run";

/// What happens to the transaction of a request that succeeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is committed.
    Commit,
    /// It is rolled back, and the client is answered as if it had been committed.
    DryRun,
}

/// The transaction of one request. Dropping it without [`Work::finish`] rolls back.
pub struct Work {
    transaction: Transaction<'static, Postgres>,
    mode: Mode,
    capability: &'static str,
}

impl Mode {
    /// Reads the header of a request.
    ///
    /// # Errors
    /// Any value but `1` is refused: committing what was meant as a dry run would be worse.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, ApiError> {
        match headers.get(DRY_RUN_HEADER).map(HeaderValue::as_bytes) {
            None => Ok(Self::Commit),
            Some(b"1") => Ok(Self::DryRun),
            Some(_) => Err(ApiError::refused(
                StatusCode::BAD_REQUEST,
                "Ficus-Dry-Run must be 1 or be left out",
            )),
        }
    }
}

impl Work {
    /// Begins the transaction of a request that writes to `capability`.
    ///
    /// # Errors
    /// When no connection is to be had.
    pub async fn begin(
        pool: &PgPool,
        capability: &'static str,
        mode: Mode,
    ) -> Result<Self, ApiError> {
        Ok(Self { transaction: pool.begin().await?, mode, capability })
    }

    /// The connection all statements of the request run on.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    /// `1`, or `-1` in a dry run: the factor for identifiers taken from sequences. The sequences of
    /// a side that does not own its tables are behind the rows that are replicated into them, and
    /// an identifier below zero cannot collide with any of those rows.
    #[must_use]
    pub fn id_sign(&self) -> i64 {
        match self.mode {
            Mode::Commit => 1,
            Mode::DryRun => -1,
        }
    }

    /// Ends the transaction: a success is committed (or rolled back in a dry run), a failure is
    /// rolled back. Cancelling this future rolls back unless the commit was already sent.
    ///
    /// # Errors
    /// The failure of `outcome` or of the commit, with the fence recognised in both.
    pub async fn finish<T>(self, outcome: Result<T, ApiError>) -> Result<T, ApiError> {
        let Self { transaction, mode, capability } = self;
        let ended = match (&outcome, mode) {
            (Ok(_), Mode::Commit) => transaction.commit().await,
            (Ok(_), Mode::DryRun) | (Err(_), _) => transaction.rollback().await,
        };
        let value = outcome.map_err(|error| error.of_capability(capability))?;
        ended.map_err(|error| ApiError::from(error).of_capability(capability))?;
        Ok(value)
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work").field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl<S: Sync> FromRequestParts<S> for Mode {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        Self::from_headers(&parts.headers)
    }
}

impl IntoResponseParts for Mode {
    type Error = Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
        if self == Self::DryRun {
            parts.headers_mut().insert(DRY_RUN_HEADER, HeaderValue::from_static("1"));
        }
        Ok(parts)
    }
}
