//! The validated form of what the gateway asks of requests and does to them.

use std::{collections::BTreeMap, time::Duration};

use ipnet::IpNet;
use serde::Serialize;

use super::{
    AnswerCache, ApiVersions, AttackRules, JsonChanges, Route, Secret, SharedLimits, SubjectSource,
    view,
};

/// Everything about policies in a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct GatewayConfig {
    /// `[issuers.NAME]`
    pub issuers: BTreeMap<String, Issuer>,
    /// `[introspections.NAME]`
    pub introspections: BTreeMap<String, Introspection>,
    /// `[sessions.NAME]`
    pub sessions: BTreeMap<String, SessionCheck>,
    /// `[identity]`
    pub identity: Option<Identity>,
    /// `[shared_limits]`
    pub shared_limits: Option<SharedLimits>,
    /// `proxy.answer_cache`, bytes. Default 64 MiB.
    pub answer_cache: usize,
    /// `[policies.NAME]`; what they name is there.
    pub policies: BTreeMap<String, Policy>,
    /// `[api_versions]`
    pub api_versions: Option<ApiVersions>,
    /// `[[routes]]`: requests that stay with the monolith. Their effect says nothing.
    pub routes: Vec<Route>,
    /// `proxy.policy`, a key of `policies`.
    pub default_policy: Option<String>,
}

/// A signature algorithm of RFC 7518 or RFC 8037.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of the standards")]
pub enum TokenAlgorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
    HS256,
    HS384,
    HS512,
}

/// What an issuer's tokens are verified with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenKeys {
    /// Public keys at this address.
    Jwks(String),
    /// A secret that both know, at least 32 bytes.
    Secret(Secret),
}

/// `[issuers.NAME]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Issuer {
    /// The claim `iss`, exactly.
    pub issuer: String,
    /// One of these is in the claim `aud`; at least one.
    pub audience: Vec<String>,
    /// At least one; symmetric ones exactly when there is a secret.
    pub algorithms: Vec<TokenAlgorithm>,
    /// Where the keys come from.
    pub keys: TokenKeys,
    /// How often keys are fetched. Default 5 min.
    #[serde(serialize_with = "view::duration")]
    pub refresh: Duration,
    /// How long keys are used that cannot be fetched again. Default 24 h.
    #[serde(serialize_with = "view::duration")]
    pub stale: Duration,
    /// Difference of clocks that is forgiven. Default 30 s.
    #[serde(serialize_with = "view::duration")]
    pub leeway: Duration,
    /// Bytes of the longest token. Default 8 KiB.
    pub token_max: usize,
}

/// `[introspections.NAME]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Introspection {
    /// Asked with POST.
    pub url: String,
    /// HTTP Basic.
    pub client_id: String,
    /// HTTP Basic.
    pub client_secret: Secret,
    /// One of these is in `aud`; empty: not looked at.
    pub audience: Vec<String>,
    /// How long a valid token is remembered. Default 1 min.
    #[serde(serialize_with = "view::duration")]
    pub cache: Duration,
    /// How long an invalid one is. Default 10 s.
    #[serde(serialize_with = "view::duration")]
    pub negative: Duration,
    /// Of one question. Default 2 s.
    #[serde(serialize_with = "view::duration")]
    pub timeout: Duration,
}

/// `[sessions.NAME]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionCheck {
    /// Asked with GET.
    pub url: String,
    /// At least one.
    pub cookies: Vec<String>,
    /// JSON pointer in the answer.
    pub subject: String,
    /// How long a session is remembered. Default 30 s.
    #[serde(serialize_with = "view::duration")]
    pub cache: Duration,
    /// How long it is remembered that there is none. Default 5 s.
    #[serde(serialize_with = "view::duration")]
    pub negative: Duration,
    /// Of one question. Default 2 s.
    #[serde(serialize_with = "view::duration")]
    pub timeout: Duration,
}

/// `[identity]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// Ed25519, PKCS#8 in PEM; the first signs.
    pub keys: Vec<Secret>,
    /// Claim `iss`. Default `ficus`.
    pub issuer: String,
    /// Claims of tokens that are told, too; none that an identity has itself.
    pub claims: Vec<String>,
    /// From `iat` to `exp`. Default 1 min.
    #[serde(serialize_with = "view::duration")]
    pub ttl: Duration,
}

/// `[policies.NAME]`
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Policy {
    /// Networks that pass; all when empty.
    pub allow: Vec<IpNet>,
    /// Networks that do not.
    pub deny: Vec<IpNet>,
    /// What is asked of a token.
    pub token: Option<TokenRule>,
    /// A key of `sessions`.
    pub session: Option<String>,
    /// Send the signed identity to the upstream.
    pub identity: bool,
    /// Requests of one subject.
    pub limit: Option<Limit>,
    /// Other origins.
    pub cors: Option<Cors>,
    /// To the upstream.
    pub request: HeaderRules,
    /// To the downstream.
    pub response: HeaderRules,
    /// To the upstream.
    pub path: PathRule,
    /// Which answers are given again.
    pub cache: Option<AnswerCache>,
    /// To the upstream.
    pub request_body: Option<JsonChanges>,
    /// To the downstream.
    pub response_body: Option<JsonChanges>,
    /// What is done with signatures of attacks.
    pub hygiene: Hygiene,
    /// A rule set that is asked, too.
    pub attack_rules: Option<AttackRules>,
}

/// `token = { … }` of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenRule {
    /// Keys of `issuers`.
    pub issuers: Vec<String>,
    /// A key of `introspections`.
    pub introspection: Option<String>,
    /// Cookies that may carry it.
    pub cookies: Vec<String>,
    /// Requests without token are refused.
    pub required: bool,
    /// All of them.
    pub scopes: Vec<String>,
    /// All of them.
    pub claims: BTreeMap<String, String>,
}

/// `limit = { … }` of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// Within `per`, at least 1.
    pub requests: u32,
    /// At most a day.
    #[serde(serialize_with = "view::duration")]
    pub per: Duration,
    /// At once, at least 1.
    pub burst: u32,
    /// The first that is there.
    pub by: Vec<SubjectSource>,
    /// Counted together with other proxies; then there are `shared_limits`.
    pub shared: bool,
}

/// `cors = { … }` of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cors {
    /// Exact origins, or `*` alone.
    pub origins: Vec<String>,
    /// Upper case.
    pub methods: Vec<String>,
    /// Lower case.
    pub headers: Vec<String>,
    /// Lower case.
    pub expose: Vec<String>,
    /// Never with `*`.
    pub credentials: bool,
    /// Of a preflight's answer. Default 10 min.
    #[serde(serialize_with = "view::duration")]
    pub max_age: Duration,
}

/// Changes of header fields; names in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HeaderRules {
    /// First.
    pub remove: Vec<String>,
    /// Second.
    pub set: BTreeMap<String, String>,
    /// Third.
    pub add: BTreeMap<String, String>,
}

/// Changes of the path; neither ends with `/`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PathRule {
    /// Whole segments at the front.
    pub strip: Option<String>,
    /// Put in front.
    pub prefix: Option<String>,
}

/// What is done with a request that carries a signature of an attack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hygiene {
    /// It is refused.
    #[default]
    Block,
    /// It is counted and passes.
    Detect,
    /// Nobody looks.
    Off,
}

impl TokenAlgorithm {
    /// All, in the order of the documentation.
    pub(crate) const ALL: [Self; 12] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
        Self::HS256,
        Self::HS384,
        Self::HS512,
    ];

    /// As it is written in tokens and in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
            Self::HS256 => "HS256",
            Self::HS384 => "HS384",
            Self::HS512 => "HS512",
        }
    }

    /// The algorithm of this name; case counts.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    /// Both sides have the same secret.
    #[must_use]
    pub const fn is_symmetric(self) -> bool {
        matches!(self, Self::HS256 | Self::HS384 | Self::HS512)
    }
}

impl Hygiene {
    /// As it is written in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Detect => "detect",
            Self::Off => "off",
        }
    }
}

impl Serialize for TokenAlgorithm {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Serialize for Hygiene {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
