//! The keys of what the gateway does to bodies and with answers, and of limits that proxies share.

use super::{
    Key, Kind, Shape,
    key::{WAIT, default, optional, required},
};

/// `cache`, `request_body` and `response_body` of a policy.
pub(crate) const fn of_policy() -> [Key; 3] {
    [
        optional(
            "cache",
            Kind::Table(&CACHE),
            "Give answers to GET and HEAD again without asking the upstream, as RFC 9111 allows; none \
             without. Not while the capability is transferred or the answer is compared; after a write \
             of the capability (without one: of the policy) nothing kept before it is given.",
        ).live("{ fresh = \"5s\" }"),
        optional(
            "request_body",
            Kind::Table(&JSON),
            "Changes of JSON bodies on their way to the upstream; a body that is not JSON is answered 415.",
        ).live("{ remove = [\"/internal\"] }"),
        optional(
            "response_body",
            Kind::Table(&JSON),
            "Changes of JSON answers; answers of other types pass as they are.",
        ).live("{ rename = { \"/data/nr\" = \"number\" } }"),
    ]
}

/// `shared` of a limit.
pub(crate) const fn of_limit() -> Key {
    default(
        "shared",
        Kind::Switch,
        "false",
        "Count together with all proxies that use the same `shared_limits`.",
    )
    .live("true")
}

/// `[shared_limits]` of the file.
pub(crate) const fn of_file() -> Key {
    optional(
        "shared_limits",
        Kind::Table(&SHARED_LIMITS),
        "The Redis in which several proxies count together; needed for `limit.shared`.",
    )
    .live("{ redis = \"${REDIS_URL}\" }")
}

/// `answer_cache` of `[proxy]`.
pub(crate) const fn of_proxy() -> Key {
    default(
        "answer_cache",
        Kind::Size,
        "\"64MiB\"",
        "Memory for kept answers of policies with `cache`, heads and bodies; needs a restart.",
    )
    .restart("\"256MiB\"")
}

static CACHE: Shape = Shape {
    doc: "Which answers are given again.",
    keys: &[
        default(
            "fresh",
            Kind::Duration { zero: true },
            "\"0s\"",
            "How long a 200 is given again that says nothing about it itself (`Cache-Control`, \
             `Expires`); `0s`: such answers are not kept. Answers to requests with a token or a cookie \
             are kept only when the upstream calls them public.",
        ).live("\"5s\""),
        default("max_body", Kind::Size, "\"1MiB\"", "Answers with longer bodies are not kept.").live("\"64KiB\""),
    ],
};

static JSON: Shape = Shape {
    doc: "Changes of a JSON document: first `unwrap`, then `remove`, `rename` and `set`, then `wrap`.",
    keys: &[
        default(
            "max",
            Kind::Size,
            "\"1MiB\"",
            "Longest body: a longer request is answered 413, a longer answer 502.",
        )
        .live("\"256KiB\""),
        optional("unwrap", Kind::Pointer, "Pointer of the part that becomes the document.")
            .live("\"/data\""),
        default(
            "remove",
            Kind::List { of: &Kind::Pointer, min: 0 },
            "[]",
            "Pointers of members and elements that are taken out; `*` stands for all of them.",
        )
        .live("[\"/data/*/internal\"]"),
        default(
            "rename",
            Kind::Pairs,
            "{}",
            "Pointer = new name of the member, in the same object.",
        )
        .live("{ \"/data/nr\" = \"number\" }"),
        default(
            "set",
            Kind::Pairs,
            "{}",
            "Pointer = JSON text of its value (`'\"shop\"'`, `'1'`), also where it was not.",
        )
        .live("{ \"/source\" = '\"web\"' }"),
        optional("wrap", Kind::Text, "Member of a new object that the document becomes.")
            .live("\"data\""),
    ],
};

static SHARED_LIMITS: Shape = Shape {
    doc: "The Redis in which several proxies count together.",
    keys: &[
        required("redis", Kind::Secret, "Its address, `redis://[user:password@]host:port[/number]`.").live("\"${REDIS_URL}\""),
        default(
            "timeout",
            WAIT,
            "\"50ms\"",
            "Longest time a request waits for it. After a failure it is left alone for a second.",
        ).live("\"20ms\""),
        default(
            "on_failure",
            Kind::Choice(&["local", "allow", "refuse"]),
            "\"local\"",
            "What counts while it cannot be asked: this proxy's own count, nothing, or requests are \
             answered 503.",
        ).live("\"refuse\""),
    ],
};
