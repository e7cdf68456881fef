//! Reads the sections of the file into the types of [`crate::config`]. What has a problem is left
//! out of the draft; the rest is still checked.

mod answers;
mod attack_rules;
mod edge;
mod operations;
pub(crate) mod policies;
mod resilience;
mod upstream_tls;
mod versions;

use std::{collections::BTreeMap, net::SocketAddr};

use crate::{
    Abort, Capability, CdcConfig, Config, ControlConfig, Effect, Fence, Health, ProxyConfig,
    Reverse, Route, RouteId, Shadow, Shift, Timeouts, TlsListen, Upstream,
    field::Field,
    mapping,
    matcher::PathShape,
    reader::{At, Located, Section},
    scalar,
};
use policies::GatewayDraft;

/// Two segments of the log: below that a slot is exhausted as soon as it exists.
const WAL_BUDGET_MIN: usize = 32 << 20;

/// Everything that could be read.
pub(crate) struct Draft {
    pub(crate) proxy: Option<ProxyConfig>,
    pub(crate) control: Option<Option<ControlConfig>>,
    pub(crate) cdc: Option<CdcConfig>,
    pub(crate) upstreams: BTreeMap<String, UpstreamDraft>,
    pub(crate) capabilities: BTreeMap<String, CapabilityDraft>,
    pub(crate) gateway: GatewayDraft,
}

/// An upstream that was named, complete or not.
pub(crate) struct UpstreamDraft {
    pub(crate) upstream: Option<Upstream>,
    pub(crate) has_database: bool,
}

/// A capability and what is checked across capabilities.
pub(crate) struct CapabilityDraft {
    pub(crate) at: At,
    pub(crate) upstream: Option<Located<String>>,
    pub(crate) routes: Vec<Located<RouteDraft>>,
    pub(crate) tables: Vec<mapping::Draft>,
    pub(crate) references: Vec<mapping::Draft>,
    /// The file says something about its routes, readable or not.
    pub(crate) names_routes: bool,
    /// The file says something about its tables, readable or not.
    pub(crate) names_tables: bool,
    rest: Option<(Shift, Abort, Fence, Reverse)>,
}

/// A route before it has its id.
pub(crate) struct RouteDraft {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) effect: Effect,
    pub(crate) line: usize,
    shadow: Option<Shadow>,
    max_body: Option<usize>,
    policy: Option<String>,
    version: Option<String>,
}

impl RouteDraft {
    fn into_route(self, id: RouteId) -> Route {
        let Self { method, path, effect, line, shadow, max_body, policy, version } = self;
        Route { id, method, path, version, effect, shadow, max_body, policy, line }
    }

    /// What two routes that tie have in common.
    pub(crate) fn claim(&self) -> (&str, PathShape, Option<&str>) {
        (&self.method, PathShape::of(&self.path), self.version.as_deref())
    }
}

impl Draft {
    /// The configuration; `None` when a part is missing.
    pub(crate) fn into_config(self, digest: String) -> Option<Config> {
        let mut upstreams = BTreeMap::new();
        for (name, draft) in self.upstreams {
            upstreams.insert(name, draft.upstream?);
        }
        let mut capabilities = BTreeMap::new();
        let mut ids = (0..).map(RouteId);
        for (name, draft) in self.capabilities {
            capabilities.insert(name.clone(), draft.into_capability(name, &mut ids)?);
        }
        let (mut gateway, routes) = self.gateway.into_config()?;
        gateway.routes =
            routes.into_iter().zip(ids).map(|(draft, id)| draft.into_route(id)).collect();
        Some(Config {
            proxy: self.proxy?,
            control: self.control?,
            cdc: self.cdc?,
            upstreams,
            capabilities,
            gateway,
            digest,
        })
    }
}

impl CapabilityDraft {
    fn into_capability(
        self,
        name: String,
        ids: &mut impl Iterator<Item = RouteId>,
    ) -> Option<Capability> {
        let (shift, abort, fence, reverse) = self.rest?;
        let routes = self.routes.into_iter().zip(ids).map(|(draft, id)| draft.value.into_route(id));
        let complete = |drafts: Vec<mapping::Draft>| {
            drafts.into_iter().map(|draft| draft.mapping).collect::<Option<Vec<_>>>()
        };
        Some(Capability {
            name,
            upstream: self.upstream?.value,
            shift,
            abort,
            fence,
            reverse,
            routes: routes.collect(),
            tables: complete(self.tables)?,
            references: complete(self.references)?,
        })
    }
}

pub(crate) fn file(file: &Section<'_>) -> Draft {
    file.read("version", Field::count);
    let control = match file.optional_table("control") {
        None => None,
        Some(None) => Some(None),
        Some(Some(section)) => self::control(&section).map(Some),
    };
    let mut gateway = policies::file(file);
    Draft {
        proxy: file.table("proxy").and_then(|section| proxy(&section)),
        control,
        cdc: file.table("cdc").and_then(|section| cdc(&section)),
        upstreams: file
            .named("upstreams")
            .into_iter()
            .map(|(name, section)| (name.clone(), upstream(name, &section)))
            .collect(),
        capabilities: file
            .named("capabilities")
            .into_iter()
            .map(|(name, section)| (name, capability(&section, &mut gateway)))
            .collect(),
        gateway,
    }
}

fn address(field: &Field<'_>) -> Option<SocketAddr> {
    field.parsed(|text| text.parse().ok())
}

fn proxy(section: &Section<'_>) -> Option<ProxyConfig> {
    let listen = section.read("listen", |field| field.list(address));
    let admin = section.read("admin", address);
    let subject = section.read("subject", |field| field.list(|f| f.parsed(scalar::subject)));
    let state_file = section.read_optional("state_file", Field::text);
    let operations = operations::operations(section);
    let tls: Vec<_> = section.tables("tls").iter().map(edge::tls).collect();
    let trusted_proxies =
        section.read("trusted_proxies", |field| field.list(|f| f.parsed(scalar::network)));
    let limits = section.table("limits").and_then(|limits| edge::limits(&limits));
    let listen = values(listen?);
    refuse_shared_address(section, "admin", admin?, &listen);
    let tls: Vec<TlsListen> = tls.into_iter().collect::<Option<_>>()?;
    for (before, listener) in tls.iter().enumerate() {
        let others = tls.iter().take(before).map(|other| other.listen);
        let others: Vec<_> = others.chain(listen.iter().copied()).chain(admin).collect();
        refuse_shared_address(section, "tls", listener.listen, &others);
    }
    Some(ProxyConfig {
        listen,
        admin: admin?,
        subject: values(subject?),
        state_file: state_file?.map(Into::into),
        tls,
        trusted_proxies: values(trusted_proxies?),
        limits: limits?,
        operations: operations?,
    })
}

fn control(section: &Section<'_>) -> Option<ControlConfig> {
    let database = section.read("database", Field::secret);
    let listen = section.read("listen", address);
    let grpc = section.read("grpc", address);
    let database = database?;
    if database.expose().is_empty() {
        let remedy = "set the variable it names to the address of a PostgreSQL database";
        section.reader.report(&section.at("database"), "is empty", remedy);
    }
    refuse_shared_address(section, "grpc", grpc?, &[listen?]);
    Some(ControlConfig { database, listen: listen?, grpc: grpc? })
}

fn cdc(section: &Section<'_>) -> Option<CdcConfig> {
    let grpc = section.read("grpc", address);
    let admin = section.read("admin", address);
    let copy_workers = section.read("copy_workers", Field::count);
    let wal_budget = section.read("wal_budget", |field| {
        field.parsed_or(|text| match scalar::size(text) {
            None => Err("is not a size".to_owned()),
            Some(bytes) if bytes < WAL_BUDGET_MIN => {
                Err("is less than two segments of the log (32MiB)".to_owned())
            }
            Some(bytes) => Ok(bytes),
        })
    });
    let wal_last_resort =
        section.read("wal_last_resort", |field| field.parsed(scalar::last_resort));
    let failover_slots = section.read("failover_slots", Field::switch);
    let copy = section.read("copy", |field| field.parsed(scalar::copy_mode));
    let chunk_rows = section.read("chunk_rows", Field::count);
    let parked_max = section.read("parked_max", |field| field.parsed(scalar::size));
    refuse_shared_address(section, "admin", admin?, &[grpc?]);
    let verify_every = section.read("verify_every", Field::duration);
    let verify_rate = section.read("verify_rate", Field::count);
    Some(CdcConfig {
        grpc: grpc?,
        admin: admin?,
        copy_workers: u16::try_from(copy_workers?).ok()?,
        wal_budget: u64::try_from(wal_budget?).ok()?,
        wal_last_resort: wal_last_resort?,
        failover_slots: failover_slots?,
        verify_every: verify_every?,
        verify_rate: verify_rate?,
        copy: copy?,
        chunk_rows: chunk_rows?,
        parked_max: u64::try_from(parked_max?).ok()?,
    })
}

/// Port 0 stands for any free port and may be written twice.
fn refuse_shared_address(
    section: &Section<'_>,
    name: &'static str,
    address: SocketAddr,
    others: &[SocketAddr],
) {
    if address.port() != 0 && others.contains(&address) {
        let message = format!("{address} is used by another key of this table");
        section.reader.report(&section.at(name), message, "give each its own port");
    }
}

fn upstream(name: String, section: &Section<'_>) -> UpstreamDraft {
    let peers = section.read("peers", |field| field.list(address));
    let database = section.read_optional("database", Field::secret);
    let owner_database = section.read_optional("owner_database", Field::secret);
    let timeouts = section.table("timeouts").and_then(|section| timeouts(&section));
    let health = match section.optional_table("health") {
        None => None,
        Some(None) => Some(None),
        Some(Some(section)) => health(&section).map(Some),
    };
    let resilience = resilience::resilience(section);
    let tls = upstream_tls::tls(section);
    let protocol = upstream_tls::protocol(section, !matches!(tls, Some(None)));
    // What an operator leaves empty is not given: `${OWNER_DATABASE_URL:-}`.
    let given = |secret: Option<crate::Secret>| secret.filter(|s| !s.expose().is_empty());
    let has_database = database.as_ref().is_none_or(|secret| given(secret.clone()).is_some());
    let complete = || {
        Some(Upstream {
            name,
            peers: values(peers?),
            database: given(database?),
            owner_database: given(owner_database?),
            timeouts: timeouts?,
            health: health?,
            tls: tls?,
            protocol: protocol?,
            resilience: resilience?,
        })
    };
    UpstreamDraft { upstream: complete(), has_database }
}

fn timeouts(section: &Section<'_>) -> Option<Timeouts> {
    let connect = duration(section, "connect");
    let tls = duration(section, "tls");
    let send = duration(section, "send");
    let read = duration(section, "read");
    let total = duration(section, "total");
    let idle = duration(section, "idle");
    Some(Timeouts {
        connect: connect?,
        tls: tls?,
        send: send?,
        read: read?,
        total: total?,
        idle: idle?,
    })
}

fn health(section: &Section<'_>) -> Option<Health> {
    let path = section.read("path", |f| f.parsed(|t| scalar::is_url_path(t).then(|| t.to_owned())));
    let every = duration(section, "every");
    let fall = section.read("fall", Field::count);
    let rise = section.read("rise", Field::count);
    Some(Health { path: path?, every: every?, fall: fall?, rise: rise? })
}

fn capability(section: &Section<'_>, gateway: &mut GatewayDraft) -> CapabilityDraft {
    let upstream = section.read("upstream", |field| field.parsed(|text| Some(text.to_owned())));
    let shift = section.table("shift").and_then(|section| shift(&section));
    let abort = section.table("abort").and_then(|section| abort(&section));
    let fence = section.table("fence").and_then(|section| fence(&section));
    let reverse = section
        .table("reverse")
        .and_then(|section| Some(Reverse { soak: duration(&section, "soak")? }));
    let routes = section.tables("routes");
    let routes = routes.iter().filter_map(|section| route(section, gateway)).collect();
    let tables = section.tables("tables").iter().map(mapping::table).collect();
    let references = section.tables("references").iter().map(mapping::reference).collect();
    let rest = || Some((shift?, abort?, fence?, reverse?));
    CapabilityDraft {
        at: section.at.clone(),
        upstream: upstream.map(|value| Located { value, at: section.at("upstream") }),
        routes,
        tables,
        references,
        names_routes: section.is_written("routes"),
        names_tables: section.is_written("tables"),
        rest: rest(),
    }
}

fn shift(section: &Section<'_>) -> Option<Shift> {
    let steps = section.read("steps", |field| field.list(Field::count));
    let every = duration(section, "every");
    let cool_down = duration(section, "cool_down");
    let retries = section.read("retries", Field::count);
    let steps = values(steps?);
    let grows = steps.windows(2).all(|pair| pair.first() < pair.last());
    if !grows || steps.last() != Some(&100) {
        let message = "the steps do not grow up to 100";
        section.reader.report(&section.at("steps"), message, "write for example [1, 10, 50, 100]");
    }
    let steps = steps.into_iter().map(u8::try_from).collect::<Result<_, _>>().ok()?;
    Some(Shift { steps, every: every?, cool_down: cool_down?, retries: retries? })
}

fn abort(section: &Section<'_>) -> Option<Abort> {
    let error_delta = section.read("error_delta", |field| field.parsed(scalar::percent));
    let p99_ratio = section.read("p99_ratio", |field| field.number(1.0, 1000.0));
    let mismatch = section.read("mismatch", |field| field.parsed(scalar::percent));
    let coverage = section.read("coverage", |field| field.parsed(scalar::percent));
    let max_lag = duration(section, "max_lag");
    Some(Abort {
        error_delta: error_delta?,
        p99_ratio: p99_ratio?,
        mismatch: mismatch?,
        coverage: coverage?,
        max_lag: max_lag?,
    })
}

fn fence(section: &Section<'_>) -> Option<Fence> {
    let hold = duration(section, "hold");
    let max_held = section.read("max_held", Field::count);
    let lock_timeout = duration(section, "lock_timeout");
    let (hold, lock_timeout) = (hold?, lock_timeout?);
    if lock_timeout >= hold {
        let message = "the fence could not take its locks before its own deadline, hold";
        section.reader.report(&section.at("lock_timeout"), message, "write less than hold");
    }
    Some(Fence { hold, max_held: usize::try_from(max_held?).ok()?, lock_timeout })
}

fn duration(section: &Section<'_>, name: &'static str) -> Option<std::time::Duration> {
    section.read(name, Field::duration)
}

fn route(section: &Section<'_>, gateway: &mut GatewayDraft) -> Option<Located<RouteDraft>> {
    let matched = section.read("match", |field| {
        field.parsed_or(|text| scalar::route_match(text).map_err(str::to_owned))
    });
    let effect = section.read_optional("effect", |field| field.parsed(scalar::effect));
    let shadow = match section.optional_table("shadow") {
        None => None,
        Some(None) => Some(None),
        Some(Some(section)) => shadow(&section).map(Some),
    };
    let policy = policies::policy_name(section, gateway);
    let version = versions::of_route(section, gateway);
    let (method, path) = matched?;
    let is_safe = matches!(method.as_str(), "GET" | "HEAD" | "OPTIONS");
    let effect = effect?.unwrap_or(if is_safe { Effect::Read } else { Effect::Write });
    let max_body = section.read_optional("max_body", edge::size)?;
    let shadow = shadow?;
    if shadow.is_some() && !(is_safe && effect == Effect::Read) {
        let message = "only reads by GET, HEAD or OPTIONS may be sent twice, this route is not one";
        section.reader.report(&section.at("shadow"), message, "remove shadow");
    }
    let at = section.at("match");
    let line = section.reader.line(at.offset);
    let (policy, version) = (policy?, version?);
    let value = RouteDraft { method, path, effect, line, shadow, max_body, policy, version };
    Some(Located { value, at })
}

fn shadow(section: &Section<'_>) -> Option<Shadow> {
    let pointer = |f: &Field<'_>| f.parsed(|t| scalar::is_pointer(t).then(|| t.to_owned()));
    let sample = section.read("sample", |field| field.number(0.0, 1.0));
    let noise = section.read("noise", |field| field.number(0.0, 1.0));
    let ignore = section.read("ignore", |field| field.list(pointer));
    let unordered = section.read("unordered", |field| field.list(|f| f.parsed(scalar::unordered)));
    let max_body = section.read("max_body", |field| field.parsed(scalar::size));
    Some(Shadow {
        sample: sample?,
        noise: noise?,
        ignore: values(ignore?),
        unordered: values(unordered?),
        max_body: max_body?,
    })
}

fn values<T>(located: Vec<Located<T>>) -> Vec<T> {
    located.into_iter().map(|located| located.value).collect()
}
