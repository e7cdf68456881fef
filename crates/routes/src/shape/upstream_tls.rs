//! The keys of `[upstreams.NAME]` about TLS.

use super::{
    Kind, Shape,
    key::{default, optional, required},
};

pub(super) static TLS: Shape = Shape {
    doc: "TLS 1.2 or 1.3 to the upstream. The files are looked at every second; new connections use what changed, requests under way go on.",
    keys: &[
        required(
            "server_name",
            Kind::Text,
            "Name or IP address that the upstream's certificate must be for; a name is also sent as SNI.",
        )
        .live("\"ticket.internal\""),
        optional(
            "ca",
            Kind::Text,
            "File of PEM certificates that the upstream's is checked against; those of the system when not given.",
        )
        .live("\"/etc/ficus/upstream-ca.pem\""),
        optional(
            "cert",
            Kind::Text,
            "File of the PEM certificate chain shown to the upstream, with `key`; none is shown when not given.",
        )
        .live("\"/etc/ficus/proxy.pem\""),
        optional("key", Kind::Text, "File of the PEM private key of `cert`.")
            .live("\"/etc/ficus/proxy.key\""),
        default(
            "verify",
            Kind::Choice(&["full", "chain", "none"]),
            "\"full\"",
            "What is checked: the signer and the name, only the signer, or nothing, so that anybody on the way can read and change everything.",
        )
        .live("\"full\""),
    ],
};
