//! The signed header by which an upstream knows who asks: a JWS (EdDSA) with a short life, for one
//! upstream. The public keys are served on the admin address.

use std::{borrow::Cow, collections::BTreeMap};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http::{HeaderName, HeaderValue};
use ring::{
    digest,
    signature::{Ed25519KeyPair, KeyPair},
};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Subject, now};

/// The header itself. What downstreams send under this name never reaches an upstream.
pub(crate) const IDENTITY: HeaderName = HeaderName::from_static("ficus-identity");

/// Signs identities.
pub(crate) struct Signer {
    pub(super) config: routes::Identity,
    key: Ed25519KeyPair,
    /// Encoded header of every identity.
    header: String,
    jwks: Value,
}

/// Claims of an identity; it ends no later than what it was made of.
#[derive(Serialize)]
struct Identity<'a> {
    iss: &'a str,
    aud: &'a str,
    iat: u64,
    exp: u64,
    by: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a Value>,
    #[serde(flatten)]
    more: BTreeMap<&'a str, &'a Value>,
}

/// A key that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "identity.keys[{index}] is not an Ed25519 key in PEM (PKCS#8); make one with `openssl genpkey -algorithm ed25519`"
)]
pub(crate) struct BadKey {
    index: usize,
}

impl Signer {
    /// A signer with the keys of a configuration.
    ///
    /// # Errors
    /// When one of them is none.
    pub(super) fn new(config: &routes::Identity) -> Result<Self, BadKey> {
        let mut pairs = Vec::new();
        for (index, secret) in config.keys.iter().enumerate() {
            pairs.push(read_key(secret.expose()).ok_or(BadKey { index })?);
        }
        let keys: Vec<Value> = pairs.iter().map(public).collect();
        let key = pairs.into_iter().next().ok_or(BadKey { index: 0 })?;
        let header = json!({ "alg": "EdDSA", "typ": "JWT", "kid": key_id(&key) }).to_string();
        let jwks = json!({ "keys": keys });
        Ok(Self { config: config.clone(), key, header: URL_SAFE_NO_PAD.encode(header), jwks })
    }

    /// The public keys as a JSON Web Key Set.
    pub(crate) const fn jwks(&self) -> &Value {
        &self.jwks
    }

    /// The identity of a subject for an upstream; the last one is used again for half of its life.
    pub(super) fn tell(&self, subject: &Subject, upstream: &str) -> Option<HeaderValue> {
        let told = match subject {
            Subject::Token(verified) => Some(&verified.told),
            Subject::Session(_) => None,
        };
        if let Some(last) = told.and_then(arc_swap::ArcSwapAny::load_full)
            && last.0 == upstream
            && Instant::now() < last.1
        {
            return Some(last.2.clone());
        }
        let value = HeaderValue::from_str(&self.sign(subject, upstream)).ok()?;
        if let Some(told) = told {
            let until = Instant::now() + self.config.ttl / 2;
            told.store(Some(std::sync::Arc::new((upstream.to_owned(), until, value.clone()))));
        }
        Some(value)
    }

    fn sign(&self, subject: &Subject, upstream: &str) -> String {
        let issued = now();
        let ends = issued + self.config.ttl.as_secs().max(1);
        let identity = Identity {
            iss: &self.config.issuer,
            aud: upstream,
            iat: issued,
            exp: ends.min(subject.ends()),
            by: subject.by(),
            sub: subject.text("sub"),
            scope: subject.claim("scope"),
            more: self
                .config
                .claims
                .iter()
                .filter_map(|claim| Some((claim.as_str(), subject.claim(claim)?)))
                .collect(),
        };
        let claims = serde_json::to_string(&identity).expect("texts and numbers are JSON");
        let signed = format!("{}.{}", self.header, URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("config", &self.config).finish_non_exhaustive()
    }
}

fn read_key(pem: &str) -> Option<Ed25519KeyPair> {
    let body = pem.trim().strip_prefix("-----BEGIN PRIVATE KEY-----")?;
    let body = body.strip_suffix("-----END PRIVATE KEY-----")?;
    let body: String = body.split_whitespace().collect();
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(&STANDARD.decode(body).ok()?).ok()
}

fn public(key: &Ed25519KeyPair) -> Value {
    let x = URL_SAFE_NO_PAD.encode(key.public_key());
    json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": key_id(key), "x": x })
}

/// The key's thumbprint (RFC 7638).
fn key_id(key: &Ed25519KeyPair) -> String {
    let x = URL_SAFE_NO_PAD.encode(key.public_key());
    let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, members.as_bytes()))
}
