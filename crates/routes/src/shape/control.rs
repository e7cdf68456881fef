//! `[control]`

use super::{
    Kind, Shape,
    key::{default, required},
};

pub(super) static CONTROL: Shape = Shape {
    doc: "Where intent, journal and history are kept.",
    keys: &[
        required("database", Kind::Secret, "Address of the control store (PostgreSQL).")
            .restart("\"${FICUS_CONTROL_URL}\""),
        default("listen", Kind::Address, "\"127.0.0.1:9900\"", "JSON API and dashboard.")
            .restart("\"127.0.0.1:9900\""),
        default("grpc", Kind::Address, "\"127.0.0.1:9902\"", "gRPC for proxies.")
            .restart("\"10.0.0.5:9902\""),
    ],
};
