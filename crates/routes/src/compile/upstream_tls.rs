//! Reads how an upstream is spoken to.

use std::path::PathBuf;

use crate::{ClientCertificate, Protocol, UpstreamTls, Verify, field::Field, reader::Section};

/// The outer `None`: it has a problem.
pub(super) fn tls(section: &Section<'_>) -> Option<Option<UpstreamTls>> {
    match section.optional_table("tls") {
        None => None,
        Some(None) => Some(None),
        Some(Some(section)) => written(&section).map(Some),
    }
}

fn written(section: &Section<'_>) -> Option<UpstreamTls> {
    let server_name = section.read("server_name", Field::text);
    let path = |name| section.read_optional(name, |field| field.text().map(PathBuf::from));
    let (ca, cert, key) = (path("ca"), path("cert"), path("key"));
    let verify = section.read("verify", |field| field.parsed(Verify::parse));
    let client = match (cert?, key?) {
        (Some(cert), Some(key)) => Some(ClientCertificate { cert, key }),
        (None, None) => None,
        (given, _) => {
            let name = if given.is_some() { "cert" } else { "key" };
            let message = "a certificate is of no use without its key, and a key without it";
            section.reader.report(
                &section.at(name),
                message,
                "write both cert and key, or neither",
            );
            return None;
        }
    };
    Some(UpstreamTls { server_name: server_name?, ca: ca?, client, verify: verify? })
}

/// `auto` needs the TLS handshake to find out.
pub(super) fn protocol(section: &Section<'_>, has_tls: bool) -> Option<Protocol> {
    let protocol = section.read("protocol", |field| field.parsed(Protocol::parse))?;
    if protocol == Protocol::Auto && !has_tls {
        let message = "only a TLS handshake can tell what the upstream speaks, and there is none";
        section.reader.report(
            &section.at("protocol"),
            message,
            "write \"http1\" or \"http2\", or add tls = { server_name = \"…\" }",
        );
    }
    Some(protocol)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, config::sample};

    fn with(keys: &str) -> Result<Config, String> {
        let text = sample::text(&["GET /a"]);
        let peers = "peers = [\"127.0.0.1:7101\"]\n";
        sample::parse(&text.replacen(peers, &format!("{peers}{keys}\n"), 1))
            .map_err(|problems| problems.first().expect("a problem").to_string())
    }

    #[test]
    fn plain_http_1_is_spoken_unless_the_file_says_otherwise() {
        let config = with("").expect("valid");
        let upstream = &config.upstreams["service"];
        assert_eq!((&upstream.tls, upstream.protocol), (&None, Protocol::Http1));
    }

    #[test]
    fn certificates_are_checked_in_full_unless_the_file_says_otherwise() {
        let config = with("tls = { server_name = \"a.example\" }\nprotocol = \"auto\"");
        let upstream = config.expect("valid").upstreams["service"].clone();
        let verify = upstream.tls.as_ref().map(|tls| tls.verify);
        assert_eq!((verify, upstream.protocol), (Some(Verify::Full), Protocol::Auto));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_a_remedy() {
        let unnamed = with("tls = {}").expect_err("refused");
        assert!(unnamed.contains("tls.server_name: is missing"), "{unnamed}");
        let half = with("tls = { server_name = \"a\", key = \"k.pem\" }").expect_err("refused");
        assert!(half.contains("tls.key: a certificate is of no use without its key"), "{half}");
        let auto = with("protocol = \"auto\"").expect_err("refused");
        assert!(auto.contains("write \"http1\" or \"http2\""), "{auto}");
    }
}
