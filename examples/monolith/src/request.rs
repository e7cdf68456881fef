//! Reading what a client sent: ids in paths, JSON bodies, forms of browsers.

use axum::Json;
use axum::extract::Query;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// The envelope of nearly every answer.
#[derive(Debug, Serialize)]
pub(crate) struct Success<T> {
    data: T,
    success: bool,
}

/// A 200 with `data` in the envelope.
pub(crate) fn success<T: Serialize>(data: T) -> Json<Success<T>> {
    Json(Success { data, success: true })
}

/// A 201 with `data` in the envelope.
pub(crate) fn created<T: Serialize>(data: T) -> Response {
    (StatusCode::CREATED, success(data)).into_response()
}

/// Parses a JSON body; `context` begins the text of the 400.
pub(crate) fn json_body<T: DeserializeOwned>(body: &[u8], context: &str) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::invalid(format!("{context}: {error}")))
}

/// An id in a path; `message` is the text of the 400.
pub(crate) fn path_id<T: std::str::FromStr>(text: &str, message: &str) -> Result<T, ApiError> {
    text.parse().map_err(|_| ApiError::invalid(message))
}

/// Query parameters of which those that do not parse are ignored, as `?page=x` always was.
#[derive(Debug)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.text(name)?.parse().ok()
    }

    /// Which part of a list is wanted.
    pub(crate) fn page(&self) -> Page {
        Page {
            page: self.number("page").filter(|page| *page >= 1).unwrap_or(1),
            per_page: self.number("per_page").filter(|n| *n >= 1).map_or(20, |n: i64| n.min(100)),
        }
    }
}

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for Parameters {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut http::request::Parts,
        state: &S,
    ) -> Result<Self, ApiError> {
        let query = Query::from_request_parts(parts, state).await;
        Ok(Self(query.map(|Query(pairs)| pairs).unwrap_or_default()))
    }
}

/// A part of a list: `page` counts from 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    pub(crate) page: i64,
    pub(crate) per_page: i64,
}

impl Page {
    pub(crate) fn offset(self) -> i64 {
        self.per_page.saturating_mul(self.page - 1)
    }

    /// Describes this part of a list of `total` elements.
    pub(crate) fn of(self, total: i64) -> Pagination {
        let total_pages = (total + self.per_page - 1) / self.per_page;
        Pagination {
            has_next: self.page < total_pages,
            has_prev: self.page > 1,
            page: self.page,
            per_page: self.per_page,
            total,
            total_pages,
        }
    }
}

/// Where a page stands in its list.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Pagination {
    pub(crate) has_next: bool,
    pub(crate) has_prev: bool,
    pub(crate) page: i64,
    pub(crate) per_page: i64,
    pub(crate) total: i64,
    pub(crate) total_pages: i64,
}
