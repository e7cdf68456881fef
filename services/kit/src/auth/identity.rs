//! The signed word of the proxy in front on who asks, in the field `Ficus-Identity`: believed for its
//! signature, its short life, and because it names this service.

use http::HeaderMap;
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode,
    jwk::{AlgorithmParameters, EllipticCurve, JwkSet},
};
use serde::de::DeserializeOwned;

use super::UnauthenticatedReason;

/// The field itself.
pub(super) const FIELD: &str = "ficus-identity";

/// Seconds by which the clocks may differ.
const LEEWAY_SECONDS: u64 = 5;

/// What identities are verified with. Cheap to clone.
#[derive(Clone)]
pub struct IdentityKeys {
    keys: Vec<DecodingKey>,
    validation: Validation,
}

/// A text is no set of Ed25519 keys.
#[derive(Debug, thiserror::Error)]
#[error(
    "this is no JSON Web Key Set of Ed25519 keys; copy what the proxy serves at /identity/jwks.json of its admin address"
)]
pub struct BadIdentityKeys;

impl IdentityKeys {
    /// Keys as the proxy serves them (JSON Web Key Set), for identities that name `audience`: what the
    /// proxy calls this service among its upstreams.
    ///
    /// # Errors
    /// When the text is none, has no key, or has one of another kind.
    pub fn new(jwks: &str, audience: &str) -> Result<Self, BadIdentityKeys> {
        let set: JwkSet = serde_json::from_str(jwks).map_err(|_| BadIdentityKeys)?;
        let key = |jwk: &jsonwebtoken::jwk::Jwk| {
            let AlgorithmParameters::OctetKeyPair(pair) = &jwk.algorithm else {
                return Err(BadIdentityKeys);
            };
            if pair.curve != EllipticCurve::Ed25519 {
                return Err(BadIdentityKeys);
            }
            DecodingKey::from_jwk(jwk).map_err(|_| BadIdentityKeys)
        };
        let keys = set.keys.iter().map(key).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err(BadIdentityKeys);
        }
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.leeway = LEEWAY_SECONDS;
        validation.set_required_spec_claims(&["exp", "aud"]);
        validation.set_audience(&[audience]);
        Ok(Self { keys, validation })
    }

    /// What the request's identity says; `None` when it has none.
    ///
    /// # Errors
    /// When it has two, or one that is not good.
    pub(super) fn claims<C: DeserializeOwned + Clone>(
        &self,
        headers: &HeaderMap,
    ) -> Result<Option<C>, UnauthenticatedReason> {
        let invalid = UnauthenticatedReason::InvalidToken;
        let mut fields = headers.get_all(FIELD).iter();
        let Some(field) = fields.next() else { return Ok(None) };
        let text = field.to_str().map_err(|_| invalid)?;
        if fields.next().is_some() {
            return Err(invalid);
        }
        let verified =
            self.keys.iter().find_map(|key| decode::<C>(text, key, &self.validation).ok());
        verified.map(|verified| Some(verified.claims)).ok_or(invalid)
    }
}

impl std::fmt::Debug for IdentityKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IdentityKeys").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}
