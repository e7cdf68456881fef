//! What happens to a request before any upstream is asked: refuse what is malformed, find its route,
//! choose the side, and hold writes at the gate.

use std::{sync::Arc, time::Duration};

use cutover::Phase;
use http::{HeaderName, HeaderValue, Method};
use http_rules::head::HeadFault;
use pingora::proxy::Session;
use routes::{Bucket, Effect, Verdict, decide};
use tokio::time::{Instant, sleep};

use crate::{
    answer::Problem,
    examination,
    exchange::{Exchange, peer_ip},
    forward::{self, Caller},
    gate::{Patience, Refusal},
    handling,
    metrics::GATE_WAIT,
    policy::{self, Answered, Applied, Asked},
    shared::Shared,
    strict, subject,
};

/// How often a held HTTP/1 write looks whether its downstream is still there.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A write the owner refused waits at most so long for the gate to turn.
const REFUSED_WAIT: Duration = Duration::from_secs(3);

/// Kernel's number of the only state in which both ends of a connection may still send.
const TCP_ESTABLISHED: u8 = 1;

/// Why a request is not proxied.
#[derive(Debug)]
pub(crate) enum TurnedAway {
    /// The proxy answers.
    Answer(Problem),
    /// The proxy answers a preflight.
    Preflight(Vec<(HeaderName, HeaderValue)>),
    /// Nobody is there to answer to.
    Left,
}

/// Decides about a request, and for a write waits until it may be sent.
pub(crate) async fn admit(
    shared: &Shared,
    session: &mut Session,
    exchange: &mut Exchange,
) -> Result<(), TurnedAway> {
    let shed = exchange.snapshot.plan.config.proxy.operations.shed;
    if shared.pressure.refuses_request(shed).is_some() {
        let detail = "the proxy has more work than it may take; nothing was done";
        return Err(TurnedAway::Answer(Problem::new(503, "overloaded", detail).with_retry()));
    }
    exchange.request_id = Some(forward::request_id(&session.req_header().headers));
    check(session, exchange).map_err(|malformed| {
        let problem = Problem::new(malformed.status(), "malformed-request", malformed.to_string());
        TurnedAway::Answer(problem)
    })?;
    let request = session.req_header();
    let plan = &exchange.snapshot.plan;
    let version = plan.version(&request.headers).map_err(|unclear| {
        TurnedAway::Answer(Problem::new(400, "unclear-version", unclear.to_string()))
    })?;
    exchange.route = plan.find(version, request.method.as_str(), request.uri.path());
    let route = exchange.route.and_then(|id| plan.route(id));
    exchange.body_max = route.and_then(|route| route.body_max).unwrap_or_else(|| plan.body_max());
    if strict::content_length(&request.headers).is_some_and(|length| length > exchange.body_max) {
        return Err(TurnedAway::Answer(body_too_long(exchange.body_max)));
    }
    exchange.applied = Some(apply_policy(session, exchange).await?);
    handling::begin_request_body(session, exchange)
        .map_err(|error| TurnedAway::Answer(error.of_request()))?;
    examination::begin(session, exchange).await?;
    let plan = &exchange.snapshot.plan;
    let Some(route) = exchange.route.and_then(|id| plan.route(id)) else { return Ok(()) };
    if route.capability.is_none() {
        return Ok(());
    }
    exchange.effect = route.effect;
    match route.effect {
        Effect::Read => {
            choose_reader(shared, session, exchange);
            Ok(())
        }
        Effect::Write => {
            let subject = read_subject(session, exchange);
            exchange.subject = Some(shared.subjects.key(&subject));
            // The write is executed whether or not the downstream waits for the answer, so it must
            // stay in flight until the upstream has answered; what a downstream sends after it is the
            // next request and no reason to give up either.
            session.set_abort_on_close(false);
            session.set_pipelining_enabled(true);
            hold(session, exchange).await
        }
    }
}

/// Refuses what has no single meaning, and brings the target into its one form.
fn check(session: &mut Session, exchange: &mut Exchange) -> Result<(), strict::Malformed> {
    let is_http2 = session.is_http2();
    let has_body = is_http2 && !session.is_body_done();
    let request = session.req_header();
    if is_http2 {
        strict::check_http2(&request.method, &request.uri, &request.headers, has_body)?;
    }
    if let Some(target) = strict::canonical_target(&request.uri)? {
        let host = strict::named_by_target_only(&request.uri, &request.headers);
        let request = session.req_header_mut();
        if let Some(host) = host {
            request.insert_header(http::header::HOST, host).map_err(|_| HeadFault::Host)?;
        }
        request.set_uri(target);
    }
    let headers = &session.req_header().headers;
    let content_type = headers.get(http::header::CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    if content_type.is_some_and(|value| value.starts_with(b"application/grpc")) {
        exchange.line.be_at_ease();
    }
    let is_tls = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
    let trusted = &exchange.snapshot.plan.config.proxy.trusted_proxies;
    exchange.caller = Some(Caller::of(peer_ip(session), is_tls, headers, trusted));
    Ok(())
}

/// What is answered to a body that is longer than so many bytes.
pub(crate) fn body_too_long(max: u64) -> Problem {
    Problem::new(413, "body-too-long", format!("the body must not be longer than {max} bytes"))
}

/// Decides as the request's policy says; a preflight as that of the request it is for.
async fn apply_policy(session: &mut Session, exchange: &Exchange) -> Result<Applied, TurnedAway> {
    let address = exchange.client_ip();
    let request = session.req_header();
    let plan = &exchange.snapshot.plan;
    let meant = policy::preflight(&request.method, &request.headers);
    let route = match meant {
        Some(method) if exchange.route.is_none() => {
            // a preflight does not say what the values of fields will be
            plan.find(None, method, request.uri.path())
        }
        Some(_) | None => exchange.route,
    };
    let asked =
        Asked { method: &request.method, uri: &request.uri, headers: &request.headers, address };
    plan.policy(route).apply(asked).await.map_err(|answered| match answered {
        Answered::Problem(problem) => TurnedAway::Answer(problem),
        Answered::Preflight(fields) => TurnedAway::Preflight(fields),
    })
}

/// Waits at the gate until the write may be sent, and takes the right to.
pub(crate) async fn hold(session: &mut Session, exchange: &mut Exchange) -> Result<(), TurnedAway> {
    let Some(planned) = exchange.planned() else { return Ok(()) };
    let (live, fence) = (Arc::clone(&planned.live), planned.fence);
    let now = Instant::now();
    let deadline = *exchange.deadline.get_or_insert(now + fence.hold);
    let limit = if exchange.refused_at.is_some() { REFUSED_WAIT } else { fence.hold };
    let patience = Patience {
        budget: deadline.saturating_duration_since(now).min(limit),
        held_max: fence.max_held,
        refused_at: exchange.refused_at,
    };
    let entered = live.gate.enter(patience, left(session)).await;
    let entered = match entered {
        Ok(pass) if !pass.waited.is_zero() && has_left(session) => Err(Refusal::Left),
        other => other,
    };
    let waited = now.elapsed();
    exchange.waited += waited;
    let outcome = match &entered {
        Ok(pass) if pass.waited.is_zero() => None,
        Ok(_) => Some("released"),
        Err(Refusal::Full) => Some("full"),
        Err(Refusal::Expired) => Some("expired"),
        Err(Refusal::Left) => Some("left"),
    };
    if let Some(outcome) = outcome {
        let labels = [live.name.as_str(), outcome];
        GATE_WAIT.with_label_values(&labels).observe(waited.as_secs_f64());
    }
    let pass = entered.map_err(|refusal| turned_away(refusal, &live.name))?;
    exchange.side = pass.side;
    exchange.pass = Some(pass);
    Ok(())
}

fn turned_away(refusal: Refusal, capability: &str) -> TurnedAway {
    let detail = match refusal {
        Refusal::Left => return TurnedAway::Left,
        Refusal::Full => format!("too many writes to {capability} are waiting; nothing was done"),
        Refusal::Expired => {
            format!(
                "writes to {capability} are held for longer than this one can wait; nothing was done"
            )
        }
    };
    TurnedAway::Answer(Problem::new(503, "writes-held", detail).with_retry())
}

fn choose_reader(shared: &Shared, session: &Session, exchange: &mut Exchange) {
    let (Some(planned), Some(standing)) = (exchange.planned(), exchange.standing()) else { return };
    // In every other phase the subject makes no difference.
    let (bucket, caught_up) = match standing.phase {
        Phase::Reading { percent } if percent > 0 => of_subject(shared, session, exchange),
        Phase::Monolith
        | Phase::Replicating
        | Phase::Shadowing
        | Phase::Reading { .. }
        | Phase::Switched
        | Phase::Completed => (Bucket::of(b""), false),
    };
    let verdict = decide(standing.phase, standing.owner, false, Effect::Read, bucket, caught_up);
    let Verdict::Send { to, shadow } = verdict else { return };
    let rules = exchange.route.and_then(|id| exchange.snapshot.plan.route(id)?.shadow.as_ref());
    let rules = rules.filter(|rules| {
        shadow.is_some()
            && session.req_header().method == Method::GET
            && rand::random::<f64>() < rules.sample
            && !shared.pressure.refuses_shadow(exchange.snapshot.plan.config.proxy.operations.shed)
    });
    let capture = rules.map(|rules| shared.shadower.capture(Arc::clone(&planned.service), rules));
    exchange.side = to;
    exchange.shadow = capture;
}

fn of_subject(shared: &Shared, session: &Session, exchange: &Exchange) -> (Bucket, bool) {
    let subject = read_subject(session, exchange);
    let caught_up = exchange.planned().is_some_and(|planned| {
        planned.live.catch_up.is_caught_up(shared.subjects.key(&subject), planned.max_lag)
    });
    (Bucket::of(&subject), caught_up)
}

fn read_subject(session: &Session, exchange: &Exchange) -> Vec<u8> {
    let sources = &exchange.snapshot.plan.config.proxy.subject;
    let verified = exchange.applied.as_ref().and_then(Applied::subject);
    let claim = sources.iter().find_map(|source| match source {
        routes::SubjectSource::JwtClaim(claim) => verified?.text(claim),
        routes::SubjectSource::Cookie(_)
        | routes::SubjectSource::Header(_)
        | routes::SubjectSource::Ip => None,
    });
    claim.map_or_else(
        || subject::of(sources, &session.req_header().headers, exchange.client_ip()),
        |text| text.into_owned().into_bytes(),
    )
}

/// Completes when the downstream leaves.
async fn left(session: &mut Session) {
    let socket = session.digest().and_then(|digest| digest.socket_digest.clone());
    let closed = async {
        loop {
            sleep(LOOK_EVERY).await;
            if socket.as_deref().is_some_and(is_closed) {
                return;
            }
        }
    };
    match session.watch_h2_stream_close() {
        Some(reset) => tokio::select! {
            () = closed => {}
            _ = reset => {}
        },
        None => closed.await,
    }
}

fn has_left(session: &Session) -> bool {
    let socket = session.digest().and_then(|digest| digest.socket_digest.as_deref());
    socket.is_some_and(is_closed)
}

fn is_closed(socket: &pingora::protocols::SocketDigest) -> bool {
    socket.tcp_info().is_some_and(|info| info.tcpi_state != TCP_ESTABLISHED)
}
