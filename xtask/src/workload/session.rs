//! One client: its login, its own tickets, and how an answer is judged.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rand::{Rng, SeedableRng, rngs::StdRng};
use reqwest::{Method, Response, StatusCode, header};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Counts, Workload};
use crate::ledger::{Entry, Ledger, Outcome, Written};

/// Longer than any hold; a client that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(15);

/// What one client needs.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) number: usize,
    pub(super) load: Arc<Workload>,
    pub(super) counts: Arc<Counts>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) stop: CancellationToken,
    pub(super) tolerant: bool,
}

/// A client that has logged in.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) http: reqwest::Client,
    pub(super) credentials: (header::HeaderName, String),
    pub(super) random: StdRng,
    /// Tickets this client created: id and marker.
    pub(super) own: Vec<(u64, String)>,
    sequence: u64,
}

/// An answer with its body read.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Value,
}

impl Client {
    fn login_name(&self) -> String {
        format!("agent{}", self.number % 30 + 1)
    }

    /// Logs in with a bearer token.
    pub(super) async fn login_api(self) -> anyhow::Result<Session> {
        let http = new_http()?;
        let url = format!("{}/api/v1/auth/login", self.load.url);
        let body = json!({ "login": self.login_name(), "password": "secret" });
        let answer = http.post(url).json(&body).send().await?;
        let status = answer.status();
        let body: Value = answer.json().await?;
        let token = body.get("access_token").and_then(Value::as_str);
        let token = token.with_context(|| format!("login answered {status}: {body}"))?;
        let credentials = (header::AUTHORIZATION, format!("Bearer {token}"));
        Ok(Session::new(self, http, credentials))
    }

    /// Logs in through the login page, keeping its cookies.
    pub(super) async fn login_browser(self) -> anyhow::Result<Session> {
        let http = new_http()?;
        let form = [("login", self.login_name()), ("password", "secret".to_owned())];
        let answer = http.post(format!("{}/login", self.load.url)).form(&form).send().await?;
        if answer.status() != StatusCode::SEE_OTHER {
            bail!("the login page answered {}", answer.status());
        }
        let cookies: Vec<String> = answer
            .headers()
            .get_all(header::SET_COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok()?.split(';').next().map(str::to_owned))
            .collect();
        Ok(Session::new(self, http, (header::COOKIE, cookies.join("; "))))
    }
}

fn new_http() -> anyhow::Result<reqwest::Client> {
    Ok(reqwest::Client::builder()
        .timeout(PATIENCE)
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(2)
        .build()?)
}

impl Session {
    fn new(
        client: Client,
        http: reqwest::Client,
        credentials: (header::HeaderName, String),
    ) -> Self {
        let random = StdRng::seed_from_u64(u64::try_from(client.number).unwrap_or(0));
        Self { client, http, credentials, random, own: Vec::new(), sequence: 0 }
    }

    /// A text nobody else writes.
    pub(super) fn marker(&mut self) -> String {
        self.sequence += 1;
        format!("ledger {} {}-{}", self.client.load.run, self.client.number, self.sequence)
    }

    /// A ticket that was there before the run.
    pub(super) fn old_ticket(&mut self) -> u64 {
        let tickets = &self.client.load.tickets;
        let index = self.random.random_range(0..tickets.len().max(1));
        tickets.get(index).copied().unwrap_or(1)
    }

    /// Sends and reads the whole answer.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, reqwest::Error> {
        let response = self.request(method, path, body).await?;
        let status = response.status();
        let bytes = response.bytes().await?;
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Ok(Answer { status, body })
    }

    /// Sends; the body is left unread.
    pub(super) async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response, reqwest::Error> {
        let (name, value) = &self.credentials;
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.client.load.url))
            .header(header::ACCEPT, "application/json")
            .header(name, value);
        if let Some(body) = body {
            request = request.json(body);
        }
        self.client.counts.request();
        request.send().await
    }

    /// Judges a read: anything but `expected` is a failure, unless the run is a tolerant one.
    pub(super) fn judge_read(&self, what: &str, answer: &Result<Answer, reqwest::Error>) -> bool {
        match answer {
            Ok(answer) if answer.status == StatusCode::OK => true,
            Ok(answer) => {
                if !self.client.tolerant || answer.status.is_client_error() {
                    self.fail(format!("{what}: {} {}", answer.status, answer.body));
                }
                false
            }
            Err(error) => {
                if !self.client.tolerant {
                    self.fail(format!("{what}: {error:?}"));
                }
                false
            }
        }
    }

    /// Judges a write and says what its client may believe.
    pub(super) fn judge_write(
        &self,
        what: &str,
        answer: &Result<Answer, reqwest::Error>,
    ) -> Outcome {
        match answer {
            Ok(answer) if answer.status.is_success() || answer.status == StatusCode::SEE_OTHER => {
                return Outcome::Acknowledged;
            }
            Ok(answer) if self.client.tolerant && answer.status.is_server_error() => {
                // 500 and 503 come before anything is written; 502 and 504 leave it open
                let open = matches!(answer.status.as_u16(), 502 | 504);
                return if open { Outcome::Unknown } else { Outcome::Refused };
            }
            Ok(answer) => self.fail(format!("{what}: {} {}", answer.status, answer.body)),
            Err(error) if !self.client.tolerant => self.fail(format!("{what}: {error:?}")),
            Err(_) => {}
        }
        Outcome::Unknown
    }

    /// Counts a failure.
    pub(super) fn fail(&self, what: impl std::fmt::Display) {
        self.client.counts.failure(format!("client {}: {what}", self.client.number));
    }

    /// Puts an insert into the ledger.
    pub(super) fn record(&self, written: Written, outcome: Outcome, sent: Instant) {
        self.client.ledger.record(Entry { written, outcome, sent, answered: Instant::now() });
    }

    /// Pause until the next request; false when the run is over.
    pub(super) async fn pace(&mut self, next: &mut Instant) -> bool {
        *next += self.client.load.pace;
        tokio::select! {
            () = self.client.stop.cancelled() => false,
            () = tokio::time::sleep_until(*next) => {
                // a client that fell behind does not hurry afterwards
                *next = (*next).max(Instant::now());
                true
            }
        }
    }
}
