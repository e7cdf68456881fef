//! The phases of a request as pingora calls them. Decisions are made elsewhere; here they are put into
//! effect, and nothing is ever sent twice: a write is retried only when it never left, or when the
//! service said that it did nothing.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cutover::Side;
use http::StatusCode;
use pingora::{
    Error, ErrorSource, ErrorType, Result,
    cache::{CacheKey, CacheMeta, RespCacheable, key::HashBinary},
    http::{RequestHeader, ResponseHeader},
    modules::http::HttpModules,
    proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session},
    upstreams::peer::HttpPeer,
};

use crate::{
    admission::{self, TurnedAway},
    answer::{self, Problem},
    answer_cache, calling, examination,
    exchange::Exchange,
    forward,
    front::BodyError,
    handling,
    metrics::FENCED,
    shared::Shared,
    trace_context::TraceContext,
};

/// What a service built on our kit says when it does not own the capability: nothing was done.
const FENCED_HEADER: &str = "ficus-fenced";

/// How often one write may be refused before the downstream is told.
const REFUSALS_MAX: u8 = 3;

/// How long the rest of a request that was answered early is read to keep the connection.
const DRAIN_MAX: std::time::Duration = std::time::Duration::from_secs(1);

/// The data plane.
#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    shared: Arc<Shared>,
}

impl Gateway {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = Exchange;

    fn new_ctx(&self) -> Exchange {
        let mut exchange = Exchange::new(self.shared.snapshot.load_full());
        exchange.under_way = Some(self.shared.pressure.enter());
        exchange
    }

    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn request_filter(&self, session: &mut Session, exchange: &mut Exchange) -> Result<bool> {
        session.as_downstream_mut().set_total_drain_timeout(Some(DRAIN_MAX));
        if self.shared.is_lame() || exchange.line.is_last() {
            session.set_keepalive(None);
        }
        match admission::admit(&self.shared, session, exchange).await {
            Ok(()) => Ok(false),
            Err(TurnedAway::Left) => Err(left()),
            Err(TurnedAway::Preflight(fields)) => {
                answer::send_preflight(session, &fields).await.map_err(Error::into_down)?;
                Ok(true)
            }
            Err(TurnedAway::Answer(problem)) => {
                problem.send(session).await.map_err(Error::into_down)?;
                Ok(true)
            }
        }
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
    ) -> Result<Box<HttpPeer>> {
        if exchange.is_write() && exchange.pass.is_none() {
            match admission::hold(session, exchange).await {
                Ok(()) => {}
                Err(TurnedAway::Left | TurnedAway::Preflight(_)) => return Err(left()),
                Err(TurnedAway::Answer(problem)) => {
                    exchange.problem = Some(problem);
                    return Err(Error::new_in(ErrorType::HTTPStatus(503)));
                }
            }
        }
        match calling::begin(session, exchange).await {
            Ok(peer) => Ok(peer),
            Err(TurnedAway::Left | TurnedAway::Preflight(_)) => Err(left()),
            Err(TurnedAway::Answer(problem)) => {
                exchange.problem = Some(problem);
                Err(Error::new_in(ErrorType::HTTPStatus(503)))
            }
        }
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        request: &mut RequestHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        let id = exchange.request_id.get_or_insert_with(|| forward::request_id(&request.headers));
        if let Some(caller) = &exchange.caller {
            forward::rebuild(request, caller, exchange.line.client(), id)?;
        }
        examination::restart(exchange);
        handling::change_request_head(request, exchange);
        if let Some(applied) = &exchange.applied {
            applied.on_request(request, &exchange.upstream().config.name)?;
        }
        exchange.line.want_body();
        exchange
            .trace
            .get_or_insert_with(|| TraceContext::of(&request.headers))
            .forward(request)?;
        if let Some(capture) = &mut exchange.shadow {
            capture.head(request);
        }
        exchange.sent = true;
        Ok(())
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        is_end: bool,
        exchange: &mut Exchange,
    ) -> Result<()> {
        let arrived = exchange.line.note_body(body.as_ref().map_or(0, Bytes::len), is_end);
        if arrived > exchange.body_max {
            exchange.problem = Some(admission::body_too_long(exchange.body_max));
            return Err(Error::new_down(ErrorType::HTTPStatus(413)));
        }
        examination::take_part(body, is_end, exchange).await?;
        handling::take_request_part(body, is_end, exchange)
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        if response.status.is_informational() && response.status != StatusCode::SWITCHING_PROTOCOLS
        {
            return Ok(());
        }
        if is_fenced(response, exchange) {
            let can_replay = !session.retry_buffer_truncated() && exchange.refusals < REFUSALS_MAX;
            if let (true, Some(pass)) = (can_replay, exchange.pass.take()) {
                exchange.refusals += 1;
                exchange.attempts.settle(false);
                exchange.refused_at = Some(pass.turn);
                exchange.sent = false;
                let mut error = Error::new_up(ErrorType::HTTPStatus(503));
                error.set_retry(true);
                return Err(error);
            }
        }
        exchange.answered = true;
        exchange.attempts.settle(matches!(response.status.as_u16(), 502..=504));
        if response.status == StatusCode::SWITCHING_PROTOCOLS {
            exchange.line.open_tunnel();
        }
        exchange.line.be_at_ease();
        // Before the answer is passed on: who reads it finds what it says.
        handling::note_change(&session.req_header().method, exchange);
        if exchange.is_write() {
            exchange.note_write();
        }
        Ok(())
    }

    fn request_cache_filter(&self, session: &mut Session, exchange: &mut Exchange) -> Result<()> {
        handling::enable_cache(&self.shared, session, exchange);
        Ok(())
    }

    fn cache_key_callback(&self, session: &Session, exchange: &mut Exchange) -> Result<CacheKey> {
        handling::cache_key(session, exchange)
    }

    fn response_cache_filter(
        &self,
        session: &Session,
        response: &ResponseHeader,
        exchange: &mut Exchange,
    ) -> Result<RespCacheable> {
        Ok(handling::judge(session, response, exchange))
    }

    fn cache_vary_filter(
        &self,
        meta: &CacheMeta,
        _exchange: &mut Exchange,
        request: &RequestHeader,
    ) -> Option<HashBinary> {
        answer_cache::variant(meta.headers(), request)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        if self.shared.is_lame() {
            session.set_keepalive(None);
        }
        if let Some(id) = &exchange.request_id {
            response.insert_header(forward::REQUEST_ID, id.clone())?;
        }
        if let Some(applied) = &exchange.applied {
            applied.on_response(response)?;
        }
        if let Some(capture) = &mut exchange.shadow {
            capture.answer_head(response.status.as_u16(), &response.headers);
        }
        handling::tell_versions(session, response, exchange)?;
        handling::tell_age(session, response)?;
        handling::begin_answer_body(session, response, exchange)
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        exchange: &mut Exchange,
    ) -> Result<Option<std::time::Duration>> {
        if let Some(capture) = &mut exchange.shadow {
            capture.answer_body(body.as_ref(), end_of_stream);
        }
        if !end_of_stream && exchange.attempts.is_overdue() {
            return Err(Error::new_up(ErrorType::ReadTimedout));
        }
        handling::take_answer_part(body, end_of_stream, exchange)?;
        Ok(None)
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        exchange: &mut Exchange,
        mut error: Box<Error>,
    ) -> Box<Error> {
        error.set_retry(calling::after_no_connection(exchange));
        error
    }

    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        exchange: &mut Exchange,
        client_reused: bool,
    ) -> Box<Error> {
        let mut error = error.more_context(format!("peer {peer}"));
        let is_refused_write = exchange.is_write() && exchange.pass.is_none();
        if is_refused_write {
            error.set_retry(true);
        } else {
            let again = calling::after_failure(session, exchange, &error, client_reused);
            error.set_retry(again);
        }
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        exchange: &mut Exchange,
    ) -> FailToProxy {
        let problem = exchange.problem.take().or_else(|| problem_of(error, exchange.line.fault()));
        let error_code = problem.as_ref().map_or(0, |problem| problem.status);
        session.set_keepalive(None);
        if let Some(problem) = problem
            && let Err(error) = problem.send(session).await
        {
            tracing::debug!(%error, "the downstream left before it could be told");
        }
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, exchange: &mut Exchange) {
        let blamed = error.filter(|error| *error.esource() == ErrorSource::Upstream);
        exchange.finish(session, blamed.is_some(), self.shared.access_log.get());
        if let Some(error) = blamed {
            let upstream = exchange.upstream().config.name.as_str();
            tracing::warn!(upstream, error = %error, "an upstream failed");
        }
        if let (Some(capture), None) = (exchange.shadow.take(), error) {
            self.shared.shadower.start(capture, &exchange.snapshot, exchange.route);
        }
    }

    fn suppress_error_log(&self, _session: &Session, _exchange: &Exchange, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _exchange: &Exchange,
        _error: &Error,
        _context: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}

fn is_fenced(response: &ResponseHeader, exchange: &Exchange) -> bool {
    let says_so = response.headers.get(FENCED_HEADER).is_some_and(|value| value == "true");
    let is_fenced = exchange.is_write()
        && exchange.side == Side::Target
        && response.status == StatusCode::SERVICE_UNAVAILABLE
        && says_so;
    if let (true, Some(planned)) = (is_fenced, exchange.planned()) {
        FENCED.with_label_values(&[planned.live.name.as_str()]).inc();
    }
    is_fenced
}

fn left() -> Box<Error> {
    Error::explain(ErrorType::ConnectionClosed, "the downstream left").into_down()
}

/// What the downstream is told, or nothing when it is gone.
fn problem_of(error: &Error, fault: Option<BodyError>) -> Option<Problem> {
    if let Some(fault) = fault {
        return Some(match fault {
            BodyError::Malformed(fault) => {
                Problem::new(400, "malformed-request", fault.to_string())
            }
            BodyError::Slow => Problem::new(408, "slow-request", fault.to_string()),
        });
    }

    let is_timeout = matches!(
        error.etype(),
        ErrorType::ConnectTimedout | ErrorType::ReadTimedout | ErrorType::WriteTimedout
    );
    match (error.esource(), error.etype()) {
        (_, ErrorType::HTTPStatus(503)) => {
            let detail = "the service does not own this capability at the moment; nothing was done";
            Some(Problem::new(503, "not-owner", detail).with_retry())
        }
        (ErrorSource::Upstream, _) if is_timeout => {
            Some(Problem::new(504, "upstream-timeout", "the upstream did not answer in time"))
        }
        (ErrorSource::Upstream, _) => {
            Some(Problem::new(502, "upstream-failed", "the upstream could not be asked"))
        }
        (ErrorSource::Downstream, ErrorType::ReadTimedout) => {
            Some(Problem::new(408, "slow-request", BodyError::Slow.to_string()))
        }
        (
            ErrorSource::Downstream,
            ErrorType::WriteError | ErrorType::ReadError | ErrorType::ConnectionClosed,
        ) => None,
        (ErrorSource::Downstream, _) => {
            Some(Problem::new(400, "malformed-request", "the request could not be read"))
        }
        (ErrorSource::Internal | ErrorSource::Unset, _) => {
            Some(Problem::new(500, "internal", "the proxy failed"))
        }
    }
}
