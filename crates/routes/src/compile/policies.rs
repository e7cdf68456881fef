//! Reads what the gateway asks of requests: issuers, policies and the routes that only have those.

use std::collections::BTreeMap;

use super::{RouteDraft, answers, attack_rules, values, versions};
use crate::{
    Cors, Effect, GatewayConfig, HeaderRules, Identity, Introspection, Issuer, Limit, PathRule,
    Policy, Secret, SessionCheck, TokenAlgorithm, TokenKeys, TokenRule,
    field::Field,
    reader::{At, Located, Section},
    scalar,
};

/// A secret that can be guessed is none (RFC 7518, 3.2).
const SECRET_BYTES_MIN: usize = 32;

/// What the proxy itself says in an identity; a token must not.
const IDENTITY_CLAIMS: [&str; 9] = ["iss", "aud", "iat", "exp", "nbf", "jti", "by", "sub", "scope"];

/// Longest time a limit can be for.
const PER_MAX: std::time::Duration = std::time::Duration::from_secs(86_400);

/// Everything about policies that could be read, and the names it uses.
#[derive(Default)]
pub(crate) struct GatewayDraft {
    /// `None` when a part has a problem.
    complete: Option<GatewayConfig>,
    pub(crate) routes: Vec<Located<RouteDraft>>,
    /// Requests can say which version of an API they ask for, as far as the file is readable.
    pub(super) has_versions: bool,
    /// Names that must be keys of a table: (table, name).
    pub(crate) uses: Vec<Located<(&'static str, String)>>,
    /// Keys that are there: (table, name).
    pub(crate) known: Vec<(&'static str, String)>,
}

impl GatewayDraft {
    /// The configuration, with the ids of its routes still to be given.
    pub(super) fn into_config(self) -> Option<(GatewayConfig, Vec<RouteDraft>)> {
        Some((self.complete?, values(self.routes)))
    }
}

/// Reads all sections.
pub(super) fn file(file: &Section<'_>) -> GatewayDraft {
    let api_versions = optional(file, "api_versions", versions::table);
    let mut draft =
        GatewayDraft { has_versions: api_versions != Some(None), ..GatewayDraft::default() };
    let issuers = named(file, "issuers", &mut draft, |_, section| issuer(section));
    let introspections =
        named(file, "introspections", &mut draft, |_, section| introspection(section));
    let sessions = named(file, "sessions", &mut draft, |_, section| session(section));
    let identity = match file.optional_table("identity") {
        None => None,
        Some(None) => Some(None),
        Some(Some(section)) => self::identity(&section).map(Some),
    };
    let has_identity = matches!(identity, Some(Some(_)) | None);
    let policies =
        named(file, "policies", &mut draft, |draft, section| policy(section, has_identity, draft));
    let shared_limits = optional(file, "shared_limits", answers::shared_limits);
    refuse_lonely_limits(file, policies.as_ref(), shared_limits.as_ref());
    let answer_cache = file
        .table("proxy")
        .and_then(|proxy| proxy.read("answer_cache", |field| field.parsed(scalar::size)));
    let default_policy = file.table("proxy").and_then(|proxy| policy_name(&proxy, &mut draft));
    let mut are_complete = true;
    for section in file.tables("routes") {
        match gateway_route(&section, &mut draft) {
            Some(route) => draft.routes.push(route),
            None => are_complete = false,
        }
    }
    draft.complete = (|| {
        Some(GatewayConfig {
            issuers: issuers?,
            introspections: introspections?,
            sessions: sessions?,
            identity: identity?,
            shared_limits: shared_limits?,
            answer_cache: answer_cache?,
            policies: policies?,
            api_versions: api_versions?,
            routes: are_complete.then(Vec::new)?,
            default_policy: default_policy?,
        })
    })();
    draft
}

/// The policy a table names. `None` after a problem.
pub(super) fn policy_name(
    section: &Section<'_>,
    draft: &mut GatewayDraft,
) -> Option<Option<String>> {
    let name = section.read_optional("policy", Field::text)?;
    if let Some(name) = &name {
        draft.uses.push(Located { value: ("policies", name.clone()), at: section.at("policy") });
    }
    Some(name)
}

fn named<T>(
    file: &Section<'_>,
    table: &'static str,
    draft: &mut GatewayDraft,
    read: impl Fn(&mut GatewayDraft, &Section<'_>) -> Option<T>,
) -> Option<BTreeMap<String, T>> {
    let mut complete = Some(BTreeMap::new());
    for (name, section) in file.named(table) {
        draft.known.push((table, name.clone()));
        match (read(draft, &section), &mut complete) {
            (Some(value), Some(values)) => {
                values.insert(name, value);
            }
            _ => complete = None,
        }
    }
    complete
}

/// A shared limit needs a place to share.
fn refuse_lonely_limits(
    file: &Section<'_>,
    policies: Option<&BTreeMap<String, Policy>>,
    shared: Option<&Option<crate::SharedLimits>>,
) {
    let is_shared = |policy: &Policy| policy.limit.as_ref().is_some_and(|limit| limit.shared);
    let found = policies.and_then(|all| all.iter().find(|(_, policy)| is_shared(policy)));
    if let (Some((name, _)), Some(None)) = (found, shared) {
        let message = format!("the limit of policy {name} is shared, and there is no place for it");
        let remedy = "write [shared_limits] with redis = \"${REDIS_URL}\"";
        file.reader.report(&file.at("policies"), message, remedy);
    }
}

fn gateway_route(section: &Section<'_>, draft: &mut GatewayDraft) -> Option<Located<RouteDraft>> {
    let matched = section.read("match", |field| {
        field.parsed_or(|text| scalar::route_match(text).map_err(str::to_owned))
    });
    let policy = policy_name(section, draft);
    let version = versions::of_route(section, draft);
    let (method, path) = matched?;
    let at = section.at("match");
    let line = section.reader.line(at.offset);
    let value = RouteDraft {
        method,
        path,
        effect: Effect::Read,
        line,
        shadow: None,
        max_body: None,
        policy: policy?,
        version: version?,
    };
    Some(Located { value, at })
}

fn issuer(section: &Section<'_>) -> Option<Issuer> {
    let issuer = section.read("issuer", Field::text);
    let audience = texts(section, "audience");
    let algorithms =
        section.read("algorithms", |f| f.list(|f| f.parsed(TokenAlgorithm::from_name)));
    let jwks = section.read_optional("jwks", url);
    let secret = section.read_optional("secret", Field::gateway_secret);
    let refresh = section.read("refresh", Field::duration);
    let stale = section.read("stale", Field::duration);
    let leeway = section.read("leeway", Field::duration);
    let token_max = section.read("token_max", |field| field.parsed(scalar::size));
    let algorithms = values(algorithms?);
    let keys = match (jwks?, secret?) {
        (Some(jwks), None) => TokenKeys::Jwks(jwks),
        (None, Some(secret)) => {
            refuse_short(section, &secret);
            TokenKeys::Secret(secret)
        }
        (Some(_), Some(_)) => {
            let remedy = "keep jwks for RS, PS, ES and EdDSA, or secret for HS";
            section.reader.report(&section.at("secret"), "stands beside jwks", remedy);
            return None;
        }
        (None, None) => {
            let remedy = "write jwks = \"https://…\", or secret = \"${NAME}\" for HS256";
            section.reader.report(&section.at, "has neither jwks nor secret", remedy);
            return None;
        }
    };
    let is_shared = matches!(keys, TokenKeys::Secret(_));
    if let Some(odd) = algorithms.iter().find(|algorithm| algorithm.is_symmetric() != is_shared) {
        let needs = if is_shared { "a secret verifies no" } else { "public keys verify no" };
        let message = format!("{needs} {}", odd.as_str());
        let remedy = "write an issuer of its own for each kind of key";
        section.reader.report(&section.at("algorithms"), message, remedy);
    }
    Some(Issuer {
        issuer: issuer?,
        audience: audience?,
        algorithms,
        keys,
        refresh: refresh?,
        stale: stale?,
        leeway: leeway?,
        token_max: token_max?,
    })
}

fn refuse_short(section: &Section<'_>, secret: &Secret) {
    if section.reader.outside.reads_gateway() && secret.expose().len() < SECRET_BYTES_MIN {
        let message = format!("is shorter than {SECRET_BYTES_MIN} bytes, which can be guessed");
        section.reader.report(&section.at("secret"), message, "give both sides a longer one");
    }
}

fn introspection(section: &Section<'_>) -> Option<Introspection> {
    let url = section.read("url", url);
    let client_id = section.read("client_id", Field::text);
    let client_secret = section.read("client_secret", Field::gateway_secret);
    let audience = texts(section, "audience");
    let cache = section.read("cache", Field::duration);
    let negative = section.read("negative", Field::duration);
    let timeout = section.read("timeout", Field::duration);
    Some(Introspection {
        url: url?,
        client_id: client_id?,
        client_secret: client_secret?,
        audience: audience?,
        cache: cache?,
        negative: negative?,
        timeout: timeout?,
    })
}

fn session(section: &Section<'_>) -> Option<SessionCheck> {
    let pointer = |f: &Field<'_>| f.parsed(|t| scalar::is_pointer(t).then(|| t.to_owned()));
    let url = section.read("url", url);
    let cookies = texts(section, "cookies");
    let subject = section.read("subject", pointer);
    let cache = section.read("cache", Field::duration);
    let negative = section.read("negative", Field::duration);
    let timeout = section.read("timeout", Field::duration);
    Some(SessionCheck {
        url: url?,
        cookies: cookies?,
        subject: subject?,
        cache: cache?,
        negative: negative?,
        timeout: timeout?,
    })
}

fn identity(section: &Section<'_>) -> Option<Identity> {
    let keys = section.read("keys", |field| field.list(Field::gateway_secret));
    let issuer = section.read("issuer", Field::text);
    let claims = section.read("claims", |field| {
        field.list(|field| {
            field.parsed_or(|text| match IDENTITY_CLAIMS.contains(&text) {
                true => Err("is a claim that every identity has of its own".to_owned()),
                false => Ok(text.to_owned()),
            })
        })
    });
    let ttl = section.read("ttl", Field::duration);
    let (keys, claims) = (values(keys?), values(claims?));
    Some(Identity { keys, issuer: issuer?, claims, ttl: ttl? })
}

fn policy(section: &Section<'_>, has_identity: bool, draft: &mut GatewayDraft) -> Option<Policy> {
    let network = |field: &Field<'_>| field.parsed(scalar::network);
    let allow = section.read("allow", |field| field.list(network));
    let deny = section.read("deny", |field| field.list(network));
    let token = optional(section, "token", |section| token(section, draft));
    let session = section.read_optional("session", Field::text);
    if let Some(Some(name)) = &session {
        draft.uses.push(Located { value: ("sessions", name.clone()), at: section.at("session") });
    }
    let identity = section.read("identity", Field::switch);
    if identity == Some(true) && !has_identity {
        let remedy = "write [identity] with keys = [\"file:PATH\"]";
        section.reader.report(&section.at("identity"), "there is no key to sign with", remedy);
    }
    let limit = optional(section, "limit", limit);
    let cors = optional(section, "cors", cors);
    let request = section.table("request").and_then(|section| headers(&section));
    let response = section.table("response").and_then(|section| headers(&section));
    let path = section.table("path").and_then(|section| path(&section));
    let cache = optional(section, "cache", answers::cache);
    let request_body = optional(section, "request_body", answers::json);
    let response_body = optional(section, "response_body", answers::json);
    let attack_rules = optional(section, "attack_rules", attack_rules::table);
    let hygiene = section.read("hygiene", |field| field.parsed(scalar::hygiene));
    Some(Policy {
        allow: values(allow?),
        deny: values(deny?),
        token: token?,
        session: session?,
        identity: identity?,
        limit: limit?,
        cors: cors?,
        request: request?,
        response: response?,
        path: path?,
        cache: cache?,
        request_body: request_body?,
        response_body: response_body?,
        hygiene: hygiene?,
        attack_rules: attack_rules?,
    })
}

fn token(section: &Section<'_>, draft: &mut GatewayDraft) -> Option<TokenRule> {
    let issuers = section.read("issuers", |field| field.list(Field::text));
    let introspection = section.read_optional("introspection", Field::text);
    let cookies = texts(section, "cookies");
    let required = section.read("required", Field::switch);
    let scopes = texts(section, "scopes");
    let claims = section.read("claims", Field::columns);
    let (issuers, introspection) = (issuers?, introspection?);
    for Located { value, at } in &issuers {
        draft.uses.push(Located { value: ("issuers", value.clone()), at: at.clone() });
    }
    if let Some(name) = &introspection {
        let at = section.at("introspection");
        draft.uses.push(Located { value: ("introspections", name.clone()), at });
    } else if issuers.is_empty() {
        let remedy = "write issuers = [\"NAME\"] or introspection = \"NAME\"";
        section.reader.report(&section.at, "accepts nobody's tokens", remedy);
    }
    Some(TokenRule {
        issuers: values(issuers),
        introspection,
        cookies: cookies?,
        required: required?,
        scopes: scopes?,
        claims: values(claims?).into_iter().collect(),
    })
}

fn limit(section: &Section<'_>) -> Option<Limit> {
    let requests = section.read("requests", Field::count);
    let per = section.read("per", Field::duration);
    let burst = section.read_optional("burst", Field::count);
    let by = section.read("by", |field| field.list(|f| f.parsed(scalar::subject)));
    let shared = section.read("shared", Field::switch);
    let (requests, per) = (requests?, per?);
    if per > PER_MAX {
        section.reader.report(&section.at("per"), "is longer than a day", "write at most \"1d\"");
    }
    Some(Limit {
        requests,
        per,
        burst: burst?.unwrap_or(requests),
        by: values(by?),
        shared: shared?,
    })
}

fn cors(section: &Section<'_>) -> Option<Cors> {
    let origins = texts(section, "origins");
    let methods = texts(section, "methods");
    let headers = section.read("headers", |f| f.list(header_name));
    let expose = section.read("expose", |f| f.list(header_name));
    let credentials = section.read("credentials", Field::switch);
    let max_age = section.read("max_age", Field::duration);
    let (origins, credentials) = (origins?, credentials?);
    let is_any = origins.iter().any(|origin| origin == "*");
    if is_any && (credentials || origins.len() > 1) {
        let message = "every origin stands beside named ones or credentials";
        let remedy = "name the origins, or write \"*\" alone and credentials = false";
        section.reader.report(&section.at("origins"), message, remedy);
    }
    Some(Cors {
        origins,
        methods: methods?,
        headers: values(headers?),
        expose: values(expose?),
        credentials,
        max_age: max_age?,
    })
}

fn headers(section: &Section<'_>) -> Option<HeaderRules> {
    let remove = section.read("remove", |field| field.list(header_name));
    let set = fields(section, "set");
    let add = fields(section, "add");
    Some(HeaderRules { remove: values(remove?), set: set?, add: add? })
}

/// Header fields and their values.
fn fields(section: &Section<'_>, key: &'static str) -> Option<BTreeMap<String, String>> {
    let pairs = section.read(key, Field::columns)?;
    let mut fields = BTreeMap::new();
    for Located { value: (name, value), at } in pairs {
        if let Err(why) = scalar::header_field(&name, &value) {
            section.reader.report(&at, why, "write name = \"value\" as HTTP allows it");
        }
        fields.insert(name.to_ascii_lowercase(), value);
    }
    Some(fields)
}

fn header_name(field: &Field<'_>) -> Option<String> {
    field.parsed_or(|text| match scalar::header_field(text, "") {
        Ok(()) => Ok(text.to_ascii_lowercase()),
        Err(why) => Err(why.to_owned()),
    })
}

fn path(section: &Section<'_>) -> Option<PathRule> {
    let part = |name| {
        section.read_optional(name, |field| {
            field.parsed_or(|text| match scalar::is_url_path(text) && !text.contains('?') {
                true => Ok(text.trim_end_matches('/').to_owned()),
                false => Err("is not a path".to_owned()),
            })
        })
    };
    let (strip, prefix) = (part("strip"), part("prefix"));
    let some = |part: Option<String>| part.filter(|part| !part.is_empty());
    Some(PathRule { strip: some(strip?), prefix: some(prefix?) })
}

fn url(field: &Field<'_>) -> Option<String> {
    field.parsed(|text| scalar::is_url(text).then(|| text.to_owned()))
}

fn texts(section: &Section<'_>, name: &'static str) -> Option<Vec<String>> {
    section.read(name, |field| field.list(Field::text)).map(values)
}

/// A table that may be left out: `Some(None)` when it is.
fn optional<T>(
    section: &Section<'_>,
    name: &'static str,
    read: impl FnOnce(&Section<'_>) -> Option<T>,
) -> Option<Option<T>> {
    match section.optional_table(name) {
        None => None,
        Some(None) => Some(None),
        Some(Some(section)) => read(&section).map(Some),
    }
}

/// Names that stand for nothing, with the table that should have them.
pub(crate) fn unknown_names(draft: &GatewayDraft) -> impl Iterator<Item = (&At, String, String)> {
    draft.uses.iter().filter_map(|Located { value: (table, name), at }| {
        let known = || draft.known.iter().filter(|known| known.0 == *table).map(|known| &*known.1);
        if known().any(|known| known == name) {
            return None;
        }
        let remedy = crate::suggest::nearest(name, known()).map_or_else(
            || format!("write a table [{table}.{name}]"),
            |meant| format!("did you mean {meant}?"),
        );
        Some((at, format!("there is no {name:?} in {table}"), remedy))
    })
}
