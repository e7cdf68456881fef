//! Agents over HTTP.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use sqlx::FromRow;

use crate::app::App;
use crate::auth::{Caller, Profile};
use crate::error::ApiError;
use crate::request::{Pagination, Parameters, Success, success};
use crate::timestamp::Seconds;

#[derive(Debug, Serialize, FromRow)]
struct UserRow {
    change_time: Seconds,
    create_time: Seconds,
    first_name: String,
    /// One element for each permission row, so a group may be there several times.
    groups: Value,
    id: i32,
    last_name: String,
    login: String,
    valid: bool,
    valid_id: i16,
}

#[derive(Debug, Serialize)]
pub(crate) struct Users {
    data: Vec<UserRow>,
    pagination: Pagination,
    success: bool,
}

/// `GET /api/v1/users`, with `page`, `per_page` and `search`.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    _caller: Caller,
    parameters: Parameters,
) -> Result<Json<Users>, ApiError> {
    let page = parameters.page();
    let pattern = parameters.text("search").map(|text| format!("%{text}%"));
    let total: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM users
         WHERE $1::text IS NULL OR login ILIKE $1 OR first_name ILIKE $1 OR last_name ILIKE $1",
    )
    .bind(&pattern)
    .fetch_one(&app.pool)
    .await?;
    let data = sqlx::query_as(
        "SELECT u.id, u.login, u.valid_id, u.valid_id = 1 AS valid, u.first_name, u.last_name,
                u.create_time, u.change_time,
                (SELECT COALESCE(json_agg(json_build_object('id', g.id, 'name', g.name)), '[]')
                 FROM group_user gu JOIN groups g ON g.id = gu.group_id WHERE gu.user_id = u.id) AS groups
         FROM users u
         WHERE $1::text IS NULL OR login ILIKE $1 OR first_name ILIKE $1 OR last_name ILIKE $1
         ORDER BY u.id LIMIT $2 OFFSET $3",
    )
    .bind(&pattern)
    .bind(page.per_page)
    .bind(page.offset())
    .fetch_all(&app.pool)
    .await?;
    Ok(Json(Users { data, pagination: page.of(total), success: true }))
}

/// `GET /api/v1/users/me`.
pub(crate) async fn me(caller: Caller) -> Json<Success<Profile>> {
    success(caller.profile)
}
