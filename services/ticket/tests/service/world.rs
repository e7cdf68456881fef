//! A running service with a database of its own, a few tickets, and agents with different rights.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use jsonwebtoken::{EncodingKey, Header, get_current_timestamp};
use kit::config::{Environment, Secret};
use reqwest::{Client, Method, RequestBuilder, StatusCode, redirect};
use serde_json::{Value, json};
use testkit::{Cluster, tokio_postgres, wait_until};
use ticket::config::Config;
use ticket::serve::RunError;
use tokio::net::TcpListener;
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Bound of every wait: generous, because the machine may be busy.
pub(crate) const BOUND: Duration = Duration::from_secs(30);

pub(crate) const ADMIN: i32 = 1;
/// `rw` on the group of queue 1.
pub(crate) const WORKER: i32 = 2;
/// `ro` there.
pub(crate) const READER: i32 = 3;
/// `ro`, `create` and `note` there.
pub(crate) const HELPER: i32 = 4;
/// Nothing at all.
pub(crate) const STRANGER: i32 = 5;

const SECRET: &str = "a secret of more than thirty-two characters";

pub(crate) struct World {
    pub(crate) database: String,
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    pub(crate) served: JoinHandle<Result<(), RunError>>,
    pub(crate) sql: tokio_postgres::Client,
    client: Client,
}

/// What a request was answered with.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl World {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        Self::start_with_grace("30s").await
    }

    pub(crate) async fn start_with_grace(grace: &str) -> anyhow::Result<Self> {
        let (database, sql) = prepared_database().await?;
        let url = Cluster::shared().await?.url_as("ticket", &database);
        let env = Environment::from_pairs([
            ("TICKET_DATABASE_URL".to_owned(), url),
            ("JWT_SECRET".to_owned(), SECRET.to_owned()),
            ("AUTO_CLOSE_EVERY".to_owned(), "50ms".to_owned()),
            ("SHUTDOWN_GRACE".to_owned(), grace.to_owned()),
        ]);
        let http_listener = TcpListener::bind("127.0.0.1:0").await?;
        let grpc_listener = TcpListener::bind("127.0.0.1:0").await?;
        let (http, grpc) = (http_listener.local_addr()?, grpc_listener.local_addr()?);
        let shutdown = CancellationToken::new();
        let config = Config::read(env)?;
        let run = ticket::serve::run(config, http_listener, grpc_listener, shutdown.clone());
        let served = tokio::spawn(run);
        let client = Client::builder().redirect(redirect::Policy::none()).build()?;
        Ok(Self { database, http, grpc, shutdown, served, sql, client })
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("http://{}{path}", self.http);
        self.client.request(method, url).header("accept", "application/json")
    }

    pub(crate) async fn get(&self, user: i32, path: &str) -> anyhow::Result<Answer> {
        send(self.request(Method::GET, path).bearer_auth(token(user))).await
    }

    pub(crate) async fn post(&self, user: i32, path: &str, body: Value) -> anyhow::Result<Answer> {
        send(self.request(Method::POST, path).bearer_auth(token(user)).json(&body)).await
    }

    pub(crate) async fn put(&self, user: i32, path: &str, body: Value) -> anyhow::Result<Answer> {
        send(self.request(Method::PUT, path).bearer_auth(token(user)).json(&body)).await
    }

    /// One value from the database.
    pub(crate) async fn value<T>(&self, sql: &str) -> anyhow::Result<T>
    where
        T: for<'a> tokio_postgres::types::FromSql<'a>,
    {
        Ok(self.sql.query_one(sql, &[]).await.with_context(|| sql.to_owned())?.try_get(0)?)
    }

    /// The number of rows in each table the service writes, in its table order.
    pub(crate) async fn row_counts(&self) -> anyhow::Result<Vec<i64>> {
        self.value(
            "select array[(select count(*) from number_counters), (select count(*) from tickets),
                          (select count(*) from articles), (select count(*) from article_bodies),
                          (select count(*) from ticket_events), (select count(*) from ticket_flags)]",
        )
        .await
    }

    /// Closes the fence: every write of the service is refused, as Ficus refuses it.
    pub(crate) async fn fence(&self) -> anyhow::Result<()> {
        let mut sql = "create function refuse() returns trigger language plpgsql as
            $$ begin raise exception 'owned by the other side' using errcode = 'FC001'; end $$;"
            .to_owned();
        for table in TABLES {
            sql += &format!(
                "create trigger refuse before insert or update or delete on {table}
                 for each statement when (session_user <> 'ficus_applier') execute function refuse();"
            );
        }
        Ok(self.sql.batch_execute(&sql).await?)
    }

    /// Writes the guard row of the tickets, as Ficus keeps it.
    pub(crate) async fn guard(&self, state: &str) -> anyhow::Result<()> {
        let sql = format!(
            "create schema if not exists ficus;
             create table if not exists ficus.guard (capability text primary key, state text);
             grant usage on schema ficus to ticket;
             grant select on ficus.guard to ticket;
             insert into ficus.guard values ('tickets', '{state}')
             on conflict (capability) do update set state = excluded.state"
        );
        Ok(self.sql.batch_execute(&sql).await?)
    }

    /// Waits until the figures of the process contain a sample of at least `least`.
    pub(crate) async fn wait_for_sample(&self, sample: &str, least: f64) -> anyhow::Result<()> {
        wait_until(BOUND, async || {
            let text = send(self.request(Method::GET, "/metrics")).await?.text;
            let value =
                text.lines().find_map(|line| line.strip_prefix(sample)?.trim().parse().ok());
            Ok(value.filter(|value: &f64| *value >= least).map(|_| ()))
        })
        .await
    }
}

impl Answer {
    pub(crate) fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.text).with_context(|| self.text.clone())
    }

    pub(crate) fn expect(&self, status: u16) -> anyhow::Result<&Self> {
        ensure!(self.status.as_u16() == status, "expected {status}, got {self:?}");
        Ok(self)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

const TABLES: [&str; 6] =
    ["number_counters", "tickets", "articles", "article_bodies", "ticket_events", "ticket_flags"];

pub(crate) async fn send(request: RequestBuilder) -> anyhow::Result<Answer> {
    let response = request.send().await?;
    let (status, headers) = (response.status(), response.headers().clone());
    Ok(Answer { status, headers, text: response.text().await? })
}

/// A token as the monolith issues it.
pub(crate) fn token(user: i32) -> String {
    signed(user, "Agent", "agent")
}

/// A token of a customer with this address, whose id is also the administrator's.
pub(crate) fn customer_token(email: &str) -> String {
    signed(ADMIN, "Customer", email)
}

fn signed(user: i32, role: &str, email: &str) -> String {
    let now = get_current_timestamp();
    let claims = json!({"user_id": user, "role": role, "email": email, "login": email,
        "exp": now + 600, "iat": now, "nbf": now, "iss": "gotrs", "sub": email});
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&Header::default(), &claims, &key).expect("claims are plain json")
}

async fn prepared_database() -> anyhow::Result<(String, tokio_postgres::Client)> {
    static ROLES: OnceCell<()> = OnceCell::const_new();
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let cluster = Cluster::shared().await?;
    ROLES
        .get_or_try_init(async || {
            cluster.create_role("ticket").await?;
            cluster.create_role("ticket_owner").await
        })
        .await?;
    let database = format!("ticket_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    cluster.create_database(&database).await?;
    let sql = format!("alter database {database} owner to ticket_owner");
    cluster.execute("postgres", &sql).await?;
    let owner = Secret::new(cluster.url_as("ticket_owner", &database));
    ticket::migrate::migrate(&owner, "ticket").await?;
    let client = cluster.connect(&database).await?;
    client.batch_execute(include_str!("world.sql")).await?;
    Ok((database, client))
}
