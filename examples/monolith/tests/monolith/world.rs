//! A monolith of one's own: database, role, HTTP server on a free port, and clients that are signed in.

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use monolith::{App, AutoClose, AutoCloseCounts, Secret};
use reqwest::{Client, Method, RequestBuilder, StatusCode, redirect};
use serde_json::{Value, json};
use testkit::Cluster;
use testkit::tokio_postgres;
use tokio_util::task::AbortOnDropHandle;

pub(crate) const SECRET: &str = "only-for-tests-only-for-tests-only";

pub(crate) struct World {
    pub(crate) http: Client,
    pub(crate) sql: tokio_postgres::Client,
    /// Superuser's URL of the database.
    pub(crate) owner_url: String,
    pub(crate) auto_close: AutoClose,
    pub(crate) counts: Arc<AutoCloseCounts>,
    pub(crate) base: String,
    _server: AbortOnDropHandle<std::io::Result<()>>,
}

impl World {
    /// `name` becomes the name of the database and of the role, which does not own the tables.
    pub(crate) async fn new(name: &str) -> anyhow::Result<Self> {
        let cluster = Cluster::shared().await?;
        cluster.create_database(name).await?;
        cluster.create_role(name).await?;
        let owner_url = cluster.url(name);
        monolith::migrate(&owner_url, Some(name)).await?;

        let url = cluster.url_as(name, name);
        let counts = Arc::new(AutoCloseCounts::default());
        let job_pool = monolith::connect_for_auto_close(&url).await?;
        let auto_close = AutoClose::new(job_pool, Arc::clone(&counts));
        let pool = monolith::connect(&url, 4).await?;
        let secret = Secret::new(SECRET, Duration::from_secs(900))?;
        let app = App::new(pool, secret, Arc::clone(&counts));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let base = format!("http://{}", listener.local_addr()?);
        let server = tokio::spawn(axum::serve(listener, monolith::router(app)).into_future());
        Ok(Self {
            http: Client::builder().redirect(redirect::Policy::none()).build()?,
            sql: cluster.connect(name).await?,
            owner_url,
            auto_close,
            counts,
            base,
            _server: AbortOnDropHandle::new(server),
        })
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.base))
            .header("accept", "application/json")
    }

    pub(crate) async fn sign_in(&self, login: &str) -> anyhow::Result<Agent<'_>> {
        let body = json!({ "login": login, "password": "secret" });
        let answer = self.request(Method::POST, "/api/v1/auth/login").json(&body).send().await?;
        let answer: Value = answer.error_for_status()?.json().await?;
        let token = answer.pointer("/access_token").and_then(Value::as_str).context("no token")?;
        let token = token.to_owned();
        Ok(Agent { world: self, token })
    }

    /// The only value that a query returns, as text.
    pub(crate) async fn value(&self, query: &str) -> anyhow::Result<String> {
        let row = self.sql.query_one(&format!("SELECT ({query})::text"), &[]).await?;
        Ok(row.try_get::<_, Option<String>>(0)?.unwrap_or_default())
    }
}

/// A client with the token of an agent.
pub(crate) struct Agent<'a> {
    world: &'a World,
    pub(crate) token: String,
}

impl Agent<'_> {
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<(StatusCode, Value)> {
        self.send(self.world.request(Method::GET, path)).await
    }

    pub(crate) async fn post(
        &self,
        path: &str,
        body: Value,
    ) -> anyhow::Result<(StatusCode, Value)> {
        self.send(self.world.request(Method::POST, path).json(&body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> anyhow::Result<(StatusCode, Value)> {
        self.send(self.world.request(Method::PUT, path).json(&body)).await
    }

    /// Creates a ticket and returns its id.
    pub(crate) async fn create(&self, body: Value) -> anyhow::Result<i64> {
        let (status, answer) = self.post("/api/v1/tickets", body).await?;
        anyhow::ensure!(status == StatusCode::CREATED, "{status} {answer}");
        answer.pointer("/data/id").and_then(Value::as_i64).context("no id")
    }

    async fn send(&self, request: RequestBuilder) -> anyhow::Result<(StatusCode, Value)> {
        let answer = request.bearer_auth(&self.token).send().await?;
        Ok((answer.status(), answer.json().await?))
    }
}

/// The keys of an object in their order; none, if it is something else.
pub(crate) fn keys(value: &Value) -> Vec<&str> {
    value.as_object().into_iter().flat_map(|object| object.keys().map(String::as_str)).collect()
}
