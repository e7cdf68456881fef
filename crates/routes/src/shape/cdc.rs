//! `[cdc]`

use super::{Kind, Shape, key::default};

pub(super) static CDC: Shape = Shape {
    doc: "The replicator.",
    keys: &[
        default("grpc", Kind::Address, "\"127.0.0.1:9903\"", "gRPC for control and proxies.").restart("\"10.0.0.6:9903\""),
        default("admin", Kind::Address, "\"127.0.0.1:9904\"", "Health, readiness and metrics.").restart("\"127.0.0.1:9904\""),
        default(
            "copy_workers",
            Kind::Count { min: 1, max: 64 },
            "2",
            "Connections that copy tables in parallel, on each side.",
        ).restart("4").counting("connections"),
        default(
            "wal_budget",
            Kind::Size,
            "\"10GiB\"",
            "Log that the database a stream reads from may keep for the stream. A warning from half of it, an alarm from 80 %.",
        ).restart("\"20GiB\""),
        default(
            "wal_last_resort",
            Kind::Choice(&["drop_slot", "keep"]),
            "\"drop_slot\"",
            "What is done when the budget is exhausted: give the stream up and drop its slot, so that the log does not fill the disk, or only raise the alarm.",
        ).restart("\"keep\""),
        default(
            "failover_slots",
            Kind::Switch,
            "true",
            "Make slots that survive a failover to a standby, where the server can (PostgreSQL 17).",
        ).restart("false"),
        default(
            "verify_every",
            Kind::Duration { zero: true },
            "\"6h\"",
            "How long after one comparison of both sides in the background the next begins; `0s`: never.",
        ).restart("\"12h\""),
        default(
            "verify_rate",
            Kind::Count { min: 1, max: 100_000_000 },
            "20000",
            "Rows a second that a comparison in the background reads at most, on each side.",
        ).restart("50000").counting("rows a second"),
        default(
            "copy",
            Kind::Choice(&["snapshot", "chunks"]),
            "\"snapshot\"",
            "How tables are copied first: `snapshot` is fastest and starts over when interrupted, `chunks` goes on where it was.",
        ).restart("\"chunks\""),
        default(
            "chunk_rows",
            Kind::Count { min: 1, max: 1_000_000 },
            "10000",
            "Rows of one chunk, where a table is copied in chunks: first, or again by `ficus table resync`.",
        ).restart("5000").counting("rows"),
        default(
            "parked_max",
            Kind::Size,
            "\"1GiB\"",
            "Changes that one stream keeps for tables that wait for an operator; beyond it only a resync helps.",
        ).restart("\"2GiB\""),
    ],
};
