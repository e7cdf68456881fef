//! TLS and HTTP/2 to upstreams: what is checked, what is shown, and what happens when it changes.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use anyhow::Context;
use http::{Response, StatusCode, Version};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use proxy::Reloaded;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SerialNumber};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use crate::world::{BOUND, Setup, World};

/// What the server saw of one request.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    version: Version,
    path: String,
    /// The client's certificate, in DER.
    client: Vec<u8>,
}

type Log = Arc<Mutex<Vec<Seen>>>;

/// A signer, and a folder with what it signed.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("ca.pem"), issuer.pem())?;
        Ok(Self { issuer, folder })
    }

    /// A certificate for a name, and its key.
    fn sign(&self, name: &str, serial: u64) -> anyhow::Result<(rcgen::Certificate, KeyPair)> {
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.serial_number = Some(SerialNumber::from(serial));
        let key = KeyPair::generate()?;
        Ok((params.signed_by(&key, &self.issuer)?, key))
    }

    /// Writes a client certificate over the one before; returns it in DER.
    fn write_client(&self, serial: u64) -> anyhow::Result<Vec<u8>> {
        let (certificate, key) = self.sign("proxy", serial)?;
        std::fs::write(self.path("proxy.pem"), certificate.pem())?;
        std::fs::write(self.path("proxy.key"), key.serialize_pem())?;
        Ok(certificate.der().to_vec())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Serves as `ticket.internal` to clients with a certificate of this authority.
    async fn serve(&self, alpn: &[&[u8]]) -> anyhow::Result<(SocketAddr, Log)> {
        let (certificate, key) = self.sign("ticket.internal", 1)?;
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier.build()?)
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )?;
        config.alpn_protocols = alpn.iter().map(|it| it.to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, log) = (listener.local_addr()?, Log::default());
        let seen = Arc::clone(&log);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let shown = stream.get_ref().1.peer_certificates();
                    let client = shown.and_then(|chain| chain.first()).map(|it| it.to_vec());
                    answer(stream, client.unwrap_or_default(), seen).await;
                });
            }
        });
        Ok((address, log))
    }

    /// The `tls` key with these members added.
    fn keys(&self, server_name: &str, more: &str) -> String {
        let text = |path: &Path| format!("{:?}", path.display().to_string());
        format!(
            "tls = {{ server_name = \"{server_name}\", ca = {}, cert = {}, key = {}{more} }}",
            text(&self.path("ca.pem")),
            text(&self.path("proxy.pem")),
            text(&self.path("proxy.key"))
        )
    }
}

/// Answers HTTP/1.1 and HTTP/2.
async fn answer<S>(stream: S, client: Vec<u8>, log: Log)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: http::Request<Incoming>| {
        let path = request.uri().path().to_owned();
        let seen = Seen { version: request.version(), path, client: client.clone() };
        log.lock().expect("no panic").push(seen);
        async { Ok::<_, std::convert::Infallible>(Response::new(Full::<bytes::Bytes>::from("{}"))) }
    });
    let served = auto::Builder::new(TokioExecutor::new());
    // a proxy that drops the connection ends this with an error, which is no failure
    let _ended = served.serve_connection(TokioIo::new(stream), service).await;
}

/// The monolith is this server from now on.
async fn use_upstream(world: &World, address: SocketAddr, keys: &str) -> anyhow::Result<Reloaded> {
    let from = format!("peers = [\"{}\"]", world.monolith.address);
    let text = world.text().replace(&from, &format!("peers = [\"{address}\"]\n{keys}"));
    std::fs::write(world.path(), text)?;
    Ok(world.proxy.reload.reload().await?)
}

fn last(log: &Log) -> anyhow::Result<Seen> {
    log.lock().expect("no panic").last().cloned().context("nothing was asked")
}

async fn status(world: &World) -> anyhow::Result<StatusCode> {
    Ok(world.get("/api/v1/users").await?.status())
}

#[tokio::test]
async fn an_upstream_is_checked_and_shown_the_certificate() -> anyhow::Result<()> {
    let (world, authority) = (World::start(Setup::default()).await?, Authority::new()?);
    let shown = authority.write_client(7)?;
    let (address, log) = authority.serve(&[]).await?;
    use_upstream(&world, address, &authority.keys("ticket.internal", "")).await?;
    assert_eq!(status(&world).await?, StatusCode::OK);
    assert_eq!((last(&log)?.client, last(&log)?.version), (shown, Version::HTTP_11));
    Ok(())
}

#[tokio::test]
async fn an_upstream_of_another_name_or_signer_gets_no_request() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    let (authority, stranger) = (Authority::new()?, Authority::new()?);
    authority.write_client(7)?;
    let (address, log) = authority.serve(&[]).await?;
    use_upstream(&world, address, &authority.keys("users.internal", "")).await?;
    assert_eq!(status(&world).await?, StatusCode::BAD_GATEWAY);
    let keys = authority.keys("ticket.internal", "");
    let of_stranger = keys.replace(
        &authority.path("ca.pem").display().to_string(),
        &stranger.path("ca.pem").display().to_string(),
    );
    use_upstream(&world, address, &of_stranger).await?;
    assert_eq!(status(&world).await?, StatusCode::BAD_GATEWAY);
    assert!(log.lock().expect("no panic").is_empty());
    // only the signer is checked
    use_upstream(&world, address, &authority.keys("users.internal", ", verify = \"chain\""))
        .await?;
    assert_eq!(status(&world).await?, StatusCode::OK);
    use_upstream(&world, address, &of_stranger.replace(" }", ", verify = \"none\" }")).await?;
    assert_eq!(status(&world).await?, StatusCode::OK);
    Ok(())
}

#[tokio::test]
async fn a_new_client_certificate_is_used_without_a_failed_request() -> anyhow::Result<()> {
    let (world, authority) = (World::start(Setup::default()).await?, Authority::new()?);
    authority.write_client(7)?;
    let (address, log) = authority.serve(&[b"h2"]).await?;
    let keys = format!("protocol = \"http2\"\n{}", authority.keys("ticket.internal", ""));
    use_upstream(&world, address, &keys).await?;
    assert_eq!(status(&world).await?, StatusCode::OK);
    let new = authority.write_client(8)?;
    let look = || async {
        anyhow::ensure!(status(&world).await? == StatusCode::OK, "a request failed");
        Ok((last(&log)?.client == new).then_some(()))
    };
    testkit::wait_until(BOUND, look).await
}

#[tokio::test]
async fn files_that_cannot_be_used_leave_the_old_configuration_and_certificates()
-> anyhow::Result<()> {
    let (world, authority) = (World::start(Setup::default()).await?, Authority::new()?);
    let (address, log) = authority.serve(&[]).await?;
    let keys = authority.keys("ticket.internal", "");
    let missing = use_upstream(&world, address, &keys).await?;
    let Reloaded::Unreadable(why) = missing else { anyhow::bail!("taken: {missing:?}") };
    assert!(why.contains("proxy.pem; is the file there and readable?"), "{why}");
    authority.write_client(7)?;
    let (_, other_key) = authority.sign("proxy", 9)?;
    std::fs::write(authority.path("proxy.key"), other_key.serialize_pem())?;
    let Reloaded::Unreadable(why) = use_upstream(&world, address, &keys).await? else {
        anyhow::bail!("a key of another certificate was taken");
    };
    assert!(why.contains("the key does not belong to the certificate"), "{why}");
    authority.write_client(7)?;
    std::fs::write(
        authority.path("ca.pem"),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )?;
    let Reloaded::Unreadable(why) = use_upstream(&world, address, &keys).await? else {
        anyhow::bail!("a broken certificate was taken");
    };
    assert!(why.contains("holds no usable certificates in PEM"), "{why}");
    assert_eq!(status(&world).await?, StatusCode::OK);
    assert!(log.lock().expect("no panic").is_empty());
    Ok(())
}

#[tokio::test]
async fn the_version_is_the_one_asked_for_or_the_one_that_was_negotiated() -> anyhow::Result<()> {
    let (world, authority) = (World::start(Setup::default()).await?, Authority::new()?);
    authority.write_client(7)?;
    let tls = authority.keys("ticket.internal", "");
    let both: &[&[u8]] = &[b"h2", b"http/1.1"];
    for (alpn, protocol, expected) in [
        (both, "http2", Version::HTTP_2),
        (both, "auto", Version::HTTP_2),
        (both, "http1", Version::HTTP_11),
        (&both[1..], "auto", Version::HTTP_11),
    ] {
        let (address, log) = authority.serve(alpn).await?;
        use_upstream(&world, address, &format!("protocol = \"{protocol}\"\n{tls}")).await?;
        assert_eq!(status(&world).await?, StatusCode::OK, "{protocol}");
        let posted = world.client.post(world.url("/api/v1/users")).body("{}").send().await?;
        assert_eq!(posted.status(), StatusCode::OK, "{protocol}");
        assert_eq!(last(&log)?.version, expected, "{protocol}");
    }
    Ok(())
}

#[tokio::test]
async fn http_2_without_tls_is_spoken_with_prior_knowledge() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (address, log) = (listener.local_addr()?, Log::default());
    let seen = Arc::clone(&log);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, Vec::new(), Arc::clone(&seen)));
        }
    });
    use_upstream(&world, address, "protocol = \"http2\"").await?;
    assert_eq!(status(&world).await?, StatusCode::OK);
    assert_eq!(last(&log)?.version, Version::HTTP_2);
    Ok(())
}

#[tokio::test]
async fn health_checks_use_the_same_tls_and_version_as_requests() -> anyhow::Result<()> {
    let (world, authority) = (World::start(Setup::default()).await?, Authority::new()?);
    let shown = authority.write_client(7)?;
    let (address, log) = authority.serve(&[b"h2"]).await?;
    let tls = authority.keys("ticket.internal", "");
    let health = "health = { path = \"/well\", every = \"100ms\" }";
    use_upstream(&world, address, &format!("protocol = \"http2\"\n{tls}\n{health}")).await?;
    let expected = Seen { version: Version::HTTP_2, path: "/well".to_owned(), client: shown };
    let look = || async {
        let log = log.lock().expect("no panic");
        Ok((log.iter().filter(|seen| **seen == expected).count() > 1).then_some(()))
    };
    testkit::wait_until(BOUND, look).await
}
