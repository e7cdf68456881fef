//! What policies do while a request is under way: bodies are changed, answers are kept and given again.
//! Called by the phases of the gateway.

use std::time::SystemTime;

use bytes::Bytes;
use http::{Method, header};
use pingora::{
    Error, ErrorType, Result,
    cache::{CacheKey, CachePhase, NoCacheReason, RespCacheable},
    http::{RequestHeader, ResponseHeader},
    proxy::Session,
};
use routes::Effect;

use crate::{
    answer_cache::{self, KeepRules, Writes},
    exchange::Exchange,
    metrics::policies::KEPT_ANSWERS,
    policy::{Applied, BodyError, ChangedBody, Handling, about_bytes, has_body},
    shared::Shared,
};

/// The bodies of one exchange that are changed.
#[derive(Debug, Default)]
pub(crate) struct Bodies {
    request: Option<ChangedBody>,
    answer: Option<ChangedBody>,
}

fn handling(exchange: &Exchange) -> Option<&Handling> {
    exchange.applied.as_ref().map(Applied::handling)
}

/// Begins to change the body of a request, where its policy says so.
///
/// # Errors
/// When its head says that this cannot be done.
pub(crate) fn begin_request_body(
    session: &mut Session,
    exchange: &mut Exchange,
) -> std::result::Result<(), BodyError> {
    let rule = handling(exchange).and_then(|handling| handling.request_body.clone());
    if let Some(rule) = rule
        && !session.is_body_empty()
    {
        exchange.bodies.request = Some(rule.begin(&session.req_header().headers)?);
    }
    Ok(())
}

/// Changes the head of a request whose body or answer will be changed.
pub(crate) fn change_request_head(request: &mut RequestHeader, exchange: &mut Exchange) {
    if let Some(body) = &mut exchange.bodies.request {
        body.restart();
        for name in about_bytes() {
            request.remove_header(name);
        }
    }
    if handling(exchange).is_some_and(|handling| handling.answer_body.is_some()) {
        // Parts and compressed answers cannot be changed.
        for name in [header::RANGE, header::IF_RANGE, header::ACCEPT_ENCODING] {
            request.remove_header(&name);
        }
    }
}

/// Takes a part of a request's body that is changed.
pub(crate) fn take_request_part(
    part: &mut Option<Bytes>,
    is_end: bool,
    exchange: &mut Exchange,
) -> Result<()> {
    let Some(body) = &mut exchange.bodies.request else { return Ok(()) };
    body.take(part, is_end).map_err(|error| {
        let problem = error.of_request();
        let status = problem.status;
        exchange.problem = Some(problem);
        Error::explain(ErrorType::HTTPStatus(status), error.to_string()).into_down()
    })?;
    if !is_end && part.is_none() {
        // To pingora no part at all is the end of the body, whatever `is_end` says.
        *part = Some(Bytes::new());
    }
    Ok(())
}

/// Changes the head of an answer whose body will be changed.
pub(crate) fn begin_answer_body(
    session: &Session,
    response: &mut ResponseHeader,
    exchange: &mut Exchange,
) -> Result<()> {
    exchange.bodies.answer = None;
    let rule = handling(exchange).and_then(|handling| handling.answer_body.clone());
    let Some(rule) = rule else { return Ok(()) };
    if !has_body(&session.req_header().method, response.status) {
        return Ok(());
    }
    match rule.begin(&response.headers) {
        Ok(body) => exchange.bodies.answer = Some(body),
        Err(BodyError::OtherType) => return Ok(()),
        Err(error) => {
            exchange.problem = Some(error.of_answer());
            return Err(Error::explain(ErrorType::HTTPStatus(502), error.to_string()).into_up());
        }
    }
    for name in about_bytes() {
        response.remove_header(name);
    }
    if session.req_header().version == http::Version::HTTP_11 {
        response.insert_header(header::TRANSFER_ENCODING, "chunked")?;
    }
    Ok(())
}

/// Takes a part of an answer's body that is changed. After an error the client is answered 502, or sees
/// a cut body when the head has left already.
pub(crate) fn take_answer_part(
    part: &mut Option<Bytes>,
    is_end: bool,
    exchange: &mut Exchange,
) -> Result<()> {
    let Some(body) = &mut exchange.bodies.answer else { return Ok(()) };
    body.take(part, is_end)
        .map_err(|error| Error::explain(ErrorType::InternalError, error.to_string()).into_up())
}

/// Lets a request be answered from what is kept, where its policy wants that and nothing forbids it.
pub(crate) fn enable_cache(shared: &Shared, session: &mut Session, exchange: &Exchange) {
    let keep = handling(exchange).and_then(|handling| handling.keep);
    if let Some(rules) = keep
        && !exchange.is_write()
        && exchange.shadow.is_none()
        && is_settled(exchange)
    {
        shared.answers.enable(session, rules);
    }
}

/// Whether the capability's data stays where it is.
fn is_settled(exchange: &Exchange) -> bool {
    let is_owned = exchange.standing().is_none_or(|at| at.owner == at.phase.owner());
    is_owned && exchange.planned().is_none_or(|planned| !planned.live.gate.traffic().holding)
}

/// The name the answer of an exchange is kept under.
pub(crate) fn cache_key(session: &Session, exchange: &Exchange) -> Result<CacheKey> {
    let (Some(applied), Some(writes)) = (&exchange.applied, writes(exchange)) else {
        return Error::e_explain(ErrorType::InternalError, "an exchange without a policy");
    };
    let request = session.req_header();
    let capability = exchange.planned().map_or("", |planned| planned.live.name.as_str());
    // What upstreams are told about the client's side of the request, they may answer by.
    let proto = exchange.caller.as_ref().map_or("", |caller| caller.proto);
    let side = exchange.side.as_str();
    let route = exchange.route.and_then(|id| exchange.snapshot.plan.route(id));
    let version = route.and_then(|route| route.version.as_deref()).unwrap_or_default();
    let owner = format!("{}/{capability}/{side}/{proto}/{version}", applied.policy_name());
    let authority = || request.uri.authority().map(|authority| authority.as_str().as_bytes());
    let told = exchange.caller.as_ref().and_then(|caller| caller.host.as_ref());
    let host = told.or_else(|| request.headers.get(header::HOST)).map(http::HeaderValue::as_bytes);
    let target = request.uri.path_and_query().map_or("/", |target| target.as_str());
    let host = host.or_else(authority).unwrap_or_default();
    Ok(answer_cache::key(&owner, writes, host, target.as_bytes()))
}

/// Says by which fields of the request its route was chosen, for those who keep the answer.
pub(crate) fn tell_versions(
    session: &Session,
    response: &mut ResponseHeader,
    exchange: &Exchange,
) -> Result<()> {
    let request = session.req_header();
    if request.method.is_safe() {
        let plan = &exchange.snapshot.plan;
        for name in plan.varying(request.method.as_str(), request.uri.path()) {
            response.append_header(header::VARY, name)?;
        }
    }
    Ok(())
}

/// Whether an answer is kept for others.
pub(crate) fn judge(
    session: &Session,
    response: &ResponseHeader,
    exchange: &Exchange,
) -> RespCacheable {
    let Some(rules) = handling(exchange).and_then(|handling| handling.keep) else {
        return RespCacheable::Uncacheable(NoCacheReason::NeverEnabled);
    };
    let is_known = exchange.applied.as_ref().is_some_and(|applied| applied.subject().is_some());
    answer_cache::judge(session.req_header(), response, is_known, rules, now())
}

/// Says how old an answer is that is given again.
pub(crate) fn tell_age(session: &Session, response: &mut ResponseHeader) -> Result<()> {
    let is_kept = matches!(
        session.cache.phase(),
        CachePhase::Hit | CachePhase::Stale | CachePhase::StaleUpdating
    );
    if !is_kept {
        return Ok(());
    }
    let age = answer_cache::age(session.cache.cache_meta(), now());
    response.insert_header(header::AGE, age)
}

/// After a write, nothing kept before it is given again.
pub(crate) fn note_change(method: &Method, exchange: &Exchange) {
    let changes = match exchange.planned() {
        Some(_) => exchange.effect == Effect::Write,
        None => !method.is_safe(),
    };
    if let (true, Some(writes)) = (changes, writes(exchange)) {
        writes.note();
    }
}

/// Counts how a request met what is kept.
pub(crate) fn count_cache(session: &Session, exchange: &Exchange) {
    let keeps: Option<KeepRules> = handling(exchange).and_then(|handling| handling.keep);
    if let (Some(_), Some(applied)) = (keeps, &exchange.applied) {
        let labels = [applied.policy_name(), session.cache.phase().as_str()];
        KEPT_ANSWERS.with_label_values(&labels).inc();
    }
}

fn writes(exchange: &Exchange) -> Option<&Writes> {
    match exchange.planned() {
        Some(planned) => Some(&planned.writes),
        None => handling(exchange).map(|handling| &handling.writes),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "pingora's cache compares with the wall clock itself"
)]
fn now() -> SystemTime {
    SystemTime::now()
}
