//! A compiled configuration, and what one request sees: the plan and where every capability stands.
//! Both are immutable; a new generation or a reload replaces them as a whole.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cutover::{Phase, Side};
use http::{HeaderMap, HeaderValue, header};
use routes::{Config, Effect, RouteId, RouteTable, UnclearVersion};

use crate::{
    answer_cache::Writes,
    live::Live,
    metrics::RouteMeters,
    ownership::Sight,
    policy::{Policies, Policy, PolicyError},
    shadow,
    upstream::{Upstream, credentials::CredentialsByUpstream},
};

/// A compiled configuration.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) config: Config,
    pub(crate) monolith: Arc<Upstream>,
    pub(crate) capabilities: Box<[Planned]>,
    pub(crate) upstreams: BTreeMap<String, Arc<Upstream>>,
    pub(crate) policies: Policies,
    table: RouteTable,
    routes: Box<[Option<PlannedRoute>]>,
    unclaimed: RouteMeters,
}

/// A configuration that cannot be put into force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlanError {
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error("the configuration names an upstream it does not have")]
    Upstream,
}

/// A capability of a plan.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) live: Arc<Live>,
    pub(crate) service: Arc<Upstream>,
    pub(crate) fence: routes::Fence,
    pub(crate) max_lag: Duration,
    /// Writes after which kept answers are not given again.
    pub(crate) writes: Writes,
}

/// A route of a plan.
#[derive(Debug)]
pub(crate) struct PlannedRoute {
    /// Index into the plan's capabilities; `None` for what stays with the monolith.
    pub(crate) capability: Option<usize>,
    pub(crate) effect: Effect,
    pub(crate) meters: RouteMeters,
    pub(crate) shadow: Option<shadow::Rules>,
    /// Longest body, in bytes, when the route has a limit of its own.
    pub(crate) body_max: Option<u64>,
    pub(crate) policy: Arc<Policy>,
    /// The only version of the API it is for.
    pub(crate) version: Option<String>,
}

/// Where a capability stands in one generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) phase: Phase,
    /// Owner of the writes, or the last one while they are held.
    pub(crate) owner: Side,
    pub(crate) sight: Sight,
}

/// What one request sees from its beginning to its end.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) generation: u64,
    pub(crate) plan: Arc<Plan>,
    /// By index of the plan's capabilities.
    pub(crate) standings: Box<[Standing]>,
}

impl Plan {
    /// Compiles a configuration; `live` gives the lasting part of a capability, `before` is the plan that
    /// this one replaces.
    ///
    /// # Errors
    /// When a policy cannot be used, or an upstream is not there, which [`Config::parse`] refuses.
    pub(crate) fn compile(
        config: Config,
        before: Option<&Self>,
        mut live: impl FnMut(&str) -> Arc<Live>,
    ) -> Result<Self, PlanError> {
        let policies = Policies::compile(&config, before.map(|before| &before.policies))?;
        let missing = PlanError::Upstream;
        let table = RouteTable::compile(&config);
        let upstreams: BTreeMap<String, Arc<Upstream>> = config
            .upstreams
            .iter()
            .map(|(name, upstream)| {
                let before = before.and_then(|plan| plan.upstreams.get(name));
                let upstream = Upstream::new(upstream.clone(), before.map(AsRef::as_ref));
                (name.clone(), Arc::new(upstream))
            })
            .collect();
        let monolith = Arc::clone(upstreams.get(routes::MONOLITH).ok_or_else(|| missing.clone())?);
        let (mut capabilities, mut planned) = (Vec::new(), BTreeMap::new());
        for (index, capability) in table.capabilities().enumerate() {
            for route in &capability.routes {
                planned.insert(route.id, PlannedRoute::new(index, capability, route, &policies));
            }
            capabilities.push(Planned {
                live: live(&capability.name),
                service: Arc::clone(
                    upstreams.get(&capability.upstream).ok_or_else(|| missing.clone())?,
                ),
                fence: capability.fence,
                max_lag: capability.abort.max_lag,
                writes: Writes::default(),
            });
        }
        for route in table.unclaimed() {
            planned.insert(route.id, PlannedRoute::unclaimed(route, &policies));
        }
        let last = planned.last_key_value().map_or(0, |(RouteId(id), _)| id + 1);
        let routes = (0..last).map(|id| planned.remove(&RouteId(id))).collect();
        let unclaimed = RouteMeters::new("unclaimed", "none", "none");
        let capabilities = capabilities.into();
        Ok(Self { config, monolith, capabilities, upstreams, policies, table, routes, unclaimed })
    }

    /// Gives every upstream with TLS its certificates. `true` when one had others before.
    pub(crate) fn set_credentials(&self, credentials: &CredentialsByUpstream) -> bool {
        let mut has_changed = false;
        for (name, credentials) in credentials {
            let upstream = self.upstreams.get(name);
            has_changed |= upstream.is_some_and(|upstream| upstream.set_credentials(credentials));
        }
        has_changed
    }

    /// The version of the API a request asks for, if the file says how requests do.
    ///
    /// # Errors
    /// When it asks for two, or for a text that is none.
    pub(crate) fn version<'h>(
        &'h self,
        headers: &'h HeaderMap,
    ) -> Result<Option<&'h str>, UnclearVersion> {
        let Some(versions) = &self.config.gateway.api_versions else { return Ok(None) };
        let field = versions.header.iter().flat_map(|name| headers.get_all(name.as_str()));
        let accept = headers.get_all(header::ACCEPT).iter();
        versions.asked(field.map(HeaderValue::as_bytes), accept.map(HeaderValue::as_bytes))
    }

    /// The fields by which the answer to such a request may differ, because its route does.
    pub(crate) fn varying(&self, method: &str, path: &str) -> impl Iterator<Item = &str> {
        let versions = self.config.gateway.api_versions.as_ref();
        let versions = versions.filter(|_| self.table.depends_on_version(method, path));
        let accept = versions.and_then(|versions| versions.media_type.as_ref()).map(|_| "accept");
        versions.and_then(|versions| versions.header.as_deref()).into_iter().chain(accept)
    }

    /// The route a request takes that asks for this version, of a capability or of the gateway alone.
    pub(crate) fn find(&self, version: Option<&str>, method: &str, path: &str) -> Option<RouteId> {
        self.table.find_version(version, method, path).map(|found| found.route.id)
    }

    /// The policy of a route found before, or of requests that no route claims.
    pub(crate) fn policy(&self, id: Option<RouteId>) -> &Arc<Policy> {
        let route = id.and_then(|id| self.route(id));
        route.map_or_else(|| self.policies.get(None), |route| &route.policy)
    }

    /// Longest body of requests whose route has no limit of its own, in bytes.
    pub(crate) fn body_max(&self) -> u64 {
        u64::try_from(self.config.proxy.limits.max_body).unwrap_or(u64::MAX)
    }

    /// A route found before.
    pub(crate) fn route(&self, id: RouteId) -> Option<&PlannedRoute> {
        self.routes.get(id.0)?.as_ref()
    }

    /// The capability of a route found before.
    pub(crate) fn capability_of(&self, id: RouteId) -> Option<&Planned> {
        self.capabilities.get(self.route(id)?.capability?)
    }

    /// The series a request is counted in.
    pub(crate) fn meters(&self, id: Option<RouteId>) -> &RouteMeters {
        id.and_then(|id| self.route(id)).map_or(&self.unclaimed, |route| &route.meters)
    }
}

impl PlannedRoute {
    fn new(
        index: usize,
        capability: &routes::Capability,
        route: &routes::Route,
        policies: &Policies,
    ) -> Self {
        let name = route.name();
        Self {
            version: route.version.clone(),
            capability: Some(index),
            effect: route.effect,
            meters: RouteMeters::new(&name, &capability.name, &capability.upstream),
            shadow: route.shadow.as_ref().and_then(shadow::Rules::new),
            body_max: route.max_body.and_then(|max| u64::try_from(max).ok()),
            policy: Arc::clone(policies.get(route.policy.as_deref())),
        }
    }

    fn unclaimed(route: &routes::Route, policies: &Policies) -> Self {
        let name = route.name();
        Self {
            version: route.version.clone(),
            capability: None,
            effect: Effect::Read,
            meters: RouteMeters::new(&name, "none", "none"),
            shadow: None,
            policy: Arc::clone(policies.get(route.policy.as_deref())),
            body_max: None,
        }
    }
}

impl Snapshot {
    /// Where the capability of a route stands.
    pub(crate) fn standing(&self, id: RouteId) -> Option<Standing> {
        self.standings.get(self.plan.route(id)?.capability?).copied()
    }
}
