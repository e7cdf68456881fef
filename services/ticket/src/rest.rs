//! The REST face: the monolith's own paths and shapes. Translation only, everything is done by
//! [`Tickets`].

mod articles;
mod body;
mod note;
mod path;
mod query;
mod states;
mod tickets;

use axum::Router;
use axum::extract::FromRef;
use axum::routing::{get, post};
use kit::Verifier;
use serde::Serialize;

use crate::tickets::Tickets;

/// What handlers work with.
#[derive(Clone)]
struct App {
    tickets: Tickets,
    verifier: Verifier,
}

/// The envelope of answers that carry one thing.
#[derive(Debug, Serialize)]
struct Success<T> {
    data: T,
    success: bool,
}

/// The routes this service takes over from the monolith.
pub fn router(tickets: Tickets, verifier: Verifier) -> Router {
    Router::new()
        .route("/api/v1/tickets", get(tickets::list).post(tickets::create))
        .route("/api/v1/tickets/{id}", get(tickets::get).put(tickets::update))
        .route("/api/v1/tickets/{id}/close", post(states::close))
        .route("/api/v1/tickets/{id}/reopen", post(states::reopen))
        .route("/api/v1/tickets/{id}/articles", get(articles::list).post(articles::create))
        .route("/api/v1/tickets/{id}/articles/{article_id}", get(articles::get))
        .route("/agent/tickets/{id}/note", post(note::create))
        .with_state(App { tickets, verifier })
}

impl<T> Success<T> {
    fn new(data: T) -> Self {
        Self { data, success: true }
    }
}

impl FromRef<App> for Verifier {
    fn from_ref(app: &App) -> Self {
        app.verifier.clone()
    }
}
