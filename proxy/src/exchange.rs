//! One request from its first byte to its log line: what was decided, and what became of it.

use std::{net::IpAddr, sync::Arc, time::Duration};

use cutover::{Phase, Side};
use http::HeaderValue;
use pingora::proxy::Session;
use routes::{Effect, RouteId};
use tokio::time::Instant;

use crate::{
    access_log::{self, LogFile},
    answer::Problem,
    calling::Attempts,
    causal::SubjectKey,
    examination::Examination,
    forward::Caller,
    front::Line,
    gate::Pass,
    handling::{self, Bodies},
    metrics::{Origin, RouteMeters, UNKNOWN_WRITES},
    plan::{Planned, Snapshot, Standing},
    policy::Applied,
    pressure::UnderWay,
    shadow::Capture,
    trace_context::TraceContext,
    upstream::Upstream,
};

/// State of one request; pingora calls it the context.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// Loaded once: the request sees one generation.
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) started: Instant,
    pub(crate) request_id: Option<HeaderValue>,
    pub(crate) trace: Option<TraceContext>,
    /// Counts as work of the process.
    pub(crate) under_way: Option<UnderWay>,
    /// To the connection it came on.
    pub(crate) line: Arc<Line>,
    /// Who asks, through which hops; known once it was admitted.
    pub(crate) caller: Option<Caller>,
    /// Longest body, in bytes.
    pub(crate) body_max: u64,
    /// The capability route, if any claims the request.
    pub(crate) route: Option<RouteId>,
    pub(crate) effect: Effect,
    /// Who gets it.
    pub(crate) side: Side,
    /// A write's right to be sent; counts as in flight.
    pub(crate) pass: Option<Pass>,
    pub(crate) subject: Option<SubjectKey>,
    /// When a held write gives up.
    pub(crate) deadline: Option<Instant>,
    /// The turn of the gate at which the owner refused this write.
    pub(crate) refused_at: Option<u64>,
    pub(crate) refusals: u8,
    pub(crate) attempts: Attempts,
    /// The request may have reached an upstream.
    pub(crate) sent: bool,
    /// The upstream's final answer began.
    pub(crate) answered: bool,
    /// What the proxy answers when it cannot proxy.
    pub(crate) problem: Option<Problem>,
    pub(crate) shadow: Option<Capture>,
    /// What its policy came to.
    pub(crate) applied: Option<Applied>,
    /// Bodies its policy changes.
    pub(crate) bodies: Bodies,
    /// Rules its policy asks.
    pub(crate) examination: Option<Examination>,
    /// At the gate.
    pub(crate) waited: Duration,
}

impl Exchange {
    pub(crate) fn new(snapshot: Arc<Snapshot>) -> Self {
        Self {
            snapshot,
            started: Instant::now(),
            request_id: None,
            trace: None,
            under_way: None,
            line: Line::current(),
            caller: None,
            body_max: u64::MAX,
            route: None,
            effect: Effect::Read,
            side: Side::Source,
            pass: None,
            subject: None,
            deadline: None,
            refused_at: None,
            refusals: 0,
            attempts: Attempts::default(),
            sent: false,
            answered: false,
            problem: None,
            shadow: None,
            applied: None,
            bodies: Bodies::default(),
            examination: None,
            waited: Duration::ZERO,
        }
    }

    /// The capability the request belongs to.
    pub(crate) fn planned(&self) -> Option<&Planned> {
        self.snapshot.plan.capability_of(self.route?)
    }

    /// Where that capability stood when the request began.
    pub(crate) fn standing(&self) -> Option<Standing> {
        self.snapshot.standing(self.route?)
    }

    /// The client's address, as far as the hops before us are trusted.
    pub(crate) fn client_ip(&self) -> Option<IpAddr> {
        self.caller.as_ref().map(|caller| caller.origin.client)
    }

    /// Whether it is a write of a capability.
    pub(crate) fn is_write(&self) -> bool {
        self.effect == Effect::Write && self.planned().is_some()
    }

    /// The upstream of the chosen side.
    pub(crate) fn upstream(&self) -> &Arc<Upstream> {
        match (self.side, self.planned()) {
            (Side::Target, Some(planned)) => &planned.service,
            (Side::Source, _) | (Side::Target, None) => &self.snapshot.plan.monolith,
        }
    }

    /// The monolith executed this subject's write, or may have: its reads stay there for now.
    pub(crate) fn note_write(&self) {
        if let (Some(planned), Some(subject), Side::Source) =
            (self.planned(), self.subject, self.side)
        {
            planned.live.catch_up.note_write(subject);
        }
    }

    /// Ends the exchange: frees the gate, then counts and logs. `failed` says that the upstream is to
    /// blame for an error.
    pub(crate) fn finish(&mut self, session: &Session, failed: bool, file: Option<&LogFile>) {
        if self.is_write() && self.sent && !self.answered {
            self.note_write();
            if let Some(planned) = self.planned() {
                UNKNOWN_WRITES.with_label_values(&[planned.live.name.as_str()]).inc();
            }
        }
        if failed {
            self.attempts.settle(true);
        }
        self.attempts.call = None;
        if self.sent {
            handling::note_change(&session.req_header().method, self);
        }
        handling::count_cache(session, self);
        self.pass = None;
        let status = session.response_written().map_or(0, |response| response.status.as_u16());
        let took = self.started.elapsed();
        let origin = if self.sent { Origin::Upstream(self.side) } else { Origin::Proxy };
        if let (Some(planned), true) = (self.planned(), self.sent || failed) {
            // A tunnel's time says nothing about the side that opened it.
            let is_timed = self.effect == Effect::Read && status != 101;
            let read_took = is_timed.then_some(took);
            planned.live.cohort(self.side).record(failed || status >= 500, read_took);
        }
        let phase = self.standing().map_or(Phase::Monolith, |standing| standing.phase);
        let meters = self.snapshot.plan.meters(self.route);
        meters.record(origin, phase, status, took.as_secs_f64());
        let rules = &self.snapshot.plan.config.proxy.operations.access_log;
        if access_log::is_logged(rules, status, took, rand::random()) {
            self.log(session, meters, (origin, phase, status, took), file);
        }
    }

    fn log(
        &self,
        session: &Session,
        meters: &RouteMeters,
        (origin, phase, status, took): (Origin, Phase, u16, Duration),
        file: Option<&LogFile>,
    ) {
        if file.is_none() && !tracing::enabled!(target: "access", tracing::Level::INFO) {
            return;
        }
        let millis = |duration: Duration| duration.as_secs_f64() * 1_000.0;
        let trace_id = self.trace.map(|trace| trace.trace_id());
        let line = access_log::Line {
            time_ms: access_log::now_ms(),
            method: session.req_header().method.as_str(),
            route: meters.route(),
            capability: meters.capability(),
            upstream: meters.upstream_of(origin),
            phase: phase.as_str(),
            generation: self.snapshot.generation,
            status,
            ms: millis(took),
            held_ms: millis(self.waited),
            bytes: session.body_bytes_sent(),
            client: self.client_ip(),
            request_id: self.request_id.as_ref().and_then(|id| id.to_str().ok()),
            trace_id: trace_id.as_deref(),
        };
        match file {
            Some(file) => file.write(&line),
            None => line.trace(),
        }
    }
}

/// The downstream's address.
pub(crate) fn peer_ip(session: &Session) -> Option<IpAddr> {
    session.client_addr()?.as_inet().map(std::net::SocketAddr::ip)
}
