//! `[upstreams.NAME]`

use super::{
    Kind, Shape,
    key::{WAIT, default, optional, required},
};

pub(super) static UPSTREAM: Shape = Shape {
    doc: "A place requests are sent to.",
    keys: &[
        required(
            "peers",
            Kind::List { of: &Kind::Address, min: 1 },
            "Addresses, used in turn. Names are not resolved.",
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
    ],
};

static TIMEOUTS: Shape = Shape {
    doc: "Limits of one request.",
    keys: &[
        default("connect", WAIT, "\"500ms\"", "TCP connect.").live("\"1s\""),
        default("read", WAIT, "\"30s\"", "Between two reads of a response.").live("\"2m\""),
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
