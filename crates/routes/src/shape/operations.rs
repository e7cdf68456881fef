//! The keys of `[proxy]` about running one process.

use super::{
    Key, Kind, Shape,
    key::{WAIT, default, optional},
};

pub(super) const HANDOVER: Key = optional(
    "handover",
    Kind::Text,
    "Path of a Unix socket, in a folder only this user writes to, by which `ficus proxy --upgrade` takes \
     the listening sockets over from the process that runs. None when not given.",
)
.restart("\"/run/ficus/handover.sock\"");

pub(super) const LAME_DUCK: Key = default(
    "lame_duck",
    Kind::Duration { zero: true },
    "\"500ms\"",
    "After being told to stop, not ready any more: how long requests are still served, with \
     `Connection: close`. At least the interval in which a balancer looks at the readiness.",
)
.restart("\"5s\"");

pub(super) const DRAIN: Key = default(
    "drain",
    WAIT,
    "\"10s\"",
    "After that: how long requests that began may take before their connections are cut.",
)
.restart("\"30s\"");

pub(super) const SHED: Key = default(
    "shed",
    Kind::Table(&SHED_SHAPE),
    "{}",
    "The load above which requests are answered 503 with `Retry-After`; shadows already end at 80 % of it.",
)
.live("{ requests = 5000, memory = \"512MiB\" }");

static SHED_SHAPE: Shape = Shape {
    doc: "The load above which requests are refused.",
    keys: &[
        default(
            "requests",
            Kind::Count { min: 1, max: 10_000_000 },
            "20000",
            "Requests under way at the same time, held ones included.",
        )
        .live("5000")
        .counting("requests"),
        optional(
            "memory",
            Kind::Size,
            "Resident memory of the process, looked at four times a second. No limit when not given.",
        )
        .live("\"512MiB\""),
    ],
};

pub(super) const ACCESS_LOG: Key = default(
    "access_log",
    Kind::Table(&ACCESS_LOG_SHAPE),
    "{}",
    "Which requests are logged, as JSON lines, and where.",
)
.live("{ sample = 0.01, slow = \"500ms\" }");

static ACCESS_LOG_SHAPE: Shape = Shape {
    doc: "Which requests are logged, and where. Requests that failed (5xx, or left without an answer) and \
          slow ones always are.",
    keys: &[
        default("sample", Kind::Fraction, "1.0", "Share of the other requests that is logged, 0 to 1.")
            .live("0.01")
            .counting("share, 0 to 1"),
        default("slow", WAIT, "\"1s\"", "Requests that take so long are slow.").live("\"500ms\""),
        optional(
            "file",
            Kind::Text,
            "File the lines are appended to; SIGHUP begins a new one after the old one was moved away. \
             The process's log (standard error) when not given.",
        )
        .restart("\"/var/log/ficus/access.log\""),
    ],
};
