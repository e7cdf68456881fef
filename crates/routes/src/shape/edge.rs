//! Keys of the side that faces downstreams: TLS, trusted hops, limits.

use super::{
    Kind, Shape,
    key::{WAIT, default, optional, required},
};

pub(super) static TLS: Shape = Shape {
    doc: "An address with TLS: HTTP/1.1 and HTTP/2, chosen by ALPN; TLS 1.2 and 1.3.",
    keys: &[
        required("listen", Kind::Address, "Where downstreams connect with TLS.").restart("\"0.0.0.0:8443\""),
        required(
            "certificates",
            Kind::Tables(&CERTIFICATE),
            "At least one. The first whose names match what the client asks for (SNI) is used, else the first of all. \
             The files are read again when they change; connections stay.",
        ).restart("[{ cert = \"tls/cert.pem\", key = \"tls/key.pem\" }]"),
        optional(
            "client_ca",
            Kind::Text,
            "File with the certificates (PEM) that sign those of clients. Without it clients are not asked for one.",
        ).restart("\"tls/clients.pem\""),
        default(
            "client_auth",
            Kind::Choice(&["required", "optional"]),
            "\"required\"",
            "With `client_ca`: whether a client without a certificate is let in. The certificate reaches upstreams as `Client-Cert` (RFC 9440), its subject as `Ficus-Client-Subject`.",
        ).restart("\"optional\""),
    ],
};

static CERTIFICATE: Shape = Shape {
    doc: "A certificate and its key.",
    keys: &[
        required(
            "cert",
            Kind::Text,
            "File with the chain (PEM), the server's own certificate first.",
        )
        .restart("\"tls/cert.pem\""),
        required("key", Kind::Text, "File with the private key (PEM).").restart("\"tls/key.pem\""),
    ],
};

pub(super) static LIMITS: Shape = Shape {
    doc: "What one downstream may take. They hold for new connections after a reload.",
    keys: &[
        default(
            "head",
            WAIT,
            "\"10s\"",
            "Longest time from the first byte of a request to the end of its head; also of a TLS handshake.",
        ).live("\"5s\""),
        default("idle", WAIT, "\"60s\"", "How long a connection without a request is kept.").live("\"30s\""),
        default(
            "body_idle",
            WAIT,
            "\"30s\"",
            "Longest time between two pieces of a request's body while the proxy waits for them.",
        ).live("\"10s\""),
        default(
            "body_rate",
            Kind::Size,
            "\"256B\"",
            "Least bytes a second of a request's body, over the time the proxy waits for it, after the first 10 s; `0B`: no limit.",
        ).live("\"1KiB\""),
        default(
            "write",
            WAIT,
            "\"60s\"",
            "Longest time a downstream may refuse to take a piece of an answer.",
        ).live("\"30s\""),
        default(
            "max_body",
            Kind::Size,
            "\"1GiB\"",
            "Longest body of a request, unless its route says otherwise; more is answered 413.",
        ).live("\"100MiB\""),
        default(
            "requests_per_connection",
            Kind::Count { min: 1, max: 1_000_000_000 },
            "10000",
            "Requests of one HTTP/1.1 connection; the last is answered with `Connection: close`.",
        ).live("1000").counting("requests"),
        default(
            "connections",
            Kind::Count { min: 1, max: 1_000_000 },
            "40000",
            "Open connections; more are closed at once.",
        ).live("5000").counting("connections"),
        default(
            "connections_per_client",
            Kind::Count { min: 1, max: 1_000_000 },
            "10000",
            "Open connections of one address, or of one /64 network of IPv6; trusted proxies are not counted.",
        ).live("200").counting("connections"),
    ],
};
