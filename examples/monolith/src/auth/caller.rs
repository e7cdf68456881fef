//! Who is asking and what they may do. Taking a [`Caller`] as an argument makes a handler ask for a sign-in.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::header::{ACCEPT, AUTHORIZATION, COOKIE};
use http::request::Parts;
use serde::Serialize;
use sqlx::{FromRow, PgPool};

use super::session;
use crate::app::App;
use crate::error::ApiError;

/// Cookies that may hold a token; all are cleared when one of them is refused.
pub(crate) const ACCESS_COOKIES: [&str; 4] =
    ["auth_token", "access_token", "customer_auth_token", "customer_access_token"];

/// A right on the queues of a group, as `group_user.permission_key` spells it. `rw` includes the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Permission {
    Read,
    Create,
    Note,
    Write,
}

/// An agent as others may see them.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Profile {
    pub(super) email: String,
    first_name: String,
    pub(crate) id: i32,
    last_name: String,
    pub(crate) login: String,
    pub(super) role: &'static str,
}

/// The agent behind a request.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) profile: Profile,
    grants: Vec<(i32, String)>,
}

/// One permission of a user, or one row of NULLs for a user who has none.
#[derive(Debug, FromRow)]
struct GrantRow {
    login: String,
    first_name: String,
    last_name: String,
    group_id: Option<i32>,
    group_name: Option<String>,
    permission_key: Option<String>,
}

impl Permission {
    fn key(self) -> &'static str {
        match self {
            Self::Read => "ro",
            Self::Create => "create",
            Self::Note => "note",
            Self::Write => "rw",
        }
    }
}

impl Profile {
    pub(super) fn new(
        id: i32,
        login: String,
        first_name: String,
        last_name: String,
        is_admin: bool,
    ) -> Self {
        let role = if is_admin { "Admin" } else { "Agent" };
        Self { email: login.clone(), first_name, id, last_name, login, role }
    }

    pub(super) fn is_admin(&self) -> bool {
        self.role == "Admin"
    }

    pub(super) fn full_name(&self) -> String {
        format!("{} {}", self.first_name, self.last_name)
    }
}

impl Caller {
    /// The caller's user id, which rows are signed with.
    pub(crate) fn id(&self) -> i32 {
        self.profile.id
    }

    /// Refuses unless the caller has `permission` on the queues of this group.
    pub(crate) fn require(&self, permission: Permission, group_id: i32) -> Result<(), ApiError> {
        if self.profile.is_admin() || self.groups(permission).contains(&group_id) {
            return Ok(());
        }
        Err(ApiError::Forbidden("You do not have permission to access this queue"))
    }

    /// The groups whose queues the caller may read, `None` for all.
    pub(crate) fn readable_groups(&self) -> Result<Option<Vec<i32>>, ApiError> {
        if self.profile.is_admin() {
            return Ok(None);
        }
        let groups = self.groups(Permission::Read);
        if groups.is_empty() {
            return Err(ApiError::Forbidden("You do not have access to any queues"));
        }
        Ok(Some(groups))
    }

    fn groups(&self, permission: Permission) -> Vec<i32> {
        let includes = |key: &str| key == Permission::Write.key() || key == permission.key();
        self.grants.iter().filter(|(_, key)| includes(key)).map(|(group, _)| *group).collect()
    }

    async fn load(pool: &PgPool, user_id: i32) -> Result<Option<Self>, sqlx::Error> {
        let rows: Vec<GrantRow> = sqlx::query_as(
            "SELECT u.login, u.first_name, u.last_name, g.id AS group_id, g.name AS group_name,
                    gu.permission_key
             FROM users u
             LEFT JOIN group_user gu ON gu.user_id = u.id
             LEFT JOIN groups g ON g.id = gu.group_id AND g.valid_id = 1
             WHERE u.id = $1",
        )
        .bind(user_id)
        .fetch_all(pool)
        .await?;
        let is_admin = rows
            .iter()
            .filter_map(|row| row.group_name.as_ref())
            .any(|name| name.eq_ignore_ascii_case("admin"));
        let mut profile = None;
        let mut grants = Vec::with_capacity(rows.len());
        for row in rows {
            profile.get_or_insert_with(|| {
                Profile::new(user_id, row.login, row.first_name, row.last_name, is_admin)
            });
            grants.extend(row.group_id.zip(row.permission_key));
        }
        Ok(profile.map(|profile| Self { profile, grants }))
    }
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let Some(token) = token(parts) else {
            return Err(if wants_html(parts) {
                ApiError::SignInFirst
            } else {
                ApiError::MissingToken
            });
        };
        let invalid =
            || ApiError::SignedOut { message: "Invalid or expired token", cookies: Vec::new() };
        let user_id = app.secret.check(token).ok_or_else(invalid)?.user_id;
        if let Some(session_id) = cookie(parts, "session_id")
            && !session::touch(&app.pool, session_id).await?
        {
            return Err(ApiError::SignedOut {
                message: "Session has been terminated",
                cookies: vec!["session_id", "customer_session_id"],
            });
        }
        Self::load(&app.pool, user_id).await?.ok_or_else(invalid)
    }
}

/// Cookies win over the header.
fn token(parts: &Parts) -> Option<&str> {
    cookie(parts, "auth_token").or_else(|| cookie(parts, "access_token")).or_else(|| {
        let header = parts.headers.get(AUTHORIZATION)?.to_str().ok()?;
        header.strip_prefix("Bearer ").map(str::trim)
    })
}

fn cookie<'a>(parts: &'a Parts, name: &str) -> Option<&'a str> {
    parts
        .headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, value)| *key == name && !value.is_empty())
        .map(|(_, value)| value)
}

/// No `Accept`, HTML or anything at all: such a client is sent to the login page.
fn wants_html(parts: &Parts) -> bool {
    let accept = parts.headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    accept.is_empty() || accept.contains("text/html") || accept.contains("*/*")
}
