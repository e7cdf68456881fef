//! How the monolith turns away a request without identity: a browser without token goes to the login
//! page, everybody else gets 401.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::error::ApiError;

/// Cookies that carry tokens, deleted from a browser that sent a bad one.
const TOKEN_COOKIES: [&str; 4] =
    ["auth_token", "access_token", "customer_auth_token", "customer_access_token"];

/// Why a request has no caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnauthenticatedReason {
    /// Neither cookie nor header carries a token.
    #[error("Missing authorization token")]
    MissingToken,
    /// Bad signature, expired, not yet valid, or not a token at all.
    #[error("Invalid or expired token")]
    InvalidToken,
}

/// The answer to a request without caller.
#[derive(Debug)]
pub struct Unauthenticated {
    reason: UnauthenticatedReason,
    is_browser: bool,
}

impl Unauthenticated {
    /// Negotiates by the `Accept` header: absent, empty, `text/html` or `*/*` counts as a browser.
    #[must_use]
    pub fn new(reason: UnauthenticatedReason, headers: &HeaderMap) -> Self {
        let accept = headers.get(header::ACCEPT).map(HeaderValue::as_bytes).unwrap_or_default();
        let accept = String::from_utf8_lossy(accept);
        let is_browser =
            accept.is_empty() || accept.contains("text/html") || accept.contains("*/*");
        Self { reason, is_browser }
    }
}

impl IntoResponse for Unauthenticated {
    fn into_response(self) -> Response {
        if self.reason == UnauthenticatedReason::MissingToken && self.is_browser {
            return (StatusCode::SEE_OTHER, [(header::LOCATION, "/login")]).into_response();
        }
        let mut response =
            ApiError::barred(StatusCode::UNAUTHORIZED, self.reason.to_string()).into_response();
        if self.reason == UnauthenticatedReason::InvalidToken {
            for name in TOKEN_COOKIES {
                let deletion =
                    HeaderValue::from_str(&format!("{name}=; Path=/; Max-Age=0; HttpOnly"))
                        .expect("cookie names are plain ascii");
                response.headers_mut().append(header::SET_COOKIE, deletion);
            }
        }
        response
    }
}

impl From<UnauthenticatedReason> for tonic::Status {
    fn from(reason: UnauthenticatedReason) -> Self {
        Self::unauthenticated(reason.to_string())
    }
}
