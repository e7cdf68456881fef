//! `[upstreams.NAME]`

use super::{
    Kind, Shape,
    key::{WAIT, default, optional, required},
    resilience::{BREAKER, EJECTION, LIMITS, RETRY},
    upstream_tls::TLS,
};

pub(super) static UPSTREAM: Shape = Shape {
    doc: "A place requests are sent to.",
    keys: &[
        required(
            "peers",
            Kind::List { of: &Kind::Address, min: 1 },
            "Addresses. Names are not resolved.",
        )
        .live("[\"10.0.0.1:7101\", \"10.0.0.2:7101\"]"),
        optional(
            "database",
            Kind::Secret,
            "What the replicator logs in with: role `ficus_applier`, or a superuser that may become it.",
        )
        .restart("\"${TICKET_DATABASE_URL}\""),
        optional(
            "owner_database",
            Kind::Secret,
            "The role that owns the tables, used by `ficus start` and for the indexes that are built after \
             a copy (`options=-c maintenance_work_mem=...` speeds them up); `database` when not given.",
        )
        .restart("\"file:/run/secrets/ticket_owner\""),
        default("timeouts", Kind::Table(&TIMEOUTS), "{}", "Limits of one request.")
            .live("{ connect = \"500ms\", read = \"30s\", idle = \"50s\" }"),
        optional("health", Kind::Table(&HEALTH), "Active health check; none when not given.")
            .live("{ path = \"/health\", every = \"2s\" }"),
        optional("tls", Kind::Table(&TLS), "TLS to the peers; none when not given.")
            .live("{ server_name = \"ticket.internal\" }"),
        default(
            "protocol",
            Kind::Choice(&["http1", "http2", "auto"]),
            "\"http1\"",
            "HTTP/1.1, HTTP/2 alone (by ALPN with TLS, with prior knowledge without; gRPC needs it), or with TLS whichever of them the upstream prefers.",
        )
        .live("\"http2\""),
        default(
            "balance",
            Kind::Balance,
            "\"least_loaded\"",
            "Which peer a request goes to: the less loaded of two random ones (`least_loaded`), or always the same one \
             for the same `subject`, `header:NAME` or `cookie:NAME`; without such a value the less loaded one.",
        )
        .live("\"header:x-tenant\""),
        default(
            "slow_start",
            Kind::Duration { zero: true },
            "\"10s\"",
            "How long a peer that comes back gets less than its share, growing from a tenth of it; `0s`: its full share at once.",
        )
        .live("\"30s\""),
        default(
            "ejection",
            Kind::Table(&EJECTION),
            "{}",
            "When one peer is left out because of its answers.",
        )
        .live("{ failures = 5, time = \"10s\" }"),
        optional(
            "breaker",
            Kind::Table(&BREAKER),
            "When the upstream is not asked for a while; it is always asked when not given.",
        )
        .live("{ failures = 20, open = \"5s\" }"),
        default("retry", Kind::Table(&RETRY), "{}", "When a request is sent once more.")
            .live("{ attempts = 1 }"),
        optional(
            "limits",
            Kind::Table(&LIMITS),
            "How many requests one proxy sends to the upstream at once; any number when not given.",
        )
        .live("{ requests = 1000, pending = 100 }"),
    ],
};

static TIMEOUTS: Shape = Shape {
    doc: "Limits of one request.",
    keys: &[
        default("connect", WAIT, "\"500ms\"", "TCP connect.").live("\"1s\""),
        default("tls", WAIT, "\"2s\"", "TLS handshake, after `connect`.").live("\"5s\""),
        default("send", WAIT, "\"30s\"", "Between two writes of a request.").live("\"1m\""),
        default(
            "read",
            WAIT,
            "\"30s\"",
            "Until the first byte of a response, and between two reads of it.",
        )
        .live("\"2m\""),
        default(
            "total",
            Kind::Duration { zero: true },
            "\"0s\"",
            "From the first attempt to the end of the response, looked at with each part of it; `0s`: no limit, which streams and WebSockets need.",
        )
        .live("\"5m\""),
        default(
            "idle",
            WAIT,
            "\"50s\"",
            "How long an idle connection is kept; less than the upstream keeps it.",
        )
        .live("\"4s\""),
    ],
};

static HEALTH: Shape = Shape {
    doc: "Active health check.",
    keys: &[
        default("path", Kind::UrlPath, "\"/health\"", "Asked with GET; 2xx is healthy.")
            .live("\"/readyz\""),
        default("every", WAIT, "\"2s\"", "Time between two checks.").live("\"5s\""),
        default(
            "fall",
            Kind::Count { min: 1, max: 100 },
            "3",
            "Failures in a row until a peer is taken out.",
        )
        .live("3")
        .counting("checks"),
        default(
            "rise",
            Kind::Count { min: 1, max: 100 },
            "2",
            "Successes in a row until it is used again.",
        )
        .live("2")
        .counting("checks"),
    ],
};
