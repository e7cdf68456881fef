//! Attempts of one request: to which peer the next one goes, and whether there is a next one. A
//! request is sent again only when it was never sent, or when it is a read that got no answer; a write
//! that may have been executed never is.

use std::{sync::Arc, time::Duration};

use cutover::Side;
use http::Method;
use pingora::{Error, ErrorSource, ErrorType, proxy::Session, upstreams::peer::HttpPeer};
use routes::{Balance, Effect, Protocol, SubjectSource};
use tokio::time::{Instant, sleep};

use crate::{
    admission::TurnedAway,
    answer::Problem,
    exchange::{Exchange, peer_ip},
    metrics::{FALLBACKS, upstreams as meters},
    subject,
    upstream::{Call, Refused, Upstream, Wish, budget},
};

/// What a request remembers of its attempts.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    /// The one under way.
    pub(crate) call: Option<Call>,
    /// Sent again so far.
    retries: u32,
    /// Waited before the next.
    wait: Duration,
    /// Failed last.
    avoid: Option<std::net::SocketAddr>,
    /// The upstream's `total`, from the first attempt.
    deadline: Option<Instant>,
    has_begun: bool,
}

impl Attempts {
    /// Whether the time for the whole answer is over.
    pub(crate) fn is_overdue(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Hears how the attempt under way ended.
    pub(crate) fn settle(&mut self, is_failure: bool) {
        if let Some(call) = &mut self.call {
            call.settle(is_failure);
        }
    }
}

/// Chooses a peer for the next attempt; when the service may not be asked, a read that may falls back
/// to the monolith.
///
/// # Errors
/// When nobody may be asked; nothing was sent.
pub(crate) async fn begin(
    session: &Session,
    exchange: &mut Exchange,
) -> Result<Box<HttpPeer>, TurnedAway> {
    let wait = std::mem::take(&mut exchange.attempts.wait);
    if !wait.is_zero() {
        sleep(wait).await;
    }
    loop {
        exchange.attempts.call = None;
        let upstream = Arc::clone(exchange.upstream());
        match call(session, exchange, &upstream).await {
            Ok(peer) => return Ok(peer),
            Err(refused) => {
                let labels = [upstream.config.name.as_str(), refused.as_str()];
                meters::REFUSED.with_label_values(&labels).inc();
                if !fall_back(exchange) {
                    return Err(TurnedAway::Answer(problem(refused)));
                }
            }
        }
    }
}

async fn call(
    session: &Session,
    exchange: &mut Exchange,
    upstream: &Arc<Upstream>,
) -> Result<Box<HttpPeer>, Refused> {
    let key = key(session, exchange, &upstream.config.resilience.balance);
    let wish = Wish { key: key.as_deref(), avoid: exchange.attempts.avoid };
    let is_first = !exchange.attempts.has_begun;
    let call = Call::begin(upstream, class(session, exchange), wish, is_first).await?;
    let total = upstream.config.timeouts.total;
    let attempts = &mut exchange.attempts;
    attempts.has_begun = true;
    if !total.is_zero() {
        attempts.deadline.get_or_insert_with(|| Instant::now() + total);
    }
    let left = attempts.deadline.map(|deadline| {
        deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
    });
    let peer = call.peer().ok_or(Refused::NoPeers)?.to_http_peer(left);
    let peer = peer.ok_or(Refused::NoCredentials)?;
    attempts.call = Some(call);
    Ok(peer)
}

/// What a consistent choice is made by; without a value the less loaded peer is chosen.
fn key(session: &Session, exchange: &Exchange, balance: &Balance) -> Option<Vec<u8>> {
    let headers = &session.req_header().headers;
    match balance {
        Balance::LeastLoaded => None,
        Balance::Subject => {
            let sources = &exchange.snapshot.plan.config.proxy.subject;
            Some(subject::of(sources, headers, peer_ip(session)))
        }
        Balance::Header(name) => subject::from(&SubjectSource::Header(name.clone()), headers, None),
        Balance::Cookie(name) => subject::from(&SubjectSource::Cookie(name.clone()), headers, None),
    }
}

/// A request that no capability claims is a write unless its method says that it is not.
fn class(session: &Session, exchange: &Exchange) -> Effect {
    let is_safe = session.req_header().method.is_safe();
    if exchange.route.is_none() && !is_safe { Effect::Write } else { exchange.effect }
}

fn problem(refused: Refused) -> Problem {
    let detail = match refused {
        Refused::Open => "the upstream fails and is left alone for a while; nothing was done",
        Refused::Full => "the upstream has as many requests as it may have; nothing was done",
        Refused::NoCredentials => "the upstream's certificates are not read yet; nothing was done",
        Refused::NoPeers => "the upstream has no address at the moment; nothing was done",
    };
    Problem::new(503, "upstream-unavailable", detail).with_retry()
}

/// A read that cannot reach the service is answered by the monolith, as long as the monolith owns the
/// data. Never a write.
fn fall_back(exchange: &mut Exchange) -> bool {
    let may = exchange.effect == Effect::Read
        && exchange.side == Side::Target
        && exchange.standing().is_some_and(|standing| standing.owner == Side::Source);
    if !may {
        return false;
    }
    if let Some(planned) = exchange.planned() {
        FALLBACKS.with_label_values(&[planned.live.name.as_str()]).inc();
        planned.live.cohort(Side::Target).record(true, None);
    }
    exchange.side = Side::Source;
    exchange.attempts.avoid = None;
    true
}

/// No connection was made, so nothing was sent: any request may be sent again.
pub(crate) fn after_no_connection(exchange: &mut Exchange) -> bool {
    exchange.attempts.settle(true);
    fall_back(exchange) || ask_again(exchange)
}

/// The attempt failed after the request began to be sent. Whether it is made again.
pub(crate) fn after_failure(
    session: &mut Session,
    exchange: &mut Exchange,
    error: &Error,
    was_kept: bool,
) -> bool {
    if *error.esource() != ErrorSource::Upstream {
        return false;
    }
    let is_safe = matches!(session.req_header().method, Method::GET | Method::HEAD);
    let may = is_safe
        && exchange.effect == Effect::Read
        && !exchange.answered
        && !session.as_ref().retry_buffer_truncated();
    let is_timeout = matches!(error.etype(), ErrorType::ReadTimedout | ErrorType::WriteTimedout);
    // Over HTTP/2 nearly every connection was kept, so that this would excuse every failure.
    let is_excused = was_kept && exchange.upstream().config.protocol == Protocol::Http1;
    if may && is_excused && !is_timeout && !exchange.attempts.is_overdue() {
        // The peer closed a kept connection at the moment it was used again: no failure of the peer.
        return true;
    }
    exchange.attempts.settle(true);
    // One that took its whole time would take it again.
    may && (fall_back(exchange) || (!is_timeout && ask_again(exchange)))
}

fn ask_again(exchange: &mut Exchange) -> bool {
    let upstream = Arc::clone(exchange.upstream());
    let retry = upstream.config.resilience.retry;
    let attempts = &mut exchange.attempts;
    let outcome = if attempts.retries >= retry.attempts || attempts.is_overdue() {
        "no_attempts"
    } else if upstream.take_retry() {
        "sent"
    } else {
        "no_budget"
    };
    meters::RETRIES.with_label_values(&[upstream.config.name.as_str(), outcome]).inc();
    if outcome != "sent" {
        return false;
    }
    attempts.retries += 1;
    attempts.wait = budget::backoff(retry.backoff, attempts.retries, rand::random());
    attempts.avoid = attempts.call.as_ref().and_then(Call::peer).map(|peer| peer.address);
    true
}
