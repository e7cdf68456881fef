//! Fetches the keys of issuers in the background: when they are new, when they are old, and soon after a
//! token named a key that is not there. No request waits for it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{client::Client, token::KeySource};
use crate::{metrics::policies::KEY_FETCHES, shared::Shared};

/// How often it is looked whether something is due.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// For one answer, and the longest one.
const FETCH_MAX: Duration = Duration::from_secs(5);
const DOCUMENT_MAX: usize = 256 * 1024;

/// Shortest and longest time between two fetches, whatever tokens name.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What is known about the fetches of one source.
#[derive(Debug, Clone, Copy)]
struct Record {
    began: Instant,
    failures: u32,
}

/// Why keys could not be fetched.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("no answer within 5 s")]
    Timeout,
    #[error("the address cannot be asked: {0}")]
    Asking(String),
    #[error("the answer is {0}")]
    Status(StatusCode),
    #[error("the answer is longer than 256 KiB or was cut")]
    Body,
    #[error(transparent)]
    Document(#[from] super::token::NotAKeySet),
}

/// Keeps the keys of all issuers fresh until told to stop.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    let mut records: HashMap<usize, Record> = HashMap::new();
    let mut fetches = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
            Some(Ok((key, is_fetched))) = fetches.join_next() => {
                if let Some(record) = records.get_mut(&key) {
                    record.failures = if is_fetched { 0 } else { record.failures + 1 };
                }
                continue;
            }
        }
        let plan = Arc::clone(&shared.snapshot.load().plan);
        let (issuers, client) = (plan.policies.issuers(), plan.policies.client());
        let mut seen = HashMap::new();
        for (source, url) in issuers.fetched() {
            let key = Arc::as_ptr(source).addr();
            let record = records.get(&key).copied();
            if !is_due(source, record) {
                seen.extend(record.map(|record| (key, record)));
                continue;
            }
            let failures = record.map_or(0, |record| record.failures);
            seen.insert(key, Record { began: Instant::now(), failures });
            let (source, url, client) = (Arc::clone(source), url.to_owned(), client.clone());
            fetches.spawn(async move { (key, refresh(&source, &url, &client).await) });
        }
        records = seen;
    }
}

fn is_due(source: &KeySource, record: Option<Record>) -> bool {
    let Some(Record { began, failures }) = record else { return true };
    let (refresh, since) = (source.issuer.refresh, began.elapsed());
    let soon = (refresh / 10).clamp(AGAIN.0, AGAIN.1);
    let next = if failures == 0 { refresh } else { (soon * failures.min(10)).min(refresh) };
    since >= next || (since >= soon && source.is_wanted())
}

async fn refresh(source: &KeySource, url: &str, client: &Client) -> bool {
    let outcome = match timeout(FETCH_MAX, fetch(url, client)).await {
        Ok(Ok(document)) => source.take(&document).map_err(FetchError::from),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(FetchError::Timeout),
    };
    let issuer = source.name.as_str();
    let label = if outcome.is_ok() { "fetched" } else { "failed" };
    KEY_FETCHES.with_label_values(&[issuer, label]).inc();
    match outcome {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(issuer, %error, "could not fetch the keys of an issuer; the old ones stay");
            false
        }
    }
}

async fn fetch(url: &str, client: &Client) -> Result<Bytes, FetchError> {
    let asking = |error: &dyn std::fmt::Display| FetchError::Asking(error.to_string());
    let request = Request::get(url).header(header::ACCEPT, "application/json");
    let request = request.body(Empty::new().boxed()).map_err(|error| asking(&error))?;
    let answer = client.request(request).await.map_err(|error| asking(&error))?;
    if answer.status() != StatusCode::OK {
        return Err(FetchError::Status(answer.status()));
    }
    let body = Limited::new(answer.into_body(), DOCUMENT_MAX).collect().await;
    Ok(body.map_err(|_| FetchError::Body)?.to_bytes())
}
