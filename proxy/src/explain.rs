//! Says which way a request would take and why, without sending anything: the same checks, routes and
//! decisions as for a real one, asked of a file or of what a running proxy sees at this moment.

use std::{net::IpAddr, sync::Arc};

use cutover::{Phase, Side};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use routes::{Bucket, Config, Effect, SubjectSource, Verdict, decide};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc};

use crate::{
    gate,
    keeper::{Registry, first_snapshot},
    plan::{Plan, Planned, Snapshot, Standing},
    shared::Shared,
    strict, subject,
    upstream::Upstream,
};

/// A request to explain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// As it would be sent: `GET`.
    pub method: String,
    /// Path, with a query or without.
    pub target: String,
    /// Names and values; a `Host` is added when there is none.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// Stands for what `proxy.subject` would find.
    #[serde(default)]
    pub subject: Option<String>,
    /// The downstream's address, where the subject is taken from it.
    #[serde(default)]
    pub ip: Option<IpAddr>,
}

/// What the file alone cannot say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assumed {
    /// Where every capability stands.
    pub phase: Phase,
    /// Whether the service has applied what the subject wrote.
    pub caught_up: bool,
}

/// The way of one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// What would happen.
    pub outcome: Outcome,
    /// Of the route table; absent when only a file was asked.
    pub generation: Option<u64>,
    /// `GET /api/v1/tickets/{id}`; absent when no capability claims the request.
    pub route: Option<String>,
    /// The capability the route belongs to.
    pub capability: Option<String>,
    /// `read` or `write`; absent when no capability claims the request.
    pub effect: Option<String>,
    /// Where the capability stands.
    pub phase: Option<String>,
    /// Where the subject was found: `header:x-api-key`, `ip`, `given`.
    pub subject_from: Option<String>,
    /// 0 to 9 999; absent where it makes no difference.
    pub bucket: Option<u16>,
    /// Who would answer.
    pub upstream: Option<String>,
    /// Addresses the request could be sent to.
    pub peers: Vec<ExplainedPeer>,
    /// The service would be asked too, for the sampled share of such requests, and the answers compared.
    pub shadow: bool,
    /// Every step of the decision, in order.
    pub because: Vec<String>,
}

/// What would happen to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It would be sent.
    Sent,
    /// It would wait at the gate.
    Held,
    /// The proxy would refuse it with this status.
    Refused(u16),
}

/// An address of the upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedPeer {
    /// As configured.
    pub address: String,
    /// What the health checks say; `true` where there are none.
    pub healthy: bool,
}

/// A question that is no request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The target has characters that no path may have, or does not begin with `/`.
    #[error("{0:?} is not a path; write for example /api/v1/tickets/7")]
    Target(String),
    /// A header that cannot be sent.
    #[error("{0:?} is not a header; write for example \"x-api-key: abc\"")]
    Header(String),
    /// The configuration cannot be put into force.
    #[error("the file cannot be used alone: {0}; ask the running proxy with --live")]
    Config(String),
}

/// Explains by a file alone; where the capabilities stand is assumed.
///
/// # Errors
/// When the question is no request.
pub fn explain_offline(
    config: Config,
    assumed: Assumed,
    question: &Question,
) -> Result<Explanation, AskError> {
    let (created, _nobody_starts_tasks) = mpsc::unbounded_channel();
    let mut registry = Registry::new(Arc::new(Notify::new()), created);
    let plan = Plan::compile(config, None, |name| registry.get(name))
        .map_err(|error| AskError::Config(error.to_string()))?;
    let mut snapshot = first_snapshot(&Arc::new(plan));
    for standing in &mut snapshot.standings {
        standing.phase = assumed.phase;
        standing.owner = assumed.phase.owner();
    }
    let view = View { snapshot: &snapshot, live: None, caught_up: assumed.caught_up };
    view.explain(question)
}

/// Explains by what a running proxy sees.
pub(crate) fn explain_live(shared: &Shared, question: &Question) -> Result<Explanation, AskError> {
    let snapshot = shared.snapshot.load_full();
    View { snapshot: &snapshot, live: Some(shared), caught_up: false }.explain(question)
}

/// What is looked at.
struct View<'v> {
    snapshot: &'v Snapshot,
    live: Option<&'v Shared>,
    /// Used when nothing live can be asked.
    caught_up: bool,
}

/// Who asks.
struct Subject {
    from: String,
    value: Vec<u8>,
}

impl View<'_> {
    fn explain(&self, question: &Question) -> Result<Explanation, AskError> {
        let (mut uri, headers) = question.parsed()?;
        let mut told = Explanation::unclaimed(self.live.map(|_| self.snapshot.generation));
        match judged(question, &uri, &headers) {
            Ok(None) => {}
            Ok(Some(canonical)) => {
                told.because.push(format!("its target in canonical form is {canonical}"));
                uri = canonical;
            }
            Err(malformed) => {
                told.outcome = Outcome::Refused(malformed.status());
                told.because.push(format!("refused before it is routed: {malformed}"));
                return Ok(told);
            }
        }
        let plan = &self.snapshot.plan;
        let version = match plan.version(&headers) {
            Ok(version) => version,
            Err(unclear) => {
                told.outcome = Outcome::Refused(400);
                told.because.push(format!("refused before it is routed: {unclear}"));
                return Ok(told);
            }
        };
        let found = plan.find(version, &question.method, uri.path());
        let (Some(route), Some(planned), Some(standing)) = (
            found.and_then(|id| plan.route(id)),
            found.and_then(|id| plan.capability_of(id)),
            found.and_then(|id| self.snapshot.standing(id)),
        ) else {
            told.because.push("no capability claims it: it belongs to the monolith".to_owned());
            told.send_to(&plan.monolith);
            return Ok(told);
        };
        told.route = Some(route.meters.route().to_owned());
        told.capability = Some(planned.live.name.clone());
        told.effect = Some(route.effect.as_str().to_owned());
        told.phase = Some(standing.phase.to_string());
        told.because.push(format!(
            "{} claims it by the route {}, a {}",
            planned.live.name,
            route.meters.route(),
            route.effect.as_str()
        ));
        let subject = self.subject(question, &headers);
        match route.effect {
            Effect::Write => self.write(&mut told, planned, standing),
            Effect::Read => {
                let may_shadow = route.shadow.as_ref().is_some_and(|rules| rules.sample > 0.0);
                self.read(&mut told, planned, standing, &subject);
                told.shadow &= may_shadow && question.method == "GET";
            }
        }
        Ok(told)
    }

    fn write(&self, told: &mut Explanation, planned: &Planned, standing: Standing) {
        let position = self.live.map(|_| planned.live.gate.position());
        let owner = match position {
            Some(gate::Position::Closed) => {
                told.outcome = Outcome::Held;
                told.because.push(format!(
                    "a transfer is under way: writes wait at the gate, {:?} at most",
                    planned.fence.hold
                ));
                return;
            }
            Some(gate::Position::Open(side)) => side,
            None => standing.owner,
        };
        told.because.push(format!("writes go to the owner, {}", name_of(owner, planned, self)));
        told.send_to(self.upstream(owner, planned));
    }

    fn read(
        &self,
        told: &mut Explanation,
        planned: &Planned,
        standing: Standing,
        subject: &Subject,
    ) {
        let bucket = Bucket::of(&subject.value);
        let caught_up = self.live.map_or(self.caught_up, |shared| {
            let key = shared.subjects.key(&subject.value);
            planned.live.catch_up.is_caught_up(key, planned.max_lag)
        });
        if let Phase::Reading { percent } = standing.phase {
            told.subject_from = Some(subject.from.clone());
            told.bucket = Some(bucket.get());
            let relation = if bucket.is_below(percent) { "below" } else { "not below" };
            told.because.push(format!(
                "its subject ({}) is in bucket {}, {relation} {percent}% of 10000",
                subject.from,
                bucket.get()
            ));
            if bucket.is_below(percent) && !caught_up {
                let why =
                    "the service has not applied yet what the subject wrote, or is too far behind";
                told.because.push(why.to_owned());
            }
        }
        let verdict =
            decide(standing.phase, standing.owner, false, Effect::Read, bucket, caught_up);
        let Verdict::Send { to, shadow } = verdict else { return };
        if standing.owner != standing.phase.owner() {
            told.because
                .push("a transfer was decided a moment ago: the owner reads, too".to_owned());
        }
        let name = name_of(to, planned, self);
        told.because.push(format!("in phase {} it is read from {name}", standing.phase));
        told.shadow = shadow.is_some();
        told.send_to(self.upstream(to, planned));
    }

    fn upstream<'u>(&'u self, side: Side, planned: &'u Planned) -> &'u Upstream {
        match side {
            Side::Source => &self.snapshot.plan.monolith,
            Side::Target => &planned.service,
        }
    }

    /// What `proxy.subject` finds, and where.
    fn subject(&self, question: &Question, headers: &HeaderMap) -> Subject {
        if let Some(given) = &question.subject {
            return Subject { from: "given".to_owned(), value: given.clone().into_bytes() };
        }
        let sources = &self.snapshot.plan.config.proxy.subject;
        let found = sources.iter().find_map(|source| {
            let from = match source {
                SubjectSource::Ip => return None,
                SubjectSource::JwtClaim(name) => format!("jwt:{name}"),
                SubjectSource::Cookie(name) => format!("cookie:{name}"),
                SubjectSource::Header(name) => format!("header:{name}"),
            };
            let value = subject::of(std::slice::from_ref(source), headers, None);
            (!value.is_empty()).then_some(Subject { from, value })
        });
        found.unwrap_or_else(|| {
            let value = subject::of(&[SubjectSource::Ip], headers, question.ip);
            let from = question.ip.map_or("ip, not given", |_| "ip");
            Subject { from: from.to_owned(), value }
        })
    }
}

/// Judges the head as HTTP/1.1 would carry it, and gives the target's canonical form if it has another.
fn judged(
    question: &Question,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Option<Uri>, strict::Malformed> {
    let mut head = format!("{} {} HTTP/1.1\r\n", question.method, question.target).into_bytes();
    for (name, value) in headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    http_rules::head::read(&head)?;
    strict::canonical_target(uri)
}

fn name_of<'n>(side: Side, planned: &'n Planned, view: &'n View<'_>) -> &'n str {
    &view.upstream(side, planned).config.name
}

impl Question {
    fn parsed(&self) -> Result<(Uri, HeaderMap), AskError> {
        let uri: Uri = self.target.parse().map_err(|_| AskError::Target(self.target.clone()))?;
        if !self.target.starts_with('/') {
            return Err(AskError::Target(self.target.clone()));
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let refused = || AskError::Header(format!("{name}: {value}"));
            let parsed = HeaderName::try_from(name.trim()).map_err(|_| refused())?;
            let value = HeaderValue::try_from(value.trim()).map_err(|_| refused())?;
            headers.append(parsed, value);
        }
        headers.entry(header::HOST).or_insert(HeaderValue::from_static("localhost"));
        Ok((uri, headers))
    }
}

impl Explanation {
    fn unclaimed(generation: Option<u64>) -> Self {
        Self {
            outcome: Outcome::Sent,
            generation,
            route: None,
            capability: None,
            effect: None,
            phase: None,
            subject_from: None,
            bucket: None,
            upstream: None,
            peers: Vec::new(),
            shadow: false,
            because: Vec::new(),
        }
    }

    fn send_to(&mut self, upstream: &Upstream) {
        self.upstream = Some(upstream.config.name.clone());
        let peers = upstream.peers().iter();
        self.peers = peers
            .map(|peer| ExplainedPeer {
                address: peer.address.to_string(),
                healthy: peer.is_healthy(),
            })
            .collect();
    }
}
