//! The tables and keys of what the gateway asks of a request and does to it.

use super::{
    Key, Kind, Shape, answers, attack_rules,
    key::{WAIT, default, optional, required},
    versions,
};

const TEXTS: Kind = Kind::List { of: &Kind::Text, min: 0 };
const SOME_TEXTS: Kind = Kind::List { of: &Kind::Text, min: 1 };
const NETWORKS: Kind = Kind::List { of: &Kind::Network, min: 0 };

/// Algorithms a token may be signed with, in the words of RFC 7518 and RFC 8037.
pub(crate) const ALGORITHMS: &[&str] = &[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA", "HS256",
    "HS384", "HS512",
];

const POLICY_KEY: &str = "What the gateway asks of these requests and does to them: a key of `policies`; \
     `proxy.policy` when not given.";

/// `policy = "NAME"` of a route.
pub(crate) const fn policy_of_route() -> Key {
    optional("policy", Kind::Name, POLICY_KEY).live("\"api\"")
}

/// `policy = "NAME"` of `[proxy]`.
pub(crate) const fn policy_of_proxy() -> Key {
    optional(
        "policy",
        Kind::Name,
        "Policy of every request whose route names none: a key of `policies`. Without it such \
         requests only pass the request hygiene.",
    )
    .live("\"api\"")
}

/// The keys of the file itself.
pub(crate) const fn of_file() -> [Key; 6] {
    [
        default("issuers", Kind::Named(&ISSUER), "{}", "Who signs tokens (JWT) that are accepted.").live("{ main = { issuer = \"https://id.example\", audience = [\"shop\"], algorithms = [\"RS256\"], jwks = \"https://id.example/jwks.json\" } }"),
        default(
            "introspections",
            Kind::Named(&INTROSPECTION),
            "{}",
            "Servers that are asked whether a token is valid (RFC 7662).",
        ).live("{ partner = { url = \"https://id.example/introspect\", client_id = \"proxy\", client_secret = \"file:/run/secrets/partner\" } }"),
        default(
            "sessions",
            Kind::Named(&SESSION),
            "{}",
            "Where the monolith says whose session a cookie is.",
        ).live("{ web = { url = \"http://127.0.0.1:3000/session\", cookies = [\"sid\"] } }"),
        optional(
            "identity",
            Kind::Table(&IDENTITY),
            "The signed header `Ficus-Identity` by which upstreams know who asks.",
        ).live("{ keys = [\"file:/run/secrets/identity.pem\"] }"),
        default(
            "policies",
            Kind::Named(&POLICY),
            "{}",
            "What the gateway asks of requests and does to them; routes name one.",
        ).live("{ api = { token = { issuers = [\"main\"] } } }"),
        default(
            "routes",
            Kind::Tables(&GATEWAY_ROUTE),
            "[]",
            "Requests that stay with the monolith and have a policy or figures of their own.",
        ).live("[{ match = \"* /admin/{*rest}\", policy = \"api\" }]"),
    ]
}

static GATEWAY_ROUTE: Shape = Shape {
    doc: "Requests that stay with the monolith.",
    keys: &[
        required(
            "match",
            Kind::Match,
            "Method (or `*`) and path; `{id}` matches one segment, `{*rest}` all that follow. The most \
             specific wins, among the routes of capabilities too.",
        ).live("\"* /admin/{*rest}\""),
        policy_of_route(),
        versions::of_route(),
    ],
};

static ISSUER: Shape = Shape {
    doc: "Who signs tokens.",
    keys: &[
        required("issuer", Kind::Text, "The claim `iss` of its tokens, exactly.").live("\"https://id.example\""),
        required("audience", SOME_TEXTS, "Tokens must be for one of these (claim `aud`).").live("[\"shop\"]"),
        required(
            "algorithms",
            Kind::List { of: &Kind::Choice(ALGORITHMS), min: 1 },
            "Signatures that are accepted; all others are refused, whatever a token says.",
        ).live("[\"RS256\", \"ES256\"]"),
        optional(
            "jwks",
            Kind::Url,
            "Where its public keys are (JSON Web Key Set); fetched in the background.",
        ).live("\"https://id.example/jwks.json\""),
        optional(
            "secret",
            Kind::Secret,
            "Secret of HS256, HS384 or HS512, at least 32 bytes; instead of `jwks`.",
        ).live("\"file:/run/secrets/jwt\""),
        default("refresh", WAIT, "\"5m\"", "How often the keys are fetched again.").live("\"10m\""),
        default(
            "stale",
            WAIT,
            "\"24h\"",
            "How long keys stay in use while they cannot be fetched again; then tokens are answered 503.",
        ).live("\"12h\""),
        default(
            "leeway",
            Kind::Duration { zero: true },
            "\"30s\"",
            "By how much clocks may differ: `exp` and `nbf` are read that much more kindly.",
        ).live("\"10s\""),
        default(
            "token_max",
            Kind::Size,
            "\"8KiB\"",
            "Longer tokens are refused before they are read.",
        ).live("\"4KiB\""),
    ],
};

static INTROSPECTION: Shape = Shape {
    doc: "A server that is asked whether a token is valid.",
    keys: &[
        required("url", Kind::Url, "The introspection endpoint, asked with POST (RFC 7662).").live("\"https://id.example/introspect\""),
        required("client_id", Kind::Text, "Name this proxy has there (HTTP Basic).").live("\"proxy\""),
        required("client_secret", Kind::Secret, "Secret this proxy has there.").live("\"file:/run/secrets/partner\""),
        default("audience", TEXTS, "[]", "Tokens must be for one of these; empty: for anyone.").live("[\"shop\"]"),
        default(
            "cache",
            WAIT,
            "\"1m\"",
            "How long a valid token is not asked about again, and never beyond its `exp`: so long a \
             revoked token may still pass.",
        ).live("\"20s\""),
        default("negative", WAIT, "\"10s\"", "How long an invalid token is not asked about again.").live("\"3s\""),
        default("timeout", WAIT, "\"2s\"", "For one question; then the request is answered 503.").live("\"1s\""),
    ],
};

static SESSION: Shape = Shape {
    doc: "Where the monolith says whose session a cookie is.",
    keys: &[
        required(
            "url",
            Kind::Url,
            "Asked with GET and the cookies below; 2xx is a session, 401, 403 and 404 are none.",
        )
        .live("\"http://127.0.0.1:3000/session\""),
        required("cookies", SOME_TEXTS, "Names of the cookies that make a session.")
            .live("[\"sid\"]"),
        default(
            "subject",
            Kind::Pointer,
            "\"/subject\"",
            "JSON pointer of the subject (text or integer) in the answer.",
        )
        .live("\"/user/id\""),
        default("cache", WAIT, "\"30s\"", "How long a session is not asked about again.")
            .live("\"20s\""),
        default(
            "negative",
            WAIT,
            "\"5s\"",
            "How long cookies without session are not asked about.",
        )
        .live("\"3s\""),
        default("timeout", WAIT, "\"2s\"", "For one question; then the request is answered 503.")
            .live("\"1s\""),
    ],
};

static IDENTITY: Shape = Shape {
    doc: "The signed header by which upstreams know who asks.",
    keys: &[
        required(
            "keys",
            Kind::List { of: &Kind::Secret, min: 1 },
            "Private Ed25519 keys (PEM, PKCS#8). The first signs, the public halves of all are served at \
             `/identity/jwks.json` of the admin address: put a new key last, then first, then drop the old.",
        ).live("[\"file:/run/secrets/identity.pem\"]"),
        default("issuer", Kind::Text, "\"ficus\"", "Claim `iss` of the header.").live("\"shop-gateway\""),
        default(
            "claims",
            TEXTS,
            "[]",
            "Claims of the token that are told, too, where it has them; `sub` and `scope` always are.",
        ).live("[\"email\", \"role\"]"),
        default("ttl", WAIT, "\"1m\"", "How long one header is valid (claim `exp`).").live("\"30s\""),
    ],
};

static POLICY: Shape = Shape {
    doc: "What the gateway asks of requests and does to them.",
    keys: &[
        default(
            "allow",
            NETWORKS,
            "[]",
            "Networks whose requests pass. When given, all others are refused with 403.",
        ).live("[\"10.0.0.0/8\"]"),
        default(
            "deny",
            NETWORKS,
            "[]",
            "Networks whose requests are refused with 403. Of `allow` and `deny` the longest prefix \
             decides, `deny` where both have it.",
        ).live("[\"10.6.0.0/16\", \"192.0.2.7\"]"),
        optional(
            "token",
            Kind::Table(&TOKEN),
            "Ask for a bearer token; none is asked for without.",
        ).live("{ issuers = [\"main\"], scopes = [\"tickets:read\"] }"),
        optional(
            "session",
            Kind::Name,
            "Ask the monolith whose session it is, where there is no token: a key of `sessions`.",
        ).live("\"web\""),
        default(
            "identity",
            Kind::Switch,
            "false",
            "Tell the upstream who asks in the signed header `Ficus-Identity`.",
        ).live("true"),
        optional(
            "limit",
            Kind::Table(&LIMIT),
            "How many requests one subject may send; all without.",
        ).live("{ requests = 100, per = \"1m\", burst = 20 }"),
        optional(
            "cors",
            Kind::Table(&CORS),
            "Let pages of other origins ask; not touched without.",
        ).live("{ origins = [\"https://shop.example\"], credentials = true }"),
        default(
            "request",
            Kind::Table(&HEADERS),
            "{}",
            "Header fields of the request to the upstream.",
        ).live("{ set = { x-tenant = \"shop\" } }"),
        default("response", Kind::Table(&HEADERS), "{}", "Header fields of the answer.").live("{ remove = [\"x-powered-by\"] }"),
        default("path", Kind::Table(&PATH), "{}", "The path as the upstream gets it.").live("{ strip = \"/shop\", prefix = \"/v2\" }"),
        ANSWERS[0],
        ANSWERS[1],
        ANSWERS[2],
        default(
            "hygiene",
            Kind::Choice(&["block", "detect", "off"]),
            "\"block\"",
            "What is done with a request that carries the signature of an attack in its path, query or \
             common header fields: refuse it with 403, only count it, or do not look.",
        ).live("\"detect\""),
        attack_rules::of_policy(),
    ],
};

const ANSWERS: [Key; 3] = answers::of_policy();

static TOKEN: Shape = Shape {
    doc: "What is asked of a bearer token.",
    keys: &[
        default(
            "issuers",
            Kind::List { of: &Kind::Name, min: 0 },
            "[]",
            "Whose tokens (JWT) are accepted: keys of `issuers`.",
        ).live("[\"main\"]"),
        optional(
            "introspection",
            Kind::Name,
            "Who is asked about tokens that are none of these issuers': a key of `introspections`.",
        ).live("\"partner\""),
        default(
            "cookies",
            TEXTS,
            "[]",
            "Cookies that may carry the token where there is no `Authorization` field, in this order.",
        ).live("[\"sid\"]"),
        default(
            "required",
            Kind::Switch,
            "true",
            "Refuse requests without token with 401. A token that is there and not valid is always refused.",
        ).live("false"),
        default("scopes", TEXTS, "[]", "Scopes the token must all have (403 without).").live("[\"tickets:read\"]"),
        default("claims", Kind::Pairs, "{}", "Claim = text it must have or contain (403 without).").live("{ tenant = \"shop\" }"),
    ],
};

static LIMIT: Shape = Shape {
    doc: "How many requests one subject may send. A request counts once, whatever it leads to.",
    keys: &[
        required(
            "requests",
            Kind::Count { min: 1, max: 10_000_000 },
            "Requests within `per`, spread evenly.",
        )
        .live("100")
        .counting("requests"),
        required("per", WAIT, "The time they are for, at most one day.").live("\"1m\""),
        optional(
            "burst",
            Kind::Count { min: 1, max: 10_000_000 },
            "Requests that may come at once; as many as `requests` when not given.",
        )
        .live("20")
        .counting("requests"),
        default(
            "by",
            Kind::List { of: &Kind::Subject, min: 1 },
            "[\"jwt:sub\", \"ip\"]",
            "Whose requests are counted together; the first that is there wins. `jwt:` counts only \
             when the policy has verified it; headers and cookies are what the client says.",
        )
        .live("[\"header:x-api-key\", \"ip\"]"),
        answers::of_limit(),
    ],
};

static CORS: Shape = Shape {
    doc: "Which pages of other origins may ask (CORS). The proxy answers preflights.",
    keys: &[
        required(
            "origins",
            SOME_TEXTS,
            "Origins as browsers send them (`https://shop.example`), or `*` alone for every origin.",
        ).live("[\"https://shop.example\"]"),
        default(
            "methods",
            SOME_TEXTS,
            "[\"GET\", \"HEAD\", \"POST\", \"PUT\", \"PATCH\", \"DELETE\"]",
            "Methods they may use.",
        ).live("[\"GET\", \"POST\"]"),
        default("headers", TEXTS, "[]", "Request header fields they may send.").live("[\"authorization\", \"content-type\"]"),
        default("expose", TEXTS, "[]", "Response header fields they may read.").live("[\"x-total\"]"),
        default("credentials", Kind::Switch, "false", "Cookies may be sent; not with origin `*`.").live("true"),
        default(
            "max_age",
            Kind::Duration { zero: true },
            "\"10m\"",
            "How long browsers keep the answer to a preflight.",
        ).live("\"1h\""),
    ],
};

static HEADERS: Shape = Shape {
    doc: "Changes of header fields: first `remove`, then `set`, then `add`.",
    keys: &[
        default("remove", TEXTS, "[]", "Fields that are taken away.").live("[\"x-debug\"]"),
        default("set", Kind::Pairs, "{}", "Field = value, instead of all it had.")
            .live("{ x-tenant = \"shop\" }"),
        default("add", Kind::Pairs, "{}", "Field = value, beside what it had.")
            .live("{ x-tag = \"shop\" }"),
    ],
};

static PATH: Shape = Shape {
    doc: "The path as the upstream gets it: first `strip`, then `prefix`. Routes match the path as it came.",
    keys: &[
        optional(
            "strip",
            Kind::UrlPath,
            "Whole segments taken from the front of the path, where it has them.",
        )
        .live("\"/shop\""),
        optional("prefix", Kind::UrlPath, "Put in front of the path.").live("\"/v2\""),
    ],
};
