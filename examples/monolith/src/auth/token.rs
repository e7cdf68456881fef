//! The HS256 tokens, which every service that shares the secret can check by itself.

use std::time::Duration;

use chrono::Utc;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::caller::Profile;
use crate::error::ApiError;

const ISSUER: &str = "gotrs";

/// Shorter keys can be guessed from a single token.
const SECRET_BYTES_MIN: usize = 32;

const REFRESH_TOKEN_TTL_S: i64 = 7 * 24 * 3600;

/// The key that tokens are signed with, and how long they are valid.
pub struct Secret {
    sign: EncodingKey,
    check: DecodingKey,
    validation: Validation,
    access_ttl_s: i64,
}

/// The secret is shorter than 32 bytes.
#[derive(Debug, thiserror::Error)]
#[error("JWT_SECRET is too short; set it to {SECRET_BYTES_MIN} bytes or more")]
pub struct WeakSecretError;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) user_id: i32,
    email: String,
    login: String,
    role: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_admin: bool,
    exp: i64,
    iat: i64,
    nbf: i64,
    iss: String,
    sub: String,
}

#[derive(Debug, Serialize)]
struct RefreshClaims<'a> {
    exp: i64,
    iat: i64,
    iss: &'a str,
    jti: String,
    nbf: i64,
    sub: &'a str,
}

impl Secret {
    /// Access tokens are valid for `access_ttl`.
    ///
    /// # Errors
    /// When `key` is shorter than 32 bytes.
    pub fn new(key: &str, access_ttl: Duration) -> Result<Self, WeakSecretError> {
        if key.len() < SECRET_BYTES_MIN {
            return Err(WeakSecretError);
        }
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        validation.validate_nbf = true;
        Ok(Self {
            sign: EncodingKey::from_secret(key.as_bytes()),
            check: DecodingKey::from_secret(key.as_bytes()),
            validation,
            access_ttl_s: i64::try_from(access_ttl.as_secs()).unwrap_or(i64::MAX / 2),
        })
    }

    pub(super) fn access_token(&self, user: &Profile) -> Result<String, ApiError> {
        let now = Utc::now().timestamp();
        self.encode(&Claims {
            user_id: user.id,
            email: user.email.clone(),
            login: user.login.clone(),
            role: user.role.to_owned(),
            is_admin: user.is_admin(),
            exp: now.saturating_add(self.access_ttl_s),
            iat: now,
            nbf: now,
            iss: ISSUER.to_owned(),
            sub: user.login.clone(),
        })
    }

    /// A token that no endpoint accepts, as nothing can be refreshed; clients expect to get one.
    pub(super) fn refresh_token(&self, user: &Profile) -> Result<String, ApiError> {
        let now = Utc::now().timestamp();
        self.encode(&RefreshClaims {
            exp: now + REFRESH_TOKEN_TTL_S,
            iat: now,
            iss: ISSUER,
            jti: user.id.to_string(),
            nbf: now,
            sub: &user.email,
        })
    }

    /// The claims of a token that is genuine and valid now.
    pub(super) fn check(&self, token: &str) -> Option<Claims> {
        let checked = jsonwebtoken::decode(token, &self.check, &self.validation);
        checked.ok().map(|checked| checked.claims)
    }

    fn encode(&self, claims: &impl Serialize) -> Result<String, ApiError> {
        jsonwebtoken::encode(&Header::default(), claims, &self.sign)
            .map_err(|_| ApiError::SignInFailed)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}
