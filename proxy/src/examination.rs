//! Asks a rule set about requests: beside their way, or before they go on. Where rules block, a body is held
//! until they have seen it whole, so that nothing they deny reaches an upstream complete.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header;
use pingora::{Error, ErrorType, Result, proxy::Session};
use routes::{AttackRules, OverBudget, RuleMode};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    admission::TurnedAway,
    answer::Problem,
    attack_rules::{Denied, EngineFault, Head, RuleSet, RuleSets},
    exchange::Exchange,
    metrics::policies::{EXAMINATION_SECONDS, EXAMINATIONS},
    policy::Applied,
};

/// How one policy asks its rules.
#[derive(Debug)]
pub(crate) struct Examiner {
    policy: String,
    config: AttackRules,
    rules: Arc<RuleSet>,
    turns: Arc<Semaphore>,
}

/// One request that is examined.
#[derive(Debug)]
pub(crate) struct Examination {
    examiner: Arc<Examiner>,
    head: Arc<Head>,
    body: BytesMut,
    /// The rules have been asked, or will not be.
    is_over: bool,
}

/// What came of asking.
enum Said {
    Nothing,
    Denied(Denied),
    Late,
    Fault(EngineFault),
}

impl Examiner {
    /// `None` when the rules were not read.
    pub(crate) fn new(policy: &str, config: &AttackRules, sets: &RuleSets) -> Option<Self> {
        let turns = match config.mode {
            RuleMode::Block => &sets.blocking,
            RuleMode::Detect => &sets.detecting,
        };
        Some(Self {
            policy: policy.to_owned(),
            config: config.clone(),
            rules: sets.get(&config.file)?,
            turns: Arc::clone(turns),
        })
    }

    /// Asks the rules and waits.
    ///
    /// # Errors
    /// The answer, when the request may not go on.
    async fn ask(self: &Arc<Self>, head: &Arc<Head>, body: Bytes) -> Result<(), Problem> {
        let deadline = Instant::now() + self.config.budget;
        let Ok(Ok(permit)) =
            timeout(self.config.budget, Arc::clone(&self.turns).acquire_owned()).await
        else {
            return self.settle(Said::Late);
        };
        let (examiner, head) = (Arc::clone(self), Arc::clone(head));
        // Whoever does not wait for the thread does not stop it: its turn ends with it.
        let thread = spawn_blocking(move || examiner.examine(&head, &body, permit));
        match timeout_at(deadline, thread).await {
            Ok(Ok(said)) => self.settle(said),
            Ok(Err(_)) | Err(_) => self.settle(Said::Late),
        }
    }

    /// Asks the rules, and does not wait.
    fn ask_beside(self: &Arc<Self>, head: &Arc<Head>, body: Bytes) {
        let Ok(permit) = Arc::clone(&self.turns).try_acquire_owned() else {
            self.note("skipped");
            return;
        };
        let (examiner, head) = (Arc::clone(self), Arc::clone(head));
        // It ends by itself; what it finds out is counted and logged there.
        drop(spawn_blocking(move || {
            let said = examiner.examine(&head, &body, permit);
            if examiner.settle(said).is_err() {
                tracing::debug!(policy = examiner.policy, "let a request pass that rules deny");
            }
        }));
    }

    fn examine(&self, head: &Head, body: &[u8], permit: OwnedSemaphorePermit) -> Said {
        let begun = Instant::now();
        let said = match self.rules.examine(head, body) {
            Ok(None) => Said::Nothing,
            Ok(Some(denied)) => Said::Denied(denied),
            Err(fault) => Said::Fault(fault),
        };
        let seconds = begun.elapsed().as_secs_f64();
        EXAMINATION_SECONDS.with_label_values(&[self.policy.as_str()]).observe(seconds);
        drop(permit);
        said
    }

    /// Counts and logs what the rules said, and decides. Never says what was in the request.
    fn settle(&self, said: Said) -> Result<(), Problem> {
        let policy = self.policy.as_str();
        match (said, self.config.mode) {
            (Said::Nothing, _) => {
                self.note("passed");
                Ok(())
            }
            (Said::Denied(Denied { rules, score }), mode) => {
                let is_blocked = mode == RuleMode::Block;
                self.note(if is_blocked { "blocked" } else { "detected" });
                tracing::warn!(policy, ?rules, score, is_blocked, "rules deny a request");
                let detail =
                    "the request looks like an attack; the operator's log says by which rules";
                Err(Problem::new(403, "attack-rules", detail))
            }
            (Said::Fault(error), _) => {
                self.note("failed");
                tracing::warn!(policy, %error, "rules could not tell about a request");
                self.unsaid()
            }
            (Said::Late, _) => {
                self.note("late");
                self.unsaid()
            }
        }
    }

    /// What becomes of a request the rules said nothing about.
    fn unsaid(&self) -> Result<(), Problem> {
        match self.config.over_budget {
            OverBudget::Pass => Ok(()),
            OverBudget::Refuse => {
                let detail = "the request could not be examined in time; nothing was done";
                Err(Problem::new(503, "rules-late", detail).with_retry())
            }
        }
    }

    fn note(&self, outcome: &str) {
        EXAMINATIONS.with_label_values(&[self.policy.as_str(), outcome]).inc();
    }
}

impl Examination {
    /// Begins again, because the request is sent again.
    fn restart(&mut self) {
        self.body.clear();
    }

    /// Takes the next part of the body.
    ///
    /// # Errors
    /// The answer, when the request may not go on.
    async fn take(&mut self, part: &mut Option<Bytes>, is_end: bool) -> Result<(), Problem> {
        if self.is_over {
            return Ok(());
        }
        let max = self.examiner.config.body_max;
        let is_blocking = self.examiner.config.mode == RuleMode::Block;
        let arrived = part.as_ref().map_or(0, Bytes::len);
        if self.body.len() + arrived > max {
            self.is_over = true;
            self.examiner.note("too_long");
            return match is_blocking {
                true => Err(Problem::new(
                    413,
                    "body-too-long",
                    format!("bodies of such requests must not be longer than {max} bytes"),
                )),
                false => Ok(()),
            };
        }
        if let Some(part) = &*part {
            self.body.extend_from_slice(part);
        }
        if is_end {
            self.is_over = true;
            let body = self.body.split().freeze();
            if is_blocking {
                self.examiner.ask(&self.head, body.clone()).await?;
                *part = Some(body);
            } else {
                self.examiner.ask_beside(&self.head, body);
            }
        } else if is_blocking {
            // No part at all would be the end of the body to pingora.
            *part = Some(Bytes::new());
        }
        Ok(())
    }
}

/// Begins to examine a request whose policy asks for it; one without a body is examined at once.
///
/// # Errors
/// The answer, when the request may not go on.
pub(crate) async fn begin(
    session: &mut Session,
    exchange: &mut Exchange,
) -> std::result::Result<(), TurnedAway> {
    let Some(examiner) = exchange.applied.as_ref().and_then(Applied::examiner).cloned() else {
        return Ok(());
    };
    let head = Arc::new(Head::of(session.req_header(), exchange.client_ip()));
    if has_body(session) {
        let body = BytesMut::new();
        exchange.examination = Some(Examination { examiner, head, body, is_over: false });
        return Ok(());
    }
    match examiner.config.mode {
        RuleMode::Block => examiner.ask(&head, Bytes::new()).await.map_err(TurnedAway::Answer),
        RuleMode::Detect => {
            examiner.ask_beside(&head, Bytes::new());
            Ok(())
        }
    }
}

/// Whether there is a body that has an end and that rules can read: no tunnel, no stream of messages.
fn has_body(session: &mut Session) -> bool {
    let request = session.req_header();
    let is_tunnel = request.headers.contains_key(header::UPGRADE);
    let content_type = request.headers.get(header::CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    let is_stream = content_type.is_some_and(|value| value.starts_with(b"application/grpc"));
    !is_tunnel && !is_stream && !session.is_body_empty()
}

/// Begins again, because the request is sent again.
pub(crate) fn restart(exchange: &mut Exchange) {
    if let Some(examination) = &mut exchange.examination {
        examination.restart();
    }
}

/// Takes a part of the body of a request that is examined.
pub(crate) async fn take_part(
    part: &mut Option<Bytes>,
    is_end: bool,
    exchange: &mut Exchange,
) -> Result<()> {
    let Some(examination) = &mut exchange.examination else { return Ok(()) };
    let taken = examination.take(part, is_end).await;
    taken.map_err(|problem| {
        let status = problem.status;
        exchange.problem = Some(problem);
        Error::explain(ErrorType::HTTPStatus(status), "refused by its examination").into_down()
    })
}
