//! What other servers know about a token or a session: asked once, and remembered for a bounded time in
//! bounded memory. Requests that need the same answer wait for one question.

use std::{future::Future, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full, Limited};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use quick_cache::sync::Cache;
use serde_json::Value;
use tokio::time::{Instant, timeout};

use super::{
    client::Client,
    now,
    token::{self, Verified, hash, is_for, seconds},
};
use crate::subject;

/// Answers that are remembered for each server.
const REMEMBERED_MAX: usize = 20_000;

/// The longest answer.
const ANSWER_MAX: usize = 64 * 1024;

/// Longer tokens are not asked about.
const TOKEN_MAX: usize = 8 * 1024;

/// An answer and when it is to be asked again.
type Dated<V> = (Option<V>, Instant);

/// What is remembered.
pub(super) struct Remembered<V>(Cache<[u8; 32], Dated<V>>);

/// The server could not be asked, or did not answer as it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LookupError {
    #[error("no answer in time")]
    Timeout,
    #[error("cannot be asked: {0}")]
    Asking(String),
    #[error("answers {0}")]
    Status(StatusCode),
    #[error("the answer is not what was asked for")]
    Answer,
}

/// A server that is asked about tokens (RFC 7662).
pub(super) struct Introspector {
    pub(super) config: routes::Introspection,
    name: String,
    authorization: HeaderValue,
    remembered: Remembered<Arc<Verified>>,
    client: Client,
}

/// The monolith, asked about sessions.
pub(super) struct Sessions {
    pub(super) config: routes::SessionCheck,
    remembered: Remembered<Arc<str>>,
    client: Client,
}

impl<V: Clone> Remembered<V> {
    fn new() -> Self {
        Self(Cache::new(REMEMBERED_MAX))
    }

    /// What is known, or else what `ask` finds out: the answer and for how long it is good. Somebody else's
    /// question about the same is waited for, at most `limit`.
    async fn get(
        &self,
        key: [u8; 32],
        limit: Duration,
        ask: impl Future<Output = Result<(Option<V>, Duration), LookupError>>,
    ) -> Result<Option<V>, LookupError> {
        if self.0.get(&key).is_some_and(|(_, until)| until <= Instant::now()) {
            self.0.remove(&key);
        }
        let found = timeout(limit, self.0.get_value_or_guard_async(&key)).await;
        match found.map_err(|_| LookupError::Timeout)? {
            Ok((answer, _)) => Ok(answer),
            Err(place) => {
                let (answer, good) = ask.await?;
                // A place that was taken meanwhile has an answer just as new.
                if place.insert((answer.clone(), Instant::now() + good)).is_err() {
                    tracing::debug!("an answer was not remembered");
                }
                Ok(answer)
            }
        }
    }
}

impl Introspector {
    pub(super) fn new(name: &str, config: &routes::Introspection, client: &Client) -> Option<Self> {
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let pair =
            format!("{}:{}", encode(&config.client_id), encode(config.client_secret.expose()));
        let mut authorization =
            HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair))).ok()?;
        authorization.set_sensitive(true);
        Some(Self {
            config: config.clone(),
            name: name.to_owned(),
            authorization,
            remembered: Remembered::new(),
            client: client.clone(),
        })
    }

    /// What the server knows about a token; `None`: it is not valid.
    pub(super) async fn verify(&self, token: &str) -> Result<Option<Arc<Verified>>, LookupError> {
        if token.len() > TOKEN_MAX {
            return Ok(None);
        }
        let verified =
            self.remembered.get(hash(token), self.config.timeout, self.ask(token)).await?;
        Ok(verified.filter(|verified| verified.lasts(now())))
    }

    async fn ask(&self, token: &str) -> Result<(Option<Arc<Verified>>, Duration), LookupError> {
        let token = utf8_percent_encode(token, NON_ALPHANUMERIC);
        let body = format!("token={token}&token_type_hint=access_token");
        let request = Request::post(&self.config.url)
            .header(header::AUTHORIZATION, self.authorization.clone())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .body(Full::new(Bytes::from(body)).boxed());
        let (status, answer) = ask(&self.client, request, self.config.timeout).await?;
        if status != StatusCode::OK {
            return Err(LookupError::Status(status));
        }
        let Value::Object(claims) = read(&answer)? else { return Err(LookupError::Answer) };
        let is_active = claims.get("active").and_then(Value::as_bool).ok_or(LookupError::Answer)?;
        let audience = &self.config.audience;
        let is_ours = audience.is_empty() || is_for(&claims, audience);
        let ends = claims.get("exp").map_or(Some(u64::MAX), seconds).ok_or(LookupError::Answer)?;
        if !is_active || !is_ours || ends <= now() {
            return Ok((None, self.config.negative));
        }
        let verified = Verified::new(&self.name, claims, ends);
        Ok((Some(Arc::new(verified)), self.config.cache))
    }
}

impl Sessions {
    pub(super) fn new(config: &routes::SessionCheck, client: &Client) -> Self {
        let remembered = Remembered::new();
        Self { config: config.clone(), remembered, client: client.clone() }
    }

    /// Whose session the cookies of a request are; `None`: nobody's.
    pub(super) async fn subject(
        &self,
        headers: &HeaderMap,
    ) -> Result<Option<Arc<str>>, LookupError> {
        let present = self.config.cookies.iter().filter_map(|name| {
            subject::cookie(headers, name).map(|value| format!("{name}={value}"))
        });
        let cookies = present.collect::<Vec<_>>().join("; ");
        if cookies.is_empty() {
            return Ok(None);
        }
        self.remembered.get(hash(&cookies), self.config.timeout, self.ask(&cookies)).await
    }

    async fn ask(&self, cookies: &str) -> Result<(Option<Arc<str>>, Duration), LookupError> {
        let request = Request::get(&self.config.url)
            .header(header::COOKIE, cookies)
            .header(header::ACCEPT, "application/json")
            .body(Empty::new().boxed());
        let (status, answer) = ask(&self.client, request, self.config.timeout).await?;
        if matches!(status.as_u16(), 300..=399 | 401 | 403 | 404) {
            return Ok((None, self.config.negative));
        }
        if !status.is_success() {
            return Err(LookupError::Status(status));
        }
        let subject = match read(&answer)?.pointer(&self.config.subject) {
            Some(Value::String(text)) if !text.is_empty() => text.as_str().into(),
            Some(Value::Number(number)) if !number.is_f64() => number.to_string().into(),
            _ => return Err(LookupError::Answer),
        };
        Ok((Some(subject), self.config.cache))
    }
}

async fn ask<B>(
    client: &Client,
    request: http::Result<Request<B>>,
    limit: Duration,
) -> Result<(StatusCode, Bytes), LookupError>
where
    B: Into<http_body_util::combinators::BoxBody<Bytes, std::convert::Infallible>>,
{
    let asking = |error: &dyn std::fmt::Display| LookupError::Asking(error.to_string());
    let request = request.map_err(|error| asking(&error))?.map(Into::into);
    let answered = async {
        let answer = client.request(request).await.map_err(|error| asking(&error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
        Ok((status, body.map_err(|_| LookupError::Answer)?.to_bytes()))
    };
    timeout(limit, answered).await.unwrap_or(Err(LookupError::Timeout))
}

fn read(answer: &[u8]) -> Result<Value, LookupError> {
    let read: Result<token::Unique, _> = serde_json::from_slice(answer);
    read.map(|unique| unique.0).map_err(|_| LookupError::Answer)
}

impl std::fmt::Debug for Introspector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Introspector").field("config", &self.config).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").field("config", &self.config).finish_non_exhaustive()
    }
}
