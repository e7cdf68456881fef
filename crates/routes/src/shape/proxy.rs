//! `[proxy]`

use super::{
    Kind, Shape, answers, edge,
    key::{default, optional},
    operations, policies,
};

pub(super) static PROXY: Shape = Shape {
    doc: "The data plane. Addresses need a restart.",
    keys: &[
        default(
            "listen",
            Kind::List { of: &Kind::Address, min: 1 },
            "[\"127.0.0.1:8080\"]",
            "Where downstreams connect: HTTP/1.1 and HTTP/2 without TLS on one port.",
        )
        .restart("[\"0.0.0.0:8080\", \"[::]:8080\"]"),
        default("admin", Kind::Address, "\"127.0.0.1:9901\"", "Health, readiness and metrics.")
            .restart("\"127.0.0.1:9901\""),
        default(
            "subject",
            Kind::List { of: &Kind::Subject, min: 1 },
            "[\"ip\"]",
            "Where the stable identity of a client is taken from; the first that is there wins.",
        )
        .live("[\"jwt:sub\", \"cookie:session_id\", \"header:x-api-key\", \"ip\"]"),
        optional(
            "state_file",
            Kind::Text,
            "File that keeps the last route table over a restart while control is away.",
        )
        .restart("\"/var/lib/ficus/routes.state\""),
        default("tls", Kind::Tables(&edge::TLS), "[]", "More addresses, with TLS.").restart(
            "[{ listen = \"0.0.0.0:8443\", certificates = [{ cert = \"tls/cert.pem\", key = \"tls/key.pem\" }] }]",
        ),
        default(
            "trusted_proxies",
            Kind::List { of: &Kind::Network, min: 0 },
            "[]",
            "Networks of proxies in front whose `X-Forwarded-For`, `X-Forwarded-Proto`, `X-Forwarded-Host` and \
             `Forwarded` are believed. The client is the right-most hop that is in none of them.",
        )
        .live("[\"10.0.0.0/8\", \"fd00::/8\"]"),
        default("limits", Kind::Table(&edge::LIMITS), "{}", "What one downstream may take.")
            .live("{ head = \"5s\", max_body = \"100MiB\", connections_per_client = 200 }"),
        policies::policy_of_proxy(),
        answers::of_proxy(),
        operations::HANDOVER,
        operations::LAME_DUCK,
        operations::DRAIN,
        operations::SHED,
        operations::ACCESS_LOG,
    ],
};
