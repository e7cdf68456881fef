//! Verifies bearer tokens (JWT, RFC 7519): pinned algorithms, known issuers, audiences and times. No IO
//! here: keys are fetched in the background ([`super::jwks`]), and a result is kept until the token ends.

mod keys;
mod parse;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use http::HeaderValue;
use quick_cache::sync::Cache;
use ring::digest;
use routes::{Issuer, TokenKeys};
use serde_json::{Map, Value};
use tokio::time::Instant;

pub(crate) use keys::{KeySet, NotAKeySet, Signature};
pub(crate) use parse::{NotAToken, Unique, parse};

/// Verified tokens that are remembered.
const REMEMBERED_MAX: usize = 50_000;

/// Text claims of this name hold scopes, divided by spaces (RFC 8693); `scp` is a list elsewhere.
const SCOPE_CLAIMS: [&str; 2] = ["scope", "scp"];

/// A token that was found valid.
#[derive(Debug)]
pub(crate) struct Verified {
    /// Key of the issuer in the file.
    pub(crate) issuer: String,
    pub(crate) claims: Map<String, Value>,
    /// Seconds since 1970 at which it ends, leeway included.
    ends: u64,
    /// Number of the key set it was verified with.
    keys: u64,
    /// The identity upstreams were told last: audience, when it is to be renewed, and the header.
    pub(crate) told: ArcSwapOption<(String, Instant, HeaderValue)>,
}

/// Why a token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("the token is longer than is accepted")]
    TooLong,
    #[error(transparent)]
    NotAToken(#[from] NotAToken),
    #[error("nobody who signs tokens here signed it")]
    Issuer,
    #[error("the token is signed in a way that is not accepted")]
    Algorithm,
    #[error("the signature of the token is not valid")]
    Signature,
    #[error("the token is for somebody else")]
    Audience,
    #[error("the token has no end, or a time that is not a number")]
    Times,
    #[error("the token has ended")]
    Expired,
    #[error("the token is not valid yet")]
    NotYet,
    /// Not the token's fault.
    #[error("the keys of the issuer are not known at the moment")]
    NoKeys,
}

/// All issuers of a configuration, and what they found valid.
#[derive(Debug)]
pub(crate) struct Issuers {
    pub(crate) config: BTreeMap<String, Issuer>,
    known: BTreeMap<String, Arc<KeySource>>,
    length_max: usize,
    remembered: Cache<[u8; 32], Arc<Verified>>,
}

/// The keys of one issuer; they last over reloads that leave the issuer as it is.
#[derive(Debug)]
pub(crate) struct KeySource {
    pub(crate) name: String,
    pub(crate) issuer: Issuer,
    keys: ArcSwap<Dated>,
    /// Counts sets that differ.
    number: AtomicU64,
    /// A token named a key that is not there.
    wanted: AtomicBool,
}

#[derive(Debug, Default)]
struct Dated {
    set: KeySet,
    number: u64,
    /// `None`: never, or it is a secret, which does not age.
    fetched: Option<Instant>,
    is_known: bool,
    digest: Option<[u8; 32]>,
}

impl Issuers {
    /// The issuers of a configuration, with the keys that `previous` already has.
    pub(crate) fn new(
        config: &BTreeMap<String, Issuer>,
        previous: Option<&Arc<Self>>,
    ) -> Arc<Self> {
        if let Some(same) = previous.filter(|previous| previous.config == *config) {
            return Arc::clone(same);
        }
        let source = |name: &String, issuer: &Issuer| {
            let old = previous.and_then(|previous| previous.known.get(name));
            let old = old.filter(|old| old.issuer == *issuer);
            old.map_or_else(|| Arc::new(KeySource::new(name, issuer)), Arc::clone)
        };
        let known = config.iter().map(|(name, issuer)| (name.clone(), source(name, issuer)));
        Arc::new(Self {
            known: known.collect(),
            length_max: config.values().map(|issuer| issuer.token_max).max().unwrap_or(0),
            config: config.clone(),
            remembered: Cache::new(REMEMBERED_MAX),
        })
    }

    /// Those whose keys must be fetched.
    pub(crate) fn fetched(&self) -> impl Iterator<Item = (&Arc<KeySource>, &str)> {
        self.known.values().filter_map(|source| match &source.issuer.keys {
            TokenKeys::Jwks(url) => Some((source, url.as_str())),
            TokenKeys::Secret(_) => None,
        })
    }

    /// Verifies a token that one of these issuers signed. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// Why it is refused.
    pub(crate) fn verify(
        &self,
        token: &str,
        accepted: &[String],
        now: u64,
    ) -> Result<Arc<Verified>, Refused> {
        if accepted.is_empty() {
            return Err(Refused::Issuer);
        }
        if token.len() > self.length_max {
            return Err(Refused::TooLong);
        }
        let hash = hash(token);
        if let Some(verified) = self.remembered.get(&hash)
            && self.still_holds(&verified, now)
        {
            let is_accepted = accepted.contains(&verified.issuer);
            return if is_accepted { Ok(verified) } else { Err(Refused::Issuer) };
        }
        let parsed = parse(token)?;
        let name = parsed.claims.get("iss").and_then(Value::as_str);
        let sources = accepted.iter().filter_map(|name| self.known.get(name));
        let source = sources.into_iter().find(|source| Some(&*source.issuer.issuer) == name);
        let verified = Arc::new(source.ok_or(Refused::Issuer)?.verify(token.len(), parsed, now)?);
        self.remembered.insert(hash, Arc::clone(&verified));
        Ok(verified)
    }

    fn still_holds(&self, verified: &Verified, now: u64) -> bool {
        let source = self.known.get(&verified.issuer);
        now < verified.ends
            && source.is_some_and(|source| {
                let keys = source.keys.load();
                keys.number == verified.keys && keys.are_usable(source.issuer.stale)
            })
    }
}

impl KeySource {
    fn new(name: &str, issuer: &Issuer) -> Self {
        let keys = match &issuer.keys {
            TokenKeys::Jwks(_) => Dated::default(),
            TokenKeys::Secret(secret) => Dated {
                set: KeySet::of_secret(secret.expose()),
                is_known: true,
                ..Dated::default()
            },
        };
        Self {
            name: name.to_owned(),
            issuer: issuer.clone(),
            keys: ArcSwap::from_pointee(keys),
            number: AtomicU64::new(0),
            wanted: AtomicBool::new(false),
        }
    }

    /// Takes a set that was fetched.
    ///
    /// # Errors
    /// When the document is no set of keys; the old one stays.
    pub(crate) fn take(&self, document: &[u8]) -> Result<(), NotAKeySet> {
        let set = KeySet::read(document)?;
        let digest = digest_of(document);
        let is_same = self.keys.load().digest == Some(digest);
        let number =
            if is_same { self.number.load(Relaxed) } else { self.number.fetch_add(1, Relaxed) + 1 };
        let fetched = Some(Instant::now());
        self.keys.store(Arc::new(Dated {
            set,
            number,
            fetched,
            is_known: true,
            digest: Some(digest),
        }));
        Ok(())
    }

    /// Whether a token named a key that is not there, since this was asked last.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.swap(false, Relaxed)
    }

    fn verify(
        &self,
        length: usize,
        parsed: parse::Parsed<'_>,
        now: u64,
    ) -> Result<Verified, Refused> {
        let issuer = &self.issuer;
        if length > issuer.token_max {
            return Err(Refused::TooLong);
        }
        if !issuer.algorithms.contains(&parsed.algorithm) {
            return Err(Refused::Algorithm);
        }
        let keys = self.keys.load();
        if !keys.are_usable(issuer.stale) {
            return Err(Refused::NoKeys);
        }
        let kid = parsed.kid.as_deref();
        match keys.set.verify(parsed.algorithm, kid, parsed.signed, &parsed.signature) {
            Signature::Valid => {}
            Signature::Invalid => return Err(Refused::Signature),
            Signature::NoKey => {
                self.wanted.store(true, Relaxed);
                return Err(Refused::Signature);
            }
        }
        if !is_for(&parsed.claims, &issuer.audience) {
            return Err(Refused::Audience);
        }
        let ends = check_times(&parsed.claims, now, issuer.leeway)?;
        Ok(Verified {
            issuer: self.name.clone(),
            claims: parsed.claims,
            ends,
            keys: keys.number,
            told: ArcSwapOption::empty(),
        })
    }
}

impl Dated {
    fn are_usable(&self, stale: Duration) -> bool {
        self.is_known && self.fetched.is_none_or(|fetched| fetched.elapsed() < stale)
    }
}

impl Verified {
    /// A token another server found valid.
    pub(crate) fn new(issuer: &str, claims: Map<String, Value>, ends: u64) -> Self {
        let told = ArcSwapOption::empty();
        Self { issuer: issuer.to_owned(), claims, ends, keys: 0, told }
    }

    /// Seconds since 1970 at which it ends, leeway included.
    pub(super) const fn ends(&self) -> u64 {
        self.ends
    }

    /// Whether it has not ended yet.
    pub(crate) const fn lasts(&self, now: u64) -> bool {
        now < self.ends
    }

    /// A claim that identifies: a text that is not empty, or an integer.
    pub(crate) fn text(&self, claim: &str) -> Option<Cow<'_, str>> {
        match self.claims.get(claim)? {
            Value::String(text) if !text.is_empty() => Some(Cow::Borrowed(text)),
            Value::Number(number) if !number.is_f64() => Some(Cow::Owned(number.to_string())),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => None,
        }
    }

    /// Whether it has a scope.
    pub(crate) fn has_scope(&self, scope: &str) -> bool {
        SCOPE_CLAIMS.iter().any(|claim| match self.claims.get(*claim) {
            Some(Value::String(text)) => text.split(' ').any(|each| each == scope),
            Some(Value::Array(list)) => list.iter().any(|each| each == scope),
            _ => false,
        })
    }

    /// Whether a claim is this text, or a list with it.
    pub(crate) fn claims(&self, claim: &str, text: &str) -> bool {
        self.claims.get(claim).is_some_and(|value| is_or_has(value, text))
    }
}

fn is_or_has(value: &Value, text: &str) -> bool {
    match value {
        Value::String(each) => each == text,
        Value::Array(list) => list.iter().any(|each| each == text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    }
}

/// Whether one of these is in the claim `aud`.
pub(crate) fn is_for(claims: &Map<String, Value>, audience: &[String]) -> bool {
    claims.get("aud").is_some_and(|aud| audience.iter().any(|each| is_or_has(aud, each)))
}

/// When the token ends, in seconds since 1970, leeway included.
fn check_times(claims: &Map<String, Value>, now: u64, leeway: Duration) -> Result<u64, Refused> {
    let seconds = |claim: &str| match claims.get(claim) {
        None => Ok(None),
        Some(value) => seconds(value).map(Some).ok_or(Refused::Times),
    };
    let ends = seconds("exp")?.ok_or(Refused::Times)?.saturating_add(leeway.as_secs());
    let begins = seconds("nbf")?.unwrap_or(0).saturating_sub(leeway.as_secs());
    seconds("iat")?;
    if now >= ends {
        return Err(Refused::Expired);
    }
    if now < begins {
        return Err(Refused::NotYet);
    }
    Ok(ends)
}

/// Seconds since 1970, as claims have them.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range was looked at; parts of a second do not count"
)]
pub(crate) fn seconds(value: &Value) -> Option<u64> {
    let far = 253_402_300_800.0;
    value.as_u64().or_else(|| {
        value.as_f64().filter(|seconds| (0.0..far).contains(seconds)).map(|seconds| seconds as u64)
    })
}

/// What a token is remembered by.
pub(crate) fn hash(token: &str) -> [u8; 32] {
    digest_of(token.as_bytes())
}

fn digest_of(bytes: &[u8]) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, bytes);
    digest.as_ref().try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests;
