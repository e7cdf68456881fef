//! Shadow reads: after the downstream has its answer, the service is asked the same, and the answers
//! are compared. Own connections, own budgets, GET only, whole bodies or none; what is left out is
//! counted by reason. A difference counts only if it is still there after the service has caught up,
//! only where the monolith gives the same answer before and after, and only if a second such round finds it
//! at the same place: noise is no mismatch, and learned.

mod capture;
mod mismatches;

use std::{sync::Arc, sync::atomic::Ordering::Relaxed, time::Duration};

use cutover::Side;
use http::HeaderValue;
use routes::RouteId;
use tokio::{sync::Semaphore, time::timeout};
use tokio_util::task::TaskTracker;

pub(crate) use capture::{Capture, Rules, Skip};
use mismatches::Round;
pub(crate) use mismatches::{Mismatch, Mismatches};

use crate::{
    gate::Position,
    metrics,
    plan::{Planned, Snapshot},
    upstream::{
        Upstream, Wish,
        asking::{AskError, Asker},
    },
};
use capture::{Answer, Captured, Difference, differences};

/// Shadows under way at the same time, from the first byte of the answer; the rest is skipped.
const CONCURRENT_MAX: usize = 64;

/// Longest time one shadow answer may take.
const ASK_MAX: Duration = Duration::from_secs(5);

/// Longest time to wait for the service to catch up before asking both again.
const CATCH_UP_MAX: Duration = Duration::from_secs(5);

/// How often both are asked again: what is written all the time rarely stands still between two asks.
const CONFIRMATIONS: usize = 5;

/// Runs shadows in the background.
#[derive(Debug)]
pub(crate) struct Shadower {
    client: Arc<Asker>,
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
    key: compare::HashKey,
    mismatches: Arc<Mismatches>,
}

/// One comparison.
#[derive(Debug)]
struct Shadow {
    client: Arc<Asker>,
    snapshot: Arc<Snapshot>,
    route: RouteId,
    captured: Captured,
    key: compare::HashKey,
    mismatches: Arc<Mismatches>,
}

/// How a comparison ended.
#[derive(Debug)]
enum Outcome {
    /// The answers were equal at once.
    Equal,
    /// They were equal after the service had caught up.
    CaughtUp,
    /// They differ only where the monolith differs from itself.
    Noise,
    /// They differ in so many places.
    Mismatch(usize),
    /// They were not compared.
    Skipped(Skip),
}

/// What a round of asking both again found.
#[derive(Debug)]
enum Again {
    /// Nothing differs.
    Equal,
    /// These differ beyond the noise; none when all of it is noise.
    Different(Vec<Difference>),
    /// The monolith changed its whole answer.
    Unstable,
}

/// Asks over connections of its own, apart from those of requests.
pub(crate) fn client() -> Arc<Asker> {
    Arc::new(Asker::new())
}

impl Shadower {
    pub(crate) fn new(mismatches: Arc<Mismatches>) -> Self {
        let permits = Arc::new(Semaphore::new(CONCURRENT_MAX));
        let key = compare::HashKey(rand::random());
        Self { client: client(), permits, tasks: TaskTracker::new(), key, mismatches }
    }

    /// Begins to keep an exchange, if there is room.
    pub(crate) fn capture(&self, service: Arc<Upstream>, rules: &Rules) -> Capture {
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok();
        Capture::new(service, rules.body_max, permit)
    }

    /// Compares in the background, if the exchange can be compared.
    pub(crate) fn start(&self, capture: Capture, snapshot: &Arc<Snapshot>, route: Option<RouteId>) {
        let Some(route) = route else { return };
        let captured = match capture.finish() {
            Ok(captured) => captured,
            Err(skip) => return count(snapshot, route, &Outcome::Skipped(skip)),
        };
        let shadow = Shadow {
            client: Arc::clone(&self.client),
            snapshot: Arc::clone(snapshot),
            route,
            captured,
            key: self.key,
            mismatches: Arc::clone(&self.mismatches),
        };
        self.tasks.spawn(shadow.run());
    }
}

impl Shadow {
    async fn run(self) {
        let outcome = match self.compare().await {
            Ok(outcome) => outcome,
            Err(skip) => Outcome::Skipped(skip),
        };
        count(&self.snapshot, self.route, &outcome);
        if let Outcome::Mismatch(differences) = outcome {
            let meters = self.snapshot.plan.meters(Some(self.route));
            let (capability, route) = (meters.capability(), meters.route());
            tracing::info!(capability, route, differences, "the service answered differently");
        }
    }

    async fn compare(&self) -> Result<Outcome, Skip> {
        let (plan, captured) = (&self.snapshot.plan, &self.captured);
        let (Some(planned), Some(rules)) = (
            plan.capability_of(self.route),
            plan.route(self.route).and_then(|route| route.shadow.as_ref()),
        ) else {
            return Err(Skip::NotComparable);
        };
        let actual = self.ask(&captured.service, rules).await?;
        if differences(&captured.expected, &actual, rules, self.key).is_none() {
            if rand::random_bool(rules.noise) {
                self.learn_noise(rules).await;
            }
            return Ok(Outcome::Equal);
        }
        let mut suspected: Option<Vec<Difference>> = None;
        for _ in 0..CONFIRMATIONS {
            match (self.ask_again(planned, rules).await?, suspected.take()) {
                (Again::Equal, None) => return Ok(Outcome::CaughtUp),
                (Again::Equal, Some(_)) => return Ok(Outcome::Noise),
                (Again::Unstable, before) => suspected = before,
                (Again::Different(found), None) if found.is_empty() => return Ok(Outcome::Noise),
                (Again::Different(found), None) => suspected = Some(found),
                (Again::Different(found), Some(before)) => {
                    return Ok(match confirmed(&before, &found) {
                        0 => Outcome::Noise,
                        differences => Outcome::Mismatch(differences),
                    });
                }
            }
        }
        Err(Skip::Unstable)
    }

    /// Asks the monolith twice although nothing differed: without such rounds only the answers that differ
    /// would say how often it repeats itself.
    async fn learn_noise(&self, rules: &Rules) {
        let monolith = &self.snapshot.plan.monolith;
        let Ok(before) = self.ask(monolith, rules).await else { return };
        let Ok(after) = self.ask(monolith, rules).await else { return };
        let noise = differences(&before, &after, rules, self.key);
        let noise = noise.map(|found| found.differences).unwrap_or_default();
        self.learn(&[], &noise);
    }

    fn learn(&self, raw: &[Difference], noise: &[Difference]) -> Vec<Difference> {
        let meters = self.snapshot.plan.meters(Some(self.route));
        self.mismatches.learn(Round {
            capability: meters.capability(),
            route: meters.route(),
            raw,
            noise,
            at_unix_ms: unix_ms(),
        })
    }

    /// Asks the monolith, lets the service catch up with that answer, asks the service, and asks the
    /// monolith again: where it does not answer the same both times, the service need not either. When
    /// the whole answer is such a place, nothing was compared.
    async fn ask_again(&self, planned: &Planned, rules: &Rules) -> Result<Again, Skip> {
        let (plan, captured) = (&self.snapshot.plan, &self.captured);
        let before = self.ask(&plan.monolith, rules).await?;
        if !planned.live.catch_up.barrier(CATCH_UP_MAX).await {
            return Err(Skip::NotCaughtUp);
        }
        let actual = self.ask(&captured.service, rules).await?;
        let Some(found) = differences(&before, &actual, rules, self.key) else {
            return Ok(Again::Equal);
        };
        let after = self.ask(&plan.monolith, rules).await?;
        if is_moved(planned) {
            return Err(Skip::Moved);
        }
        let noise = differences(&before, &after, rules, self.key);
        let noise = noise.map(|found| found.differences).unwrap_or_default();
        let mismatches = self.learn(&found.differences, &noise);
        Ok(if is_comparable(&noise) { Again::Different(mismatches) } else { Again::Unstable })
    }

    async fn ask(&self, upstream: &Upstream, rules: &Rules) -> Result<Answer, Skip> {
        timeout(ASK_MAX, self.ask_now(upstream, rules)).await.map_err(|_elapsed| Skip::TimedOut)?
    }

    async fn ask_now(&self, upstream: &Upstream, rules: &Rules) -> Result<Answer, Skip> {
        let peer = upstream.choose(Wish::default()).ok_or(Skip::Unreachable)?;
        let mut headers = self.captured.head.headers.clone();
        headers.insert("ficus-shadow", HeaderValue::from_static("1"));
        let path = self.captured.head.path_and_query.as_str();
        let answer = self.client.ask(peer, path, &headers, rules.body_max).await;
        let answer = answer.map_err(|error| match error {
            AskError::TooLong => Skip::BodyTooLarge,
            AskError::Unreachable(_) | AskError::NoCredentials => Skip::Unreachable,
        })?;
        Answer::new(answer.status, &answer.headers, answer.body)
    }
}

/// How many differences of the second round are at a place of the first. A value of which there are few may
/// be the same twice by chance and look like no noise; hardly in two rounds.
fn confirmed(before: &[Difference], found: &[Difference]) -> usize {
    let is_seen = |one: &&Difference| {
        before.iter().any(|other| (&other.pointer, other.kind) == (&one.pointer, one.kind))
    };
    found.iter().filter(is_seen).count()
}

/// Whether anything is left to compare beside the noise: not when the status, the whole document or
/// bytes that are not JSON change by themselves.
fn is_comparable(noise: &[Difference]) -> bool {
    noise.iter().all(|one| !matches!(one.kind, "head" | "bytes") && !one.pointer.is_empty())
}

/// Milliseconds since 1970, for people.
fn unix_ms() -> u64 {
    u64::try_from(chrono::Utc::now().timestamp_millis()).unwrap_or(0)
}

/// Whether the monolith has stopped to be the one to compare with.
fn is_moved(planned: &Planned) -> bool {
    planned.live.gate.position() != Position::Open(Side::Source)
}

fn count(snapshot: &Snapshot, route: RouteId, outcome: &Outcome) {
    let plan = &snapshot.plan;
    let (Some(planned), meters) = (plan.capability_of(route), plan.meters(Some(route))) else {
        return;
    };
    let counts = &planned.live.shadow;
    let name = match outcome {
        Outcome::Equal => "equal",
        Outcome::CaughtUp => "caught_up",
        Outcome::Noise => "noise",
        Outcome::Mismatch(_) => "mismatch",
        Outcome::Skipped(skip) => skip.as_str(),
    };
    match outcome {
        Outcome::Skipped(_) => counts.skipped.fetch_add(1, Relaxed),
        Outcome::Equal | Outcome::CaughtUp | Outcome::Noise => {
            counts.compared.fetch_add(1, Relaxed)
        }
        Outcome::Mismatch(_) => {
            counts.mismatched.fetch_add(1, Relaxed);
            counts.compared.fetch_add(1, Relaxed)
        }
    };
    metrics::SHADOW.with_label_values(&[meters.capability(), meters.route(), name]).inc();
}
