//! Signing in, and who is asking.

mod caller;
mod password;
mod session;
mod token;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use axum::{Form, Json};
use http::header::SET_COOKIE;
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgPool};

use crate::app::App;
use crate::error::ApiError;
use crate::request::json_body;

pub(crate) use caller::{ACCESS_COOKIES, Caller, Permission, Profile};
pub use token::{Secret, WeakSecretError};

/// What the login answer always says, whatever the token's real lifetime is.
const EXPIRES_IN_S: u32 = 900;

/// How long browsers keep the cookies of a sign-in.
const COOKIE_MAX_AGE_S: u32 = 57_600;

#[derive(Debug, Deserialize)]
pub(crate) struct Credentials {
    #[serde(default)]
    login: String,
    #[serde(default)]
    password: String,
}

#[derive(Debug, Serialize)]
struct LoggedIn {
    access_token: String,
    expires_in: u32,
    refresh_token: String,
    success: bool,
    token_type: &'static str,
    user: Profile,
}

#[derive(Debug, FromRow)]
struct Account {
    id: i32,
    login: String,
    pw: String,
    first_name: String,
    last_name: String,
    is_admin: bool,
}

/// `POST /api/v1/auth/login`: tokens, but neither cookies nor a session.
pub(crate) async fn login(State(app): State<Arc<App>>, body: Bytes) -> Result<Response, ApiError> {
    let credentials: Credentials = json_body(&body, "Invalid login request")?;
    for (field, value) in [("Login", &credentials.login), ("Password", &credentials.password)] {
        if value.is_empty() {
            return Err(ApiError::invalid(format!(
                "Invalid login request: Key: '{field}' Error:Field validation for '{field}' failed on the 'required' tag"
            )));
        }
    }
    let user = check(&app.pool, credentials).await?;
    let answer = LoggedIn {
        access_token: app.secret.access_token(&user)?,
        expires_in: EXPIRES_IN_S,
        refresh_token: app.secret.refresh_token(&user)?,
        success: true,
        token_type: "Bearer",
        user,
    };
    Ok(Json(answer).into_response())
}

/// `POST /login`: a browser signs in with a form and gets cookies and a session.
pub(crate) async fn login_form(
    State(app): State<Arc<App>>,
    Form(credentials): Form<Credentials>,
) -> Result<Response, ApiError> {
    let user = match check(&app.pool, credentials).await {
        Ok(user) => user,
        Err(ApiError::InvalidCredentials) => {
            return Ok(Redirect::to("/login?error=invalid+credentials").into_response());
        }
        Err(error) => return Err(error),
    };
    let token = app.secret.access_token(&user)?;
    let session_id = session::open(&app.pool, &user).await?;
    let cookie = |name: &str, value: &str| {
        format!("{name}={value}; Path=/; Max-Age={COOKIE_MAX_AGE_S}; HttpOnly")
    };
    let cookies = AppendHeaders([
        (SET_COOKIE, cookie("access_token", &token)),
        (SET_COOKIE, cookie("session_id", &session_id)),
    ]);
    Ok((cookies, Redirect::to("/tickets")).into_response())
}

async fn check(pool: &PgPool, credentials: Credentials) -> Result<Profile, ApiError> {
    let account: Option<Account> = sqlx::query_as(
        "SELECT u.id, u.login, u.pw, u.first_name, u.last_name,
                EXISTS (SELECT 1 FROM group_user gu JOIN groups g ON g.id = gu.group_id
                        WHERE gu.user_id = u.id AND lower(g.name) = 'admin' AND g.valid_id = 1) AS is_admin
         FROM users u WHERE u.login = $1 AND u.valid_id = 1",
    )
    .bind(&credentials.login)
    .fetch_optional(pool)
    .await?;
    let account = account.ok_or(ApiError::InvalidCredentials)?;
    let Account { id, login, pw, first_name, last_name, is_admin } = account;
    // bcrypt is slow on purpose: it must not hold up the requests of others.
    let matches =
        tokio::task::spawn_blocking(move || password::matches(&credentials.password, &pw))
            .await
            .map_err(|_| ApiError::SignInFailed)?;
    if !matches {
        return Err(ApiError::InvalidCredentials);
    }
    Ok(Profile::new(id, login, first_name, last_name, is_admin))
}
