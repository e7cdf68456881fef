//! Sessions of browsers: a few key-value rows each.

use rand::RngCore;
use sqlx::PgPool;

use super::caller::Profile;

/// Writes a new session and returns its id.
pub(super) async fn open(pool: &PgPool, user: &Profile) -> Result<String, sqlx::Error> {
    let mut random = [0_u8; 32];
    rand::rng().fill_bytes(&mut random);
    let session_id = hex::encode(random);
    sqlx::query(
        "INSERT INTO sessions (session_id, data_key, data_value, serialized)
         SELECT $1, key, value, 0
         FROM to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS now,
              LATERAL (VALUES ('UserID', $2), ('UserLogin', $3), ('UserType', 'User'), ('UserFullname', $4),
                              ('CreateTime', now), ('LastRequest', now)) AS row (key, value)",
    )
    .bind(&session_id)
    .bind(user.id.to_string())
    .bind(&user.login)
    .bind(user.full_name())
    .execute(pool)
    .await?;
    Ok(session_id)
}

/// Whether the session still exists; if so, it was used now. Yes, every request of a browser writes.
pub(super) async fn touch(pool: &PgPool, session_id: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "WITH touched AS (
             UPDATE sessions
             SET data_value = to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')
             WHERE session_id = $1 AND data_key = 'LastRequest')
         SELECT EXISTS (SELECT 1 FROM sessions WHERE session_id = $1)",
    )
    .bind(session_id)
    .fetch_one(pool)
    .await
}
