//! What all requests share, and which path leads where.

use std::sync::Arc;

use axum::Router;
use axum::response::Redirect;
use axum::routing::{get, post};
use http::StatusCode;
use sqlx::PgPool;

use crate::auth::{self, Secret};
use crate::auto_close::AutoCloseCounts;
use crate::{articles, health, lookups, pages, tickets, users};

/// What all requests share.
#[derive(Debug)]
pub struct App {
    pub(crate) pool: PgPool,
    pub(crate) secret: Secret,
    pub(crate) auto_close: Arc<AutoCloseCounts>,
}

impl App {
    /// `auto_close` is what the job of this process counts, for the health page.
    #[must_use]
    pub fn new(pool: PgPool, secret: Secret, auto_close: Arc<AutoCloseCounts>) -> Arc<Self> {
        Arc::new(Self { pool, secret, auto_close })
    }
}

/// All endpoints. Unknown paths and wrong methods are 404 in plain text.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .merge(api())
        .merge(html())
        .route("/health", get(health::brief))
        .route("/health/detailed", get(health::detailed))
        .fallback(not_found)
        .method_not_allowed_fallback(not_found)
        .with_state(app)
}

fn api() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/auth/login", post(auth::login))
        .route("/api/v1/tickets", get(tickets::list).post(tickets::create))
        .route("/api/v1/tickets/{id}", get(tickets::get).put(tickets::update))
        .route("/api/v1/tickets/{id}/close", post(tickets::close))
        .route("/api/v1/tickets/{id}/reopen", post(tickets::reopen))
        .route("/api/v1/tickets/{id}/articles", get(articles::list).post(articles::create))
        .route("/api/v1/tickets/{id}/articles/{article_id}", get(articles::get))
        .route("/api/v1/queues", get(lookups::queues))
        .route("/api/v1/queues/{id}", get(lookups::queue))
        .route("/api/v1/states", get(lookups::states))
        .route("/api/v1/priorities", get(lookups::priorities))
        .route("/api/v1/users", get(users::list))
        .route("/api/v1/users/me", get(users::me))
}

fn html() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(|| async { Redirect::to("/tickets") }))
        .route("/login", get(pages::login).post(auth::login_form))
        .route("/tickets", get(pages::tickets))
        .route("/tickets/{id}", get(pages::ticket))
        .route("/agent/tickets/{id}/note", post(pages::add_note))
}

async fn not_found() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "404 page not found")
}
