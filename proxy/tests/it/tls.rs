//! TLS towards downstreams, with certificates made here.

use std::{net::SocketAddr, path::Path, sync::Arc};

use anyhow::Context;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    },
};

use crate::world::{BOUND, Setup, World, header};

/// An authority that signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    pem: String,
}

/// A certificate and its key, in PEM.
struct Pair {
    cert: String,
    key: String,
}

impl Authority {
    fn new() -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let (der, pem) = (certificate.der().clone(), certificate.pem());
        Ok(Self { issuer: Issuer::new(params, key), der, pem })
    }

    fn sign(&self, name: &str) -> anyhow::Result<Pair> {
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &self.issuer)?;
        Ok(Pair { cert: cert.pem(), key: key.serialize_pem() })
    }
}

impl Pair {
    fn write(&self, folder: &Path, name: &str) -> anyhow::Result<String> {
        let (cert, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
        std::fs::write(&cert, &self.cert)?;
        std::fs::write(&key, &self.key)?;
        Ok(format!("{{ cert = {cert:?}, key = {key:?} }}"))
    }

    fn is_shown_by(&self, stream: &TlsStream<TcpStream>) -> anyhow::Result<bool> {
        let shown = stream.get_ref().1.peer_certificates().context("a certificate")?;
        Ok(shown.first() == Some(&CertificateDer::from_pem_slice(self.cert.as_bytes())?))
    }
}

async fn world(certificates: &[String], more: &str) -> anyhow::Result<World> {
    let certificates = certificates.join(", ");
    let proxy =
        format!("tls = [{{ listen = \"127.0.0.1:0\", certificates = [{certificates}]{more} }}]");
    World::start(Setup { has_control: false, proxy, ..Setup::default() }).await
}

async fn connect(
    address: SocketAddr,
    authority: &Authority,
    name: &str,
    alpn: &[u8],
    client: Option<&Pair>,
) -> anyhow::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der.clone())?;
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let chain = vec![CertificateDer::from_pem_slice(pair.cert.as_bytes())?];
            builder
                .with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(pair.key.as_bytes())?)?
        }
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name.to_owned())?;
    Ok(TlsConnector::from(Arc::new(config)).connect(name, stream).await?)
}

async fn get(mut stream: TlsStream<TcpStream>) -> anyhow::Result<String> {
    let request = b"GET /api/v1/users HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await?;
    let mut answer = String::new();
    tokio::time::timeout(BOUND, stream.read_to_string(&mut answer))
        .await
        .context("no answer")??;
    Ok(answer)
}

#[tokio::test]
async fn both_versions_of_http_are_served_over_tls() -> anyhow::Result<()> {
    let (authority, folder) = (Authority::new()?, tempfile::tempdir()?);
    let pair = authority.sign("shop.example")?;
    let world = world(&[pair.write(folder.path(), "shop")?], "").await?;
    let address = world.proxy.last;
    let stream = connect(address, &authority, "shop.example", b"http/1.1", None).await?;
    assert!(get(stream).await?.starts_with("HTTP/1.1 200 "));
    let stream = connect(address, &authority, "shop.example", b"h2", None).await?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request =
        http::Request::get("https://shop.example/api/v1/users").body(Empty::<&[u8]>::new())?;
    let answer = sender.send_request(request).await?;
    assert_eq!((answer.status().as_u16(), answer.version()), (200, http::Version::HTTP_2));
    assert_eq!(answer.into_body().collect().await?.to_bytes(), "{}");
    for seen in world.monolith.seen().iter() {
        assert_eq!(header(&seen.headers, "x-forwarded-proto"), "https");
        assert_eq!(header(&seen.headers, "x-forwarded-host"), "shop.example");
    }
    assert_eq!(world.monolith.count(), 2);
    Ok(())
}

#[tokio::test]
async fn the_certificate_follows_the_name_that_is_asked_for() -> anyhow::Result<()> {
    let (authority, folder) = (Authority::new()?, tempfile::tempdir()?);
    let (shop, desk) = (authority.sign("shop.example")?, authority.sign("desk.example")?);
    let written = [shop.write(folder.path(), "shop")?, desk.write(folder.path(), "desk")?];
    let world = world(&written, "").await?;
    for (name, pair) in [("shop.example", &shop), ("desk.example", &desk)] {
        let stream = connect(world.proxy.last, &authority, name, b"http/1.1", None).await?;
        assert!(pair.is_shown_by(&stream)?, "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn changed_certificates_are_taken_over_and_connections_stay() -> anyhow::Result<()> {
    let (authority, folder) = (Authority::new()?, tempfile::tempdir()?);
    let old = authority.sign("shop.example")?;
    let world = world(&[old.write(folder.path(), "shop")?], "").await?;
    let address = world.proxy.last;
    let kept = connect(address, &authority, "shop.example", b"http/1.1", None).await?;
    assert!(old.is_shown_by(&kept)?);
    std::fs::write(folder.path().join("shop.pem"), "no certificate")?;
    let new = authority.sign("shop.example")?;
    new.write(folder.path(), "shop")?;
    let look = || async {
        let stream = connect(address, &authority, "shop.example", b"http/1.1", None).await?;
        Ok(new.is_shown_by(&stream)?.then_some(()))
    };
    testkit::wait_until(BOUND, look).await?;
    assert!(get(kept).await?.starts_with("HTTP/1.1 200 "));
    Ok(())
}

#[tokio::test]
async fn a_client_certificate_is_demanded_verified_and_told_to_upstreams() -> anyhow::Result<()> {
    let (authority, stranger, folder) =
        (Authority::new()?, Authority::new()?, tempfile::tempdir()?);
    let pair = authority.sign("shop.example")?;
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, &authority.pem)?;
    let world =
        world(&[pair.write(folder.path(), "shop")?], &format!(", client_ca = {ca:?}")).await?;
    let address = world.proxy.last;
    let client = authority.sign("billing")?;
    let stream = connect(address, &authority, "shop.example", b"http/1.1", Some(&client)).await?;
    assert!(get(stream).await?.starts_with("HTTP/1.1 200 "));
    let seen = world.monolith.seen()[0].clone();
    assert!(
        header(&seen.headers, "ficus-client-subject").contains("CN=billing"),
        "{:?}",
        seen.headers
    );
    assert!(header(&seen.headers, "client-cert").starts_with(":MII"), "{:?}", seen.headers);
    let foreign = stranger.sign("billing")?;
    for shown in [None, Some(&foreign)] {
        // TLS 1.3 tells the client only after its side of the handshake.
        let refused = match connect(address, &authority, "shop.example", b"http/1.1", shown).await {
            Ok(stream) => get(stream).await.is_err(),
            Err(_) => true,
        };
        assert!(refused);
    }
    assert_eq!(world.monolith.count(), 1);
    Ok(())
}
