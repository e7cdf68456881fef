//! A server that issuers publish their keys at. It counts who asks for them, and writes down every other
//! address it is asked for: those are traps that tokens name.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    extract::{Path, State},
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};

/// Longer than any set of keys is.
const HUGE_BYTES: usize = 5 << 20;

/// What is answered to who asks for keys.
#[derive(Clone, Debug)]
pub(super) enum Keys {
    Set(Value),
    Text(&'static str),
    Failure,
    /// A set that is too long to be one.
    Huge,
    /// To a trap.
    Redirect,
}

/// A running server; ends when it is dropped.
#[derive(Debug)]
pub(super) struct Provider {
    address: SocketAddr,
    state: Shared,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Known {
    keys: BTreeMap<String, Keys>,
    fetches: BTreeMap<String, usize>,
    trapped: Vec<String>,
}

type Shared = Arc<Mutex<Known>>;

impl Provider {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let state = Shared::default();
        let routes = Router::new().route("/keys/{issuer}", get(keys)).fallback(trap);
        let service = routes.with_state(Arc::clone(&state));
        let task = tokio::spawn(async move {
            // it is aborted, and does not end otherwise
            let _ended = axum::serve(listener, service).await.is_err();
        });
        Ok(Self { address, state, task })
    }

    /// Where the keys of an issuer are.
    pub(super) fn url(&self, issuer: &str) -> String {
        format!("http://{}/keys/{issuer}", self.address)
    }

    /// An address that nobody may ask.
    pub(super) fn trap(&self) -> String {
        format!("http://{}/trap", self.address)
    }

    pub(super) fn answer(&self, issuer: &str, keys: Keys) {
        locked(&self.state).keys.insert(issuer.to_owned(), keys);
    }

    /// How often the keys of an issuer were asked for.
    pub(super) fn fetches(&self, issuer: &str) -> usize {
        locked(&self.state).fetches.get(issuer).copied().unwrap_or(0)
    }

    /// What else was asked for since the last time.
    pub(super) fn take_trapped(&self) -> Vec<String> {
        std::mem::take(&mut locked(&self.state).trapped)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keys(State(state): State<Shared>, Path(issuer): Path<String>) -> Response {
    let mut known = locked(&state);
    *known.fetches.entry(issuer.clone()).or_default() += 1;
    match known.keys.get(&issuer) {
        Some(Keys::Set(set)) => set.to_string().into_response(),
        Some(Keys::Text(text)) => (*text).into_response(),
        Some(Keys::Huge) => {
            format!("{{\"keys\":[\"{}\"]}}", "x".repeat(HUGE_BYTES)).into_response()
        }
        Some(Keys::Redirect) => (StatusCode::FOUND, [(header::LOCATION, "/trap")]).into_response(),
        Some(Keys::Failure) | None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn trap(State(state): State<Shared>, uri: Uri) -> StatusCode {
    locked(&state).trapped.push(uri.to_string());
    StatusCode::NOT_FOUND
}

fn locked(state: &Shared) -> MutexGuard<'_, Known> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
