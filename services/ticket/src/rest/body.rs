//! JSON bodies, refused in the monolith's words.

use axum::http::StatusCode;
use kit::ApiError;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Parses a body; `context` begins the words of a refusal.
pub(super) fn json<T: DeserializeOwned>(body: &[u8], context: &str) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| refusal(context, &error))
}

/// The same for an object that has been parsed already.
pub(super) fn fields<T: DeserializeOwned>(
    fields: Map<String, Value>,
    context: &str,
) -> Result<T, ApiError> {
    serde_json::from_value(Value::Object(fields)).map_err(|error| refusal(context, &error))
}

fn refusal(context: &str, error: &serde_json::Error) -> ApiError {
    ApiError::refused(StatusCode::BAD_REQUEST, format!("{context}: {error}"))
}
