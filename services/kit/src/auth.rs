//! Who is asking: the monolith's tokens, so that nobody logs in twice, or the proxy's word on it.

mod identity;
mod refusal;
mod token;

use axum::extract::{FromRef, FromRequestParts};
use http::HeaderMap;
use http::request::Parts;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;

pub use identity::{BadIdentityKeys, IdentityKeys};
pub use refusal::{Unauthenticated, UnauthenticatedReason};

use crate::config::Secret;

/// The monolith pads shorter secrets with random bytes, and no other process can verify those.
pub const SECRET_LENGTH_MIN: usize = 32;

/// Checks the tokens the monolith issues, and identities of the proxy. Cheap to clone.
#[derive(Clone)]
pub struct Verifier {
    key: DecodingKey,
    validation: Validation,
    identities: Option<IdentityKeys>,
}

/// The person (or program) behind a request, as its token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Agents: the id in the monolith's user table. Customers: an id of another table altogether.
    pub user_id: i32,
    /// Agents: their login. Customers: their address.
    pub email: String,
    /// What kind of caller this is.
    pub role: Role,
}

/// The roles the monolith writes into tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Works on tickets within the permissions of their groups. The monolith's role `Admin` is
    /// this too: what counts is membership in the group, which is asked for at each request.
    Agent,
    /// Sees their own. Never to be looked up among agents: the ids are of different tables.
    Customer,
}

/// The secret is too short to be the one the monolith signs with.
#[derive(Debug, thiserror::Error)]
#[error(
    "the token secret has {length} characters; the monolith needs at least {SECRET_LENGTH_MIN}"
)]
pub struct ShortSecret {
    length: usize,
}

#[derive(Clone, Deserialize)]
struct Claims {
    user_id: i64,
    #[serde(default)]
    email: String,
    #[serde(default)]
    role: String,
}

impl Verifier {
    /// A verifier for tokens signed (HS256) with `secret`.
    ///
    /// # Errors
    /// When `secret` is too short to be shared with the monolith.
    pub fn new(secret: &Secret) -> Result<Self, ShortSecret> {
        let length = secret.expose().len();
        if length < SECRET_LENGTH_MIN {
            return Err(ShortSecret { length });
        }
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        validation.validate_nbf = true;
        validation.validate_aud = false;
        let key = DecodingKey::from_secret(secret.expose().as_bytes());
        Ok(Self { key, validation, identities: None })
    }

    /// The same, and requests with an identity of the proxy need no token. The proxy has to tell the claims
    /// `user_id`, `email` and `role` (`identity.claims` of its file).
    #[must_use]
    pub fn with_identities(self, keys: IdentityKeys) -> Self {
        Self { identities: Some(keys), ..self }
    }

    /// The caller of a request with these headers. An identity counts before any token.
    ///
    /// # Errors
    /// No token where the monolith would look for one, or one it would not accept; an identity that is not
    /// good.
    pub fn caller(&self, headers: &HeaderMap) -> Result<Caller, UnauthenticatedReason> {
        if let Some(identities) = &self.identities
            && let Some(claims) = identities.claims(headers)?
        {
            return Caller::of(claims);
        }
        let token = token::find(headers).ok_or(UnauthenticatedReason::MissingToken)?;
        let claims = decode::<Claims>(token, &self.key, &self.validation)
            .map_err(|_| UnauthenticatedReason::InvalidToken)?
            .claims;
        Caller::of(claims)
    }
}

impl Caller {
    fn of(claims: Claims) -> Result<Self, UnauthenticatedReason> {
        let user_id =
            i32::try_from(claims.user_id).map_err(|_| UnauthenticatedReason::InvalidToken)?;
        let role = match claims.role.as_str() {
            "Customer" => Role::Customer,
            _ => Role::Agent,
        };
        Ok(Self { user_id, email: claims.email, role })
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier(redacted)")
    }
}

impl<S> FromRequestParts<S> for Caller
where
    S: Send + Sync,
    Verifier: FromRef<S>,
{
    type Rejection = Unauthenticated;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Unauthenticated> {
        Verifier::from_ref(state)
            .caller(&parts.headers)
            .map_err(|reason| Unauthenticated::new(reason, &parts.headers))
    }
}

#[cfg(test)]
mod tests;
