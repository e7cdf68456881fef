//! The keys of `[upstreams.NAME]` about choosing peers, leaving them out and asking again.

use super::{
    Kind, Shape,
    key::{WAIT, default},
};

pub(super) static EJECTION: Shape = Shape {
    doc: "When one peer is left out because of its answers: none came, or 502, 503 or 504.",
    keys: &[
        default(
            "failures",
            Kind::Count { min: 1, max: 10_000 },
            "5",
            "Failures in a row until a peer is left out.",
        )
        .live("5").counting("failures"),
        default(
            "error_share",
            Kind::Percent,
            "\"50%\"",
            "Share of failed requests within one window from which a peer is left out.",
        )
        .live("\"50%\""),
        default(
            "min_requests",
            Kind::Count { min: 1, max: 60_000 },
            "20",
            "Requests a peer must have had in a window before `error_share` counts.",
        )
        .live("20").counting("requests"),
        default("window", WAIT, "\"10s\"", "Length of one window.")
        .live("\"10s\""),
        default(
            "time",
            WAIT,
            "\"10s\"",
            "How long a peer is left out the first time; doubles each time, until a window as long as `max_time` has passed without.",
        )
        .live("\"10s\""),
        default("max_time", WAIT, "\"5m\"", "Longest time a peer is left out.")
        .live("\"5m\""),
        default(
            "max_share",
            Kind::Percent,
            "\"50%\"",
            "Share of the peers that may be left out at once, rounded down: a single peer never is. `0%` turns this off.",
        )
        .live("\"50%\""),
    ],
};

pub(super) static BREAKER: Shape = Shape {
    doc: "When the upstream is not asked for a while; counted for reads and for writes apart.",
    keys: &[
        default(
            "failures",
            Kind::Count { min: 1, max: 10_000 },
            "20",
            "Failures in a row until it opens: no answer came, or 502, 503 or 504.",
        )
        .live("20").counting("failures"),
        default(
            "open",
            WAIT,
            "\"5s\"",
            "How long nothing is sent: reads fall back to the monolith where it owns the data, everything else is answered 503.",
        )
        .live("\"5s\""),
        default(
            "probes",
            Kind::Count { min: 1, max: 1_000 },
            "3",
            "Requests let through afterwards; when all succeed it closes, when one fails it opens again.",
        )
        .live("3").counting("requests"),
    ],
};

pub(super) static RETRY: Shape = Shape {
    doc: "When a request is sent once more: when it was never sent, or when it is a read that got no answer. A write that may have been executed never is.",
    keys: &[
        default(
            "attempts",
            Kind::Count { min: 0, max: 5 },
            "2",
            "How often one request is sent again; 0 is never.",
        )
        .live("2")
        .counting("times"),
        default(
            "budget",
            Kind::Percent,
            "\"20%\"",
            "Requests sent again as a share of all requests to the upstream, after the first ten.",
        )
        .live("\"20%\""),
        default(
            "backoff",
            WAIT,
            "\"25ms\"",
            "Longest wait before the first time; doubles each time. A random part of it is waited.",
        )
        .live("\"25ms\""),
    ],
};

pub(super) static LIMITS: Shape = Shape {
    doc: "How many requests one proxy sends to the upstream at once.",
    keys: &[
        default(
            "requests",
            Kind::Count { min: 1, max: 1_000_000 },
            "1000",
            "Requests under way at once; over HTTP/1 this is the number of connections.",
        )
        .live("1000")
        .counting("requests"),
        default(
            "pending",
            Kind::Count { min: 0, max: 1_000_000 },
            "1000",
            "Requests that wait for their turn; more are answered 503 at once.",
        )
        .live("1000")
        .counting("requests"),
        default("wait", WAIT, "\"1s\"", "Longest time a request waits before it is answered 503.")
            .live("\"1s\""),
    ],
};
