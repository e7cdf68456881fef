//! `[capabilities.NAME]`

use super::{
    Kind, Shape,
    key::{WAIT, default, required},
    mapping::{REFERENCE, TABLE},
    route::ROUTE,
};

pub(super) static CAPABILITY: Shape = Shape {
    doc: "What moves: routes, and the tables behind them.",
    keys: &[
        required("upstream", Kind::Name, "The service that takes it; a key of `upstreams`.")
            .live("\"ticket\""),
        default("shift", Kind::Table(&SHIFT), "{}", "How reads are moved.")
            .restart("{ steps = [5, 50, 100], every = \"1h\" }"),
        default("abort", Kind::Table(&ABORT), "{}", "When reads are taken back by themselves.")
            .restart("{ error_delta = \"2%\", p99_ratio = 2.0 }"),
        default("fence", Kind::Table(&FENCE), "{}", "Limits of a transfer.")
            .restart("{ hold = \"5s\" }"),
        default("reverse", Kind::Table(&REVERSE), "{}", "The way back.")
            .restart("{ soak = \"14d\" }"),
        default("routes", Kind::Tables(&ROUTE), "[]", "Requests that belong to the capability.")
            .live("[{ match = \"GET /api/v1/tickets/{id}\" }]"),
        default("tables", Kind::Tables(&TABLE), "[]", "Tables whose writes move with it.")
            .restart("[{ source = \"public.ticket\", target = \"public.tickets\" }]"),
        default(
            "references",
            Kind::Tables(&REFERENCE),
            "[]",
            "Tables the monolith keeps owning and the service reads: copied one way, for ever.",
        )
        .restart("[{ source = \"public.queue\", target = \"public.queues\" }]"),
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
        )
        .restart("[5, 25, 100]")
        .counting("percent of the subjects"),
        default("every", WAIT, "\"10m\"", "Time between two automatic steps.").restart("\"1h\""),
        default(
            "cool_down",
            Kind::Duration { zero: true },
            "\"15m\"",
            "How long automatic steps wait after they took the reads back, before they begin again.",
        )
        .restart("\"1h\""),
        default(
            "retries",
            Kind::Count { min: 0, max: 100 },
            "2",
            "How often automatic steps begin again by themselves after they took the reads back; then they \
             wait for `ficus shift NAME auto`.",
        )
        .restart("1")
        .counting("steps back"),
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
        )
        .restart("\"2%\""),
        default(
            "p99_ratio",
            Kind::Ratio,
            "1.5",
            "How many times the monolith's p99 the service's may be.",
        )
        .restart("2.0")
        .counting("times the monolith's p99"),
        default(
            "mismatch",
            Kind::Percent,
            "\"0.1%\"",
            "Share of compared answers that may differ.",
        )
        .restart("\"0.5%\""),
        default(
            "coverage",
            Kind::Percent,
            "\"80%\"",
            "Share of the shadowed answers that must have been compared; with less automatic steps wait.",
        )
        .restart("\"95%\""),
        default(
            "max_lag",
            WAIT,
            "\"2s\"",
            "Above this lag reads go back to the monolith and a cutover is refused.",
        )
        .restart("\"5s\""),
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
        ).restart("\"5s\""),
        default(
            "max_held",
            Kind::Count { min: 1, max: 1_000_000 },
            "2000",
            "Writes held at the same time, for each proxy.",
        ).live("500").counting("requests"),
        default(
            "lock_timeout",
            WAIT,
            "\"500ms\"",
            "How long one attempt waits for the table locks.",
        ).restart("\"300ms\""),
    ],
};

static REVERSE: Shape = Shape {
    doc: "The way back.",
    keys: &[default(
        "soak",
        Kind::Duration { zero: true },
        "\"7d\"",
        "How long the way back stays open before `ficus complete` is allowed.",
    )
    .restart("\"14d\"")],
};
