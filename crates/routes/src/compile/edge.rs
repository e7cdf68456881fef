//! Compiles what faces downstreams.

use crate::{Certificate, ClientAuth, Limits, TlsListen, field::Field, reader::Section, scalar};

pub(super) fn tls(section: &Section<'_>) -> Option<TlsListen> {
    let listen = section.read("listen", super::address);
    let certificates: Vec<_> = section.tables("certificates").iter().map(certificate).collect();
    if !section.is_written("certificates") {
        let remedy =
            "write for example certificates = [{ cert = \"tls/cert.pem\", key = \"tls/key.pem\" }]";
        section.reader.report(&section.at("certificates"), "is missing", remedy);
    }
    let client_ca = section.read_optional("client_ca", Field::text);
    let client_auth = section.read("client_auth", |field| {
        field.parsed(|text| match text {
            "required" => Some(ClientAuth::Required),
            "optional" => Some(ClientAuth::Optional),
            _ => None,
        })
    });
    Some(TlsListen {
        listen: listen?,
        certificates: certificates.into_iter().collect::<Option<_>>()?,
        client_ca: client_ca?.map(Into::into),
        client_auth: client_auth?,
    })
}

fn certificate(section: &Section<'_>) -> Option<Certificate> {
    let cert = section.read("cert", Field::text);
    let key = section.read("key", Field::text);
    Some(Certificate { cert: cert?.into(), key: key?.into() })
}

pub(super) fn limits(section: &Section<'_>) -> Option<Limits> {
    let head = section.read("head", Field::duration);
    let idle = section.read("idle", Field::duration);
    let body_idle = section.read("body_idle", Field::duration);
    let body_rate = section.read("body_rate", size);
    let write = section.read("write", Field::duration);
    let max_body = section.read("max_body", size);
    let requests_per_connection = section.read("requests_per_connection", Field::count);
    let connections = section.read("connections", Field::count);
    let connections_per_client = section.read("connections_per_client", Field::count);
    Some(Limits {
        head: head?,
        idle: idle?,
        body_idle: body_idle?,
        body_rate: body_rate?,
        write: write?,
        max_body: max_body?,
        requests_per_connection: requests_per_connection?,
        connections: connections?,
        connections_per_client: connections_per_client?,
    })
}

pub(super) fn size(field: &Field<'_>) -> Option<usize> {
    field.parsed(scalar::size)
}
