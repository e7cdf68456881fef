//! The tables and keys themselves, in the order of the documentation.

use super::{Key, Kind, Presence, Shape};

const WAIT: Kind = Kind::Duration { zero: false };

const fn required(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { name, kind, presence: Presence::Required, doc }
}

const fn optional(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { name, kind, presence: Presence::Optional, doc }
}

const fn default(name: &'static str, kind: Kind, value: &'static str, doc: &'static str) -> Key {
    Key { name, kind, presence: Presence::Default(value), doc }
}

pub(crate) static FILE: Shape = Shape {
    doc: "What Ficus moves from a monolith to services, and how.",
    keys: &[
        required("version", Kind::Count { min: 1, max: 1 }, "Version of this format: 1."),
        default("proxy", Kind::Table(&PROXY), "{}", "The data plane."),
        optional(
            "control",
            Kind::Table(&CONTROL),
            "Migration state. Without it Ficus is a plain proxy and everything stays with the monolith.",
        ),
        default("cdc", Kind::Table(&CDC), "{}", "The replicator."),
        required(
            "upstreams",
            Kind::Named(&UPSTREAM),
            "Places requests are sent to. `monolith` must be one of them.",
        ),
        default("capabilities", Kind::Named(&CAPABILITY), "{}", "What moves."),
    ],
};

static PROXY: Shape = Shape {
    doc: "The data plane. Addresses need a restart.",
    keys: &[
        default(
            "listen",
            Kind::List { of: &Kind::Address, min: 1 },
            "[\"127.0.0.1:8080\"]",
            "Where downstreams connect: HTTP/1.1 and HTTP/2 without TLS on one port.",
        ),
        default("admin", Kind::Address, "\"127.0.0.1:9901\"", "Health, readiness and metrics."),
        default(
            "subject",
            Kind::List { of: &Kind::Subject, min: 1 },
            "[\"ip\"]",
            "Where the stable identity of a client is taken from; the first that is there wins.",
        ),
        optional(
            "state_file",
            Kind::Text,
            "File that keeps the last route table over a restart while control is away.",
        ),
    ],
};

static CONTROL: Shape = Shape {
    doc: "Where intent, journal and history are kept.",
    keys: &[
        required("database", Kind::Secret, "Address of the control store (PostgreSQL)."),
        default("listen", Kind::Address, "\"127.0.0.1:9900\"", "JSON API and dashboard."),
        default("grpc", Kind::Address, "\"127.0.0.1:9902\"", "gRPC for proxies."),
    ],
};

static CDC: Shape = Shape {
    doc: "The replicator.",
    keys: &[
        default("grpc", Kind::Address, "\"127.0.0.1:9903\"", "gRPC for control and proxies."),
        default("admin", Kind::Address, "\"127.0.0.1:9904\"", "Health, readiness and metrics."),
        default(
            "copy_workers",
            Kind::Count { min: 1, max: 64 },
            "2",
            "Connections that copy tables in parallel, on each side.",
        ),
        default(
            "wal_budget",
            Kind::Size,
            "\"10GiB\"",
            "Log that the database a stream reads from may keep for the stream. A warning from half of it, an alarm from 80 %.",
        ),
        default(
            "wal_last_resort",
            Kind::Choice(&["drop_slot", "keep"]),
            "\"drop_slot\"",
            "What is done when the budget is exhausted: give the stream up and drop its slot, so that the log does not fill the disk, or only raise the alarm.",
        ),
        default(
            "failover_slots",
            Kind::Switch,
            "true",
            "Make slots that survive a failover to a standby, where the server can (PostgreSQL 17).",
        ),
        default(
            "verify_every",
            Kind::Duration { zero: true },
            "\"6h\"",
            "How long after one comparison of both sides in the background the next begins; `0s`: never.",
        ),
        default(
            "verify_rate",
            Kind::Count { min: 1, max: 100_000_000 },
            "20000",
            "Rows a second that a comparison in the background reads at most, on each side.",
        ),
        default(
            "copy",
            Kind::Choice(&["snapshot", "chunks"]),
            "\"snapshot\"",
            "How tables are copied first: `snapshot` is fastest and starts over when interrupted, `chunks` goes on where it was.",
        ),
        default(
            "chunk_rows",
            Kind::Count { min: 1, max: 1_000_000 },
            "10000",
            "Rows of one chunk, where a table is copied in chunks: first, or again by `ficus table resync`.",
        ),
        default(
            "parked_max",
            Kind::Size,
            "\"1GiB\"",
            "Changes that one stream keeps for tables that wait for an operator; beyond it only a resync helps.",
        ),
    ],
};

static UPSTREAM: Shape = Shape {
    doc: "A place requests are sent to.",
    keys: &[
        required(
            "peers",
            Kind::List { of: &Kind::Address, min: 1 },
            "Addresses, used in turn. Names are not resolved.",
        ),
        optional(
            "database",
            Kind::Secret,
            "What the replicator logs in with: role `ficus_applier`, or a superuser that may become it.",
        ),
        optional(
            "owner_database",
            Kind::Secret,
            "The role that owns the tables, used by `ficus start` and for the indexes that are built after \
             a copy (`options=-c maintenance_work_mem=...` speeds them up); `database` when not given.",
        ),
        default("timeouts", Kind::Table(&TIMEOUTS), "{}", "Limits of one request."),
        optional("health", Kind::Table(&HEALTH), "Active health check; none when not given."),
    ],
};

static TIMEOUTS: Shape = Shape {
    doc: "Limits of one request.",
    keys: &[
        default("connect", WAIT, "\"500ms\"", "TCP connect."),
        default("read", WAIT, "\"30s\"", "Between two reads of a response."),
        default("idle", WAIT, "\"50s\"", "How long an idle connection is kept."),
    ],
};

static HEALTH: Shape = Shape {
    doc: "Active health check.",
    keys: &[
        default("path", Kind::UrlPath, "\"/health\"", "Asked with GET; 2xx is healthy."),
        default("every", WAIT, "\"2s\"", "Time between two checks."),
        default(
            "fall",
            Kind::Count { min: 1, max: 100 },
            "3",
            "Failures in a row until a peer is taken out.",
        ),
        default(
            "rise",
            Kind::Count { min: 1, max: 100 },
            "2",
            "Successes in a row until it is used again.",
        ),
    ],
};

static CAPABILITY: Shape = Shape {
    doc: "What moves: routes, and the tables behind them.",
    keys: &[
        required("upstream", Kind::Name, "The service that takes it; a key of `upstreams`."),
        default("shift", Kind::Table(&SHIFT), "{}", "How reads are moved."),
        default("abort", Kind::Table(&ABORT), "{}", "When reads are taken back by themselves."),
        default("fence", Kind::Table(&FENCE), "{}", "Limits of a transfer."),
        default("reverse", Kind::Table(&REVERSE), "{}", "The way back."),
        default("routes", Kind::Tables(&ROUTE), "[]", "Requests that belong to the capability."),
        default("tables", Kind::Tables(&TABLE), "[]", "Tables whose writes move with it."),
        default(
            "references",
            Kind::Tables(&REFERENCE),
            "[]",
            "Tables the monolith keeps owning and the service reads: copied one way, for ever.",
        ),
    ],
};

static SHIFT: Shape = Shape {
    doc: "How reads are moved.",
    keys: &[
        default(
            "steps",
            Kind::List { of: &Kind::Count { min: 1, max: 100 }, min: 1 },
            "[1, 10, 50, 100]",
            "Growing percentages of the subjects, ending with 100.",
        ),
        default("every", WAIT, "\"10m\"", "Time between two automatic steps."),
    ],
};

static ABORT: Shape = Shape {
    doc: "When reads are taken back by themselves.",
    keys: &[
        default(
            "error_delta",
            Kind::Percent,
            "\"1%\"",
            "By how much the service's share of errors may exceed the monolith's.",
        ),
        default(
            "p99_ratio",
            Kind::Ratio,
            "1.5",
            "How many times the monolith's p99 the service's may be.",
        ),
        default(
            "mismatch",
            Kind::Percent,
            "\"0.1%\"",
            "Share of compared answers that may differ.",
        ),
        default(
            "max_lag",
            WAIT,
            "\"2s\"",
            "Above this lag reads go back to the monolith and a cutover is refused.",
        ),
    ],
};

static FENCE: Shape = Shape {
    doc: "Limits of a transfer.",
    keys: &[
        default(
            "hold",
            WAIT,
            "\"10s\"",
            "Longest time a write is held before it is answered 503; also the deadline of the fence.",
        ),
        default(
            "max_held",
            Kind::Count { min: 1, max: 1_000_000 },
            "2000",
            "Writes held at the same time, for each proxy.",
        ),
        default(
            "lock_timeout",
            WAIT,
            "\"500ms\"",
            "How long one attempt waits for the table locks.",
        ),
    ],
};

static REVERSE: Shape = Shape {
    doc: "The way back.",
    keys: &[default(
        "soak",
        Kind::Duration { zero: true },
        "\"7d\"",
        "How long the way back stays open before `ficus complete` is allowed.",
    )],
};

static ROUTE: Shape = Shape {
    doc: "Requests that belong to a capability.",
    keys: &[
        required(
            "match",
            Kind::Match,
            "Method (or `*`) and path; `{id}` matches one segment, `{*rest}` all that follow. The most specific wins.",
        ),
        optional(
            "effect",
            Kind::Effect,
            "What the route does to the capability's tables. GET, HEAD and OPTIONS read, all others write.",
        ),
        optional(
            "shadow",
            Kind::Table(&SHADOW),
            "Ask the service too and compare the answers. Only for reads by GET, HEAD or OPTIONS.",
        ),
    ],
};

static SHADOW: Shape = Shape {
    doc: "How answers are compared.",
    keys: &[
        default(
            "sample",
            Kind::Fraction,
            "1.0",
            "Share of the requests that are compared, 0 to 1.",
        ),
        default(
            "ignore",
            Kind::List { of: &Kind::Pointer, min: 0 },
            "[]",
            "JSON pointers whose values are not compared; `*` stands for every element or member.",
        ),
        default(
            "unordered",
            Kind::List { of: &Kind::Unordered, min: 0 },
            "[]",
            "Arrays whose order does not matter, and the pointer of the key within an element.",
        ),
        default("max_body", Kind::Size, "\"1MiB\"", "Longer answers are not compared."),
    ],
};

static TABLE: Shape = Shape {
    doc: "A table that moves.",
    keys: &[
        required("source", Kind::TableName, "In the monolith's database."),
        required("target", Kind::TableName, "In the service's database."),
        default(
            "columns",
            Kind::Columns,
            "{}",
            "Source column = target column; the rest keep their names.",
        ),
        default(
            "omit",
            Kind::List { of: &Kind::Text, min: 0 },
            "[]",
            "Source columns that have no counterpart.",
        ),
        optional("where", Kind::Text, "Rows that move: an SQL condition over the source row."),
        default("set", Kind::Columns, "{}", "Target column = SQL expression over the source row."),
        default(
            "reverse",
            Kind::Columns,
            "{}",
            "Source column = SQL expression over the target row, for the way back.",
        ),
    ],
};

static REFERENCE: Shape = Shape {
    doc: "A table that is copied one way, for ever.",
    keys: &[
        required("source", Kind::TableName, "In the monolith's database."),
        required("target", Kind::TableName, "In the service's database."),
        default(
            "columns",
            Kind::Columns,
            "{}",
            "Source column = target column; the rest keep their names.",
        ),
        default(
            "omit",
            Kind::List { of: &Kind::Text, min: 0 },
            "[]",
            "Source columns that are not copied.",
        ),
        optional("where", Kind::Text, "Rows to copy: an SQL condition over the source row."),
        default("set", Kind::Columns, "{}", "Target column = SQL expression over the source row."),
    ],
};
