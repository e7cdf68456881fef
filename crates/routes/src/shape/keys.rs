//! The file itself: its parts, in the order of the documentation.

use super::{
    Key, Kind, Shape, answers,
    capability::CAPABILITY,
    cdc::CDC,
    control::CONTROL,
    key::{default, optional, required},
    policies,
    proxy::PROXY,
    upstreams::UPSTREAM,
    versions,
};

pub(crate) static FILE: Shape = Shape {
    doc: "What Ficus moves from a monolith to services, and how.",
    keys: &[
        required("version", Kind::Count { min: 1, max: 1 }, "Version of this format: 1.").restart("1").counting("no unit"),
        default("proxy", Kind::Table(&PROXY), "{}", "The data plane.").live("{ subject = [\"header:x-api-key\", \"ip\"] }"),
        optional(
            "control",
            Kind::Table(&CONTROL),
            "Migration state. Without it Ficus is a plain proxy and everything stays with the monolith.",
        ).restart("{ database = \"${FICUS_CONTROL_URL}\" }"),
        default("cdc", Kind::Table(&CDC), "{}", "The replicator.").restart("{ copy_workers = 4 }"),
        required(
            "upstreams",
            Kind::Named(&UPSTREAM),
            "Places requests are sent to. `monolith` must be one of them.",
        ).live("{ monolith = { peers = [\"127.0.0.1:3000\"] } }"),
        default("capabilities", Kind::Named(&CAPABILITY), "{}", "What moves.").live("{ tickets = { upstream = \"ticket\" } }"),
        GATEWAY[0],
        GATEWAY[1],
        GATEWAY[2],
        GATEWAY[3],
        GATEWAY[4],
        GATEWAY[5],
        SHARED_LIMITS,
        versions::of_file(),
    ],
};

const GATEWAY: [Key; 6] = policies::of_file();
const SHARED_LIMITS: Key = answers::of_file();
