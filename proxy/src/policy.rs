//! What the gateway asks of a request and does to it, as `[policies.NAME]` says. Everything here decides
//! from memory; who must be asked is asked in the background ([`jwks`]) or once and remembered.

mod access;
mod body;
mod client;
mod cors;
mod handling;
mod hygiene;
mod identity;
pub(crate) mod jwks;
mod limit;
mod lookup;
mod rewrite;
mod shared_count;
mod token;

use std::{borrow::Cow, collections::BTreeMap, net::IpAddr, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use routes::{Config, Hygiene, OnFailure, PathRule, TokenRule};

use crate::{
    answer::Problem,
    attack_rules::{RuleFileError, RuleSets},
    examination::Examiner,
    metrics::policies::POLICIES,
    subject,
};

use access::Access;
pub(crate) use body::{BodyError, ChangedBody, about_bytes, has_body};
pub(crate) use client::Client;
use cors::CorsRules;
pub(crate) use cors::preflight;
pub(crate) use handling::Handling;
pub(crate) use identity::{BadKey, IDENTITY, Signer};
pub(crate) use limit::{Counted, Limiter};
use lookup::{Introspector, LookupError, Sessions};
use rewrite::FieldRules;
use shared_count::{CommonLimit, CommonStore};
use token::{Issuers, Refused, Verified};

/// All policies of a configuration.
#[derive(Debug)]
pub(crate) struct Policies {
    parts: Parts,
    client: Client,
    by_name: BTreeMap<String, Arc<Policy>>,
    default: Arc<Policy>,
}

/// What policies are made of; lasts over reloads that leave it as it is.
#[derive(Debug)]
struct Parts {
    issuers: Arc<Issuers>,
    signer: Option<Arc<Signer>>,
    introspectors: BTreeMap<String, Arc<Introspector>>,
    sessions: BTreeMap<String, Arc<Sessions>>,
    common: Option<Arc<CommonStore>>,
    rule_sets: Arc<RuleSets>,
}

/// One policy.
#[derive(Debug)]
pub(crate) struct Policy {
    name: String,
    access: Access,
    token: Option<TokenRule>,
    issuers: Arc<Issuers>,
    limiter: Option<Arc<Limiter>>,
    /// When the limit is shared.
    common: Option<CommonLimit>,
    /// When rules are asked.
    examiner: Option<Arc<Examiner>>,
    handling: Handling,
    cors: Option<CorsRules>,
    request: FieldRules,
    response: FieldRules,
    path: PathRule,
    hygiene: Hygiene,
    signer: Option<Arc<Signer>>,
    introspector: Option<Arc<Introspector>>,
    sessions: Option<Arc<Sessions>>,
}

/// What a policy came to for one request that it lets pass.
#[derive(Debug)]
pub(crate) struct Applied {
    policy: Arc<Policy>,
    subject: Option<Subject>,
    /// Fields of every answer to it.
    fields: Vec<(HeaderName, HeaderValue)>,
}

/// Who asks, verified.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    /// As a token says.
    Token(Arc<Verified>),
    /// As the monolith says about a session.
    Session(Arc<str>),
}

/// A request as a policy sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'r> {
    pub(crate) method: &'r Method,
    pub(crate) uri: &'r Uri,
    pub(crate) headers: &'r HeaderMap,
    pub(crate) address: Option<IpAddr>,
}

/// A request that the proxy answers itself.
#[derive(Debug)]
pub(crate) enum Answered {
    /// With a problem.
    Problem(Problem),
    /// A preflight, with these fields.
    Preflight(Vec<(HeaderName, HeaderValue)>),
}

/// Policies that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PolicyError {
    #[error(transparent)]
    Key(#[from] BadKey),
    #[error("shared_limits.redis is not the address of a Redis; write redis://host:port")]
    Redis,
    #[error(transparent)]
    Rules(#[from] RuleFileError),
    #[error("policy {0:?} has a header field that HTTP does not allow")]
    Field(String),
}

impl Policies {
    /// Compiles the policies of a configuration; keys, remembered tokens and counts of `previous` go
    /// on where nothing changed about them.
    ///
    /// # Errors
    /// What cannot be used.
    pub(crate) fn compile(config: &Config, previous: Option<&Self>) -> Result<Self, PolicyError> {
        let gateway = &config.gateway;
        let issuers =
            Issuers::new(&gateway.issuers, previous.map(|previous| &previous.parts.issuers));
        let parts_before = previous.map(|previous| &previous.parts);
        let signer = gateway.identity.as_ref().map(|identity| {
            let old = parts_before.and_then(|parts| parts.signer.as_ref());
            kept_or(old, |old| old.config == *identity, || Ok(Signer::new(identity)?))
        });
        let client = previous.map(|previous| previous.client.clone()).unwrap_or_default();
        let common = gateway.shared_limits.as_ref().map(|shared| {
            let old = parts_before.and_then(|parts| parts.common.as_ref());
            let new = || CommonStore::new(shared).ok_or(PolicyError::Redis);
            kept_or(old, |old| old.config == *shared, new)
        });
        let rule_sets = parts_before.map_or_else(Arc::default, |old| Arc::clone(&old.rule_sets));
        rule_sets.load_missing(gateway)?;
        let parts = Parts {
            issuers,
            signer: signer.transpose()?,
            introspectors: introspectors(gateway, parts_before, &client)?,
            sessions: sessions(gateway, parts_before, &client)?,
            common: common.transpose()?,
            rule_sets,
        };
        let compile = |name: &str, config: &routes::Policy| {
            let old = previous.and_then(|previous| previous.by_name.get(name));
            Policy::new(name, config, old, &parts).map(Arc::new)
        };
        let mut by_name = BTreeMap::new();
        for (name, policy) in &gateway.policies {
            by_name.insert(name.clone(), compile(name, policy)?);
        }
        let named = gateway.default_policy.as_ref().and_then(|name| by_name.get(name));
        let default = match named {
            Some(named) => Arc::clone(named),
            None => compile("none", &routes::Policy::default())?,
        };
        Ok(Self { parts, client, by_name, default })
    }

    /// What other servers are asked with.
    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }

    /// Everybody whose tokens are accepted.
    pub(crate) const fn issuers(&self) -> &Arc<Issuers> {
        &self.parts.issuers
    }

    /// Who signs identities, if anybody does.
    pub(crate) const fn signer(&self) -> Option<&Arc<Signer>> {
        self.parts.signer.as_ref()
    }

    /// Rules that were read; they last over reloads.
    pub(crate) const fn rule_sets(&self) -> &Arc<RuleSets> {
        &self.parts.rule_sets
    }

    /// The policy of this name; that of `proxy.policy` when there is no name.
    pub(crate) fn get(&self, name: Option<&str>) -> &Arc<Policy> {
        name.and_then(|name| self.by_name.get(name)).unwrap_or(&self.default)
    }
}

impl Policy {
    fn new(
        name: &str,
        config: &routes::Policy,
        before: Option<&Arc<Self>>,
        parts: &Parts,
    ) -> Result<Self, PolicyError> {
        let broken = || PolicyError::Field(name.to_owned());
        let limiter = config.limit.as_ref().map(|limit| {
            let old = before.and_then(|before| before.limiter.as_ref());
            kept_or(old, |old| old.config == *limit, || Ok(Limiter::new(name, limit)))
        });
        let shared = config.limit.as_ref().filter(|limit| limit.shared);
        let rules = config.attack_rules.as_ref();
        let cors = match &config.cors {
            Some(cors) => Some(CorsRules::new(cors).ok_or_else(broken)?),
            None => None,
        };
        Ok(Self {
            name: name.to_owned(),
            access: Access::new(&config.allow, &config.deny),
            token: config.token.clone(),
            issuers: Arc::clone(&parts.issuers),
            limiter: limiter.transpose()?,
            common: shared.zip(parts.common.as_ref()).map(|(l, c)| CommonLimit::new(c, l)),
            examiner: rules
                .and_then(|rules| Examiner::new(name, rules, &parts.rule_sets))
                .map(Arc::new),
            handling: Handling::new(config).ok_or_else(broken)?,
            cors,
            request: FieldRules::new(&config.request).ok_or_else(broken)?,
            response: FieldRules::new(&config.response).ok_or_else(broken)?,
            path: config.path.clone(),
            hygiene: config.hygiene,
            signer: parts.signer.as_ref().filter(|_| config.identity).cloned(),
            introspector: config
                .token
                .as_ref()
                .and_then(|token| parts.introspectors.get(token.introspection.as_ref()?))
                .cloned(),
            sessions: config.session.as_ref().and_then(|name| parts.sessions.get(name)).cloned(),
        })
    }

    /// Decides about a request, and counts it.
    ///
    /// # Errors
    /// What the proxy answers itself.
    pub(crate) async fn apply(self: &Arc<Self>, asked: Asked<'_>) -> Result<Applied, Answered> {
        let mut fields = self.cors.as_ref().map_or_else(Vec::new, |c| c.of_answer(asked.headers));
        self.admit(asked).map_err(|problem| self.answer(problem, &fields))?;
        if let Some(cors) = &self.cors
            && preflight(asked.method, asked.headers).is_some()
        {
            self.note("preflight");
            return Err(Answered::Preflight(cors.of_preflight(asked.headers)));
        }
        let subject =
            self.authenticate(asked).await.map_err(|problem| self.answer(problem, &fields))?;
        let counted = self.count(asked, subject.as_ref()).await.map_err(Answered::Problem)?;
        if let Some(counted) = counted {
            fields.extend_from_slice(counted.fields());
            if !counted.is_admitted {
                return Err(self.too_many(&counted, &fields));
            }
        }
        Ok(Applied { policy: Arc::clone(self), subject, fields })
    }

    fn too_many(&self, counted: &Counted, fields: &[(HeaderName, HeaderValue)]) -> Answered {
        self.note("limited");
        let detail = "this client has sent more requests than it may; nothing was done";
        let wait = HeaderValue::from(counted.retry_after());
        let problem = Problem::new(429, "too-many-requests", detail);
        self.answer(problem.with_field(header::RETRY_AFTER, wait), fields)
    }

    fn answer(&self, problem: Problem, fields: &[(HeaderName, HeaderValue)]) -> Answered {
        let with = |problem: Problem, (name, value): &(HeaderName, HeaderValue)| {
            problem.with_field(name.clone(), value.clone())
        };
        Answered::Problem(fields.iter().fold(problem, with))
    }

    fn note(&self, outcome: &str) {
        POLICIES.with_label_values(&[self.name.as_str(), outcome]).inc();
    }

    fn admit(&self, asked: Asked<'_>) -> Result<(), Problem> {
        if !self.access.admits(asked.address) {
            self.note("address");
            return Err(Problem::new(403, "address", "requests from this address are refused"));
        }
        if self.hygiene == Hygiene::Off {
            return Ok(());
        }
        let Some(signature) = hygiene::find(asked.uri, asked.headers) else { return Ok(()) };
        match self.hygiene {
            Hygiene::Block => {
                self.note("attack");
                tracing::warn!(
                    policy = self.name,
                    signature,
                    "refused a request that looks like an attack"
                );
                let detail = "the request looks like an attack; the operator's log says which part";
                Err(Problem::new(403, "attack-signature", detail))
            }
            Hygiene::Detect | Hygiene::Off => {
                self.note("attack_detected");
                tracing::warn!(
                    policy = self.name,
                    signature,
                    "let a request pass that looks like an attack"
                );
                Ok(())
            }
        }
    }

    async fn authenticate(&self, asked: Asked<'_>) -> Result<Option<Subject>, Problem> {
        let Some(rule) = &self.token else { return self.session(asked).await };
        let token = match subject::bearer(asked.headers, &rule.cookies) {
            Ok(token) => token,
            Err(subject::Ambiguous) => {
                self.note("unauthenticated");
                return Err(refused("the request has more than one token"));
            }
        };
        let Some(token) = token else {
            if rule.required {
                self.note("unauthenticated");
                return Err(challenge("the request has no bearer token", "Bearer"));
            }
            return self.session(asked).await;
        };
        match self.issuers.verify(token, &rule.issuers, now()) {
            Ok(verified) => {
                self.authorise(rule, &verified)?;
                Ok(Some(Subject::Token(verified)))
            }
            Err(Refused::NoKeys) => {
                self.note("no_keys");
                let detail = "tokens cannot be verified at the moment; nothing was done";
                Err(Problem::new(503, "no-keys", detail).with_retry())
            }
            Err(Refused::Issuer | Refused::NotAToken(_)) if self.introspector.is_some() => {
                self.introspect(rule, token).await
            }
            Err(why) => {
                self.note("unauthenticated");
                tracing::debug!(policy = self.name, %why, "refused a token");
                Err(refused(&why.to_string()))
            }
        }
    }

    /// Asks about a token that is none of the issuers'.
    async fn introspect(&self, rule: &TokenRule, token: &str) -> Result<Option<Subject>, Problem> {
        let Some(introspector) = &self.introspector else { return Ok(None) };
        let verified = introspector.verify(token).await;
        let Some(verified) = verified.map_err(|error| self.unknown(&error))? else {
            self.note("unauthenticated");
            return Err(refused("the token is not valid"));
        };
        self.authorise(rule, &verified)?;
        Ok(Some(Subject::Token(verified)))
    }

    /// Asks the monolith whose session it is, where the policy says so.
    async fn session(&self, asked: Asked<'_>) -> Result<Option<Subject>, Problem> {
        let Some(sessions) = &self.sessions else { return Ok(None) };
        let subject = sessions.subject(asked.headers).await;
        Ok(subject.map_err(|error| self.unknown(&error))?.map(Subject::Session))
    }

    fn unknown(&self, error: &LookupError) -> Problem {
        self.note("unknown");
        tracing::warn!(policy = self.name, %error, "could not find out who asks");
        let detail = "it cannot be found out at the moment who asks; nothing was done";
        Problem::new(503, "unknown-subject", detail).with_retry()
    }

    fn authorise(&self, rule: &TokenRule, verified: &Verified) -> Result<(), Problem> {
        let missing_scope = rule.scopes.iter().any(|scope| !verified.has_scope(scope));
        let missing_claim = rule.claims.iter().any(|(claim, text)| !verified.claims(claim, text));
        if missing_scope || missing_claim {
            self.note("forbidden");
            let detail = "the token does not allow this request";
            let challenge = HeaderValue::from_static("Bearer error=\"insufficient_scope\"");
            return Err(Problem::new(403, "forbidden", detail)
                .with_field(header::WWW_AUTHENTICATE, challenge));
        }
        Ok(())
    }

    /// Counts a request where there is a limit; `None` when nothing counts it.
    async fn count(
        &self,
        asked: Asked<'_>,
        subject: Option<&Subject>,
    ) -> Result<Option<Counted>, Problem> {
        let Some(limiter) = &self.limiter else { return Ok(None) };
        let key = limiter.key(asked, subject);
        let Some(common) = &self.common else { return Ok(Some(limiter.count(&key))) };
        match common.count(&self.name, &key).await {
            Ok(count) => Ok(Some(limiter.told(count))),
            Err(OnFailure::Local) => Ok(Some(limiter.count(&key))),
            Err(OnFailure::Allow) => Ok(None),
            Err(OnFailure::Refuse) => {
                self.note("limits_silent");
                let detail = "requests cannot be counted at the moment; nothing was done";
                let problem = Problem::new(503, "limits-silent", detail);
                Err(problem.with_field(header::RETRY_AFTER, 1.into()))
            }
        }
    }
}

impl Subject {
    /// A claim of a token; `sub` of a session too.
    pub(crate) fn text(&self, claim: &str) -> Option<Cow<'_, str>> {
        match self {
            Self::Token(verified) => verified.text(claim),
            Self::Session(subject) => (claim == "sub").then_some(Cow::Borrowed(subject)),
        }
    }

    /// Who says so.
    fn by(&self) -> &str {
        match self {
            Self::Token(verified) => &verified.issuer,
            Self::Session(_) => "session",
        }
    }

    /// Seconds since 1970 at which it ends, leeway included.
    fn ends(&self) -> u64 {
        match self {
            Self::Token(verified) => verified.ends(),
            Self::Session(_) => u64::MAX,
        }
    }

    /// A claim of the token, as it says so.
    fn claim(&self, name: &str) -> Option<&serde_json::Value> {
        match self {
            Self::Token(verified) => verified.claims.get(name),
            Self::Session(_) => None,
        }
    }

    /// Writes the claim, told apart by who says so; `None` when it is not there.
    fn write_key(&self, claim: &str, key: &mut Vec<u8>) -> Option<()> {
        let text = self.text(claim)?;
        for part in [self.by(), "\0", &text] {
            key.extend_from_slice(part.as_bytes());
        }
        Some(())
    }
}

impl Applied {
    /// What is done to bodies and with answers.
    pub(crate) fn handling(&self) -> &Handling {
        &self.policy.handling
    }

    /// Who asks rules about the request, if its policy wants that.
    pub(crate) fn examiner(&self) -> Option<&Arc<Examiner>> {
        self.policy.examiner.as_ref()
    }

    /// Name of the policy.
    pub(crate) fn policy_name(&self) -> &str {
        &self.policy.name
    }

    /// Who asks, if that is verified.
    pub(crate) const fn subject(&self) -> Option<&Subject> {
        self.subject.as_ref()
    }

    /// Changes the request for an upstream.
    ///
    /// # Errors
    /// When pingora refuses a field or the path.
    pub(crate) fn on_request(
        &self,
        request: &mut pingora::http::RequestHeader,
        upstream: &str,
    ) -> pingora::Result<()> {
        self.policy.request.on_request(request)?;
        if let Some(uri) = rewrite::rewritten(&self.policy.path, &request.uri) {
            request.set_uri(uri);
        }
        if let (Some(signer), Some(subject)) = (&self.policy.signer, &self.subject)
            && let Some(identity) = signer.tell(subject, upstream)
        {
            request.insert_header(IDENTITY, identity)?;
        }
        Ok(())
    }

    /// Changes the answer of an upstream.
    ///
    /// # Errors
    /// When pingora refuses a field.
    pub(crate) fn on_response(
        &self,
        response: &mut pingora::http::ResponseHeader,
    ) -> pingora::Result<()> {
        if self.policy.cors.is_some() {
            for name in cors::ANSWERED {
                response.remove_header(&name);
            }
        }
        self.policy.response.on_response(response)?;
        for (name, value) in &self.fields {
            response.append_header(name.clone(), value.clone())?;
        }
        Ok(())
    }
}

fn introspectors(
    gateway: &routes::GatewayConfig,
    before: Option<&Parts>,
    client: &Client,
) -> Result<BTreeMap<String, Arc<Introspector>>, PolicyError> {
    let each = |(name, config): (&String, &routes::Introspection)| {
        let old = before.and_then(|before| before.introspectors.get(name));
        let new = || {
            let new = Introspector::new(name, config, client);
            new.ok_or_else(|| PolicyError::Field(name.clone()))
        };
        Ok((name.clone(), kept_or(old, |old| old.config == *config, new)?))
    };
    gateway.introspections.iter().map(each).collect()
}

fn sessions(
    gateway: &routes::GatewayConfig,
    before: Option<&Parts>,
    client: &Client,
) -> Result<BTreeMap<String, Arc<Sessions>>, PolicyError> {
    let each = |(name, config): (&String, &routes::SessionCheck)| {
        let old = before.and_then(|before| before.sessions.get(name));
        let new = || Ok(Sessions::new(config, client));
        Ok((name.clone(), kept_or(old, |old| old.config == *config, new)?))
    };
    gateway.sessions.iter().map(each).collect()
}

/// What was there before when nothing about it changed, so that it keeps what it remembers; or a new one.
fn kept_or<T>(
    old: Option<&Arc<T>>,
    is_same: impl FnOnce(&T) -> bool,
    new: impl FnOnce() -> Result<T, PolicyError>,
) -> Result<Arc<T>, PolicyError> {
    match old.filter(|old| is_same(old)) {
        Some(old) => Ok(Arc::clone(old)),
        None => new().map(Arc::new),
    }
}

/// 401 for a token that is not accepted (RFC 6750).
fn refused(why: &str) -> Problem {
    challenge(why, "Bearer error=\"invalid_token\"")
}

fn challenge(detail: &str, challenge: &'static str) -> Problem {
    Problem::new(401, "unauthenticated", detail)
        .with_field(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}

/// Seconds since 1970.
fn now() -> u64 {
    u64::try_from(chrono::Utc::now().timestamp()).unwrap_or(0)
}
