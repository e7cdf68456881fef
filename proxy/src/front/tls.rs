//! TLS towards downstreams: certificates by name, read again when their files change. Connections that
//! are open keep what they began with.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::HeaderValue;
use pingora::protocols::tls::SslDigest;
use routes::{ClientAuth, TlsListen};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// TLS on one address.
pub(crate) struct Tls {
    listen: TlsListen,
    current: ArcSwap<ServerConfig>,
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is no PEM of what it should hold.
    #[error("cannot read {what} from {path}; is the path right, and may this user read it?")]
    File {
        /// Certificate, key or client authority.
        what: &'static str,
        /// As configured.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// A file holds none.
    #[error("{path} holds no certificate; write the chain in PEM")]
    Empty {
        /// As configured.
        path: PathBuf,
    },
    /// Certificate and key do not belong together, or neither can be used.
    #[error("{path} cannot be used with its key; do they belong together?")]
    Unusable {
        /// Of the certificate.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The authority for clients cannot be used.
    #[error("{path} cannot be used as client_ca")]
    ClientCa {
        /// As configured.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::server::VerifierBuilderError,
    },
    /// No version or cipher is left.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// What the certificate of a client says, as headers for upstreams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientCertificate {
    /// The certificate, as RFC 9440 writes it.
    pub(crate) encoded: HeaderValue,
    /// Its subject, as RFC 4514 writes it; none when it is no visible ASCII.
    pub(crate) subject: Option<HeaderValue>,
}

/// All certificates of an address, the first for who asks for none of them.
#[derive(Debug)]
struct Certificates(Vec<Arc<CertifiedKey>>);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("listen", &self.listen).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// When one of them cannot be used.
    pub(crate) fn load(listen: TlsListen) -> Result<Self, TlsError> {
        let current = ArcSwap::from(server_config(&listen)?);
        Ok(Self { listen, current })
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load_full())
    }

    /// Reads the files again whenever they change, until `end`. Files that cannot be used change nothing.
    pub(crate) async fn keep_current(self: Arc<Self>, end: CancellationToken) {
        let mut known = stamps(&self.listen);
        loop {
            tokio::select! {
                () = end.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let now = stamps(&self.listen);
            if now == known {
                continue;
            }
            let listen = self.listen.clone();
            let read = tokio::task::spawn_blocking(move || server_config(&listen)).await;
            let listen = self.listen.listen;
            match read {
                Ok(Ok(config)) => {
                    self.current.store(config);
                    tracing::info!(%listen, "took over changed certificates");
                }
                Ok(Err(error)) => {
                    let error = telemetry::Chain(&error).to_string();
                    tracing::error!(%listen, error, "the changed certificates cannot be used; the old ones stay");
                }
                Err(error) => tracing::error!(%listen, %error, "reading certificates failed"),
            }
            known = now;
        }
    }
}

fn files(listen: &TlsListen) -> impl Iterator<Item = &Path> {
    let pairs = listen.certificates.iter().flat_map(|pair| [&pair.cert, &pair.key]);
    pairs.chain(&listen.client_ca).map(PathBuf::as_path)
}

/// Changes when a file does, links followed.
fn stamps(listen: &TlsListen) -> Vec<Option<(SystemTime, u64)>> {
    let stamp = |file: &Path| {
        let metadata = fs::metadata(file).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    files(listen).map(stamp).collect()
}

fn server_config(listen: &TlsListen) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let keys = listen.certificates.iter().map(|pair| certified(&pair.cert, &pair.key, &provider));
    let certificates = Certificates(keys.collect::<Result<_, _>>()?);
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(TlsError::Setup)?;
    let builder = match &listen.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(chain(path, "the client authority")?);
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = match listen.client_auth {
                ClientAuth::Required => verifier,
                ClientAuth::Optional => verifier.allow_unauthenticated(),
            };
            let refused = |source| TlsError::ClientCa { path: path.clone(), source };
            builder.with_client_cert_verifier(verifier.build().map_err(refused)?)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(certificates));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn chain(path: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::File { what, path: path.to_owned(), source };
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(failed)?
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    match found.is_empty() {
        true => Err(TlsError::Empty { path: path.to_owned() }),
        false => Ok(found),
    }
}

fn certified(
    cert: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = chain(cert, "the certificate")?;
    let failed = |source| TlsError::File { what: "the key", path: key.to_owned(), source };
    let key = PrivateKeyDer::from_pem_file(key).map_err(failed)?;
    let unusable = |source| TlsError::Unusable { path: cert.to_owned(), source };
    CertifiedKey::from_der(chain, key, provider).map(Arc::new).map_err(unusable)
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked =
            hello.server_name().and_then(|name| rustls::pki_types::ServerName::try_from(name).ok());
        let matching = asked.and_then(|name| {
            self.0.iter().find(|key| {
                let end_entity = key.end_entity_cert().ok();
                let parsed = end_entity
                    .and_then(|cert| rustls::server::ParsedCertificate::try_from(cert).ok());
                parsed.is_some_and(|cert| rustls::client::verify_server_name(&cert, &name).is_ok())
            })
        });
        matching.or_else(|| self.0.first()).cloned()
    }
}

impl ClientCertificate {
    fn of(der: &CertificateDer<'_>) -> Option<Self> {
        let encoded = format!(":{}:", STANDARD.encode(der));
        let subject = x509_parser::parse_x509_certificate(der)
            .ok()
            .map(|(_, certificate)| certificate.subject().to_string())
            .filter(|subject| subject.bytes().all(|byte| matches!(byte, b' '..=b'~')));
        Some(Self {
            encoded: HeaderValue::from_str(&encoded).ok()?,
            subject: subject.and_then(|subject| HeaderValue::from_str(&subject).ok()),
        })
    }
}

/// What was agreed in a handshake.
pub(super) struct Agreed {
    pub(super) digest: Arc<SslDigest>,
    pub(super) is_http2: bool,
    pub(super) client: Option<Arc<ClientCertificate>>,
}

impl Agreed {
    pub(super) fn of(connection: &rustls::ServerConnection) -> io::Result<Self> {
        let version = connection.protocol_version().and_then(|version| version.as_str());
        let suite = connection.negotiated_cipher_suite();
        let cipher = suite.and_then(|suite| suite.suite().as_str()).unwrap_or("unknown");
        let digest = SslDigest::new(cipher, version.unwrap_or("unknown"), None, None, Vec::new());
        let shown = connection.peer_certificates().and_then(<[_]>::first);
        let client = shown.map(|der| {
            let unreadable =
                || io::Error::new(io::ErrorKind::InvalidData, "the client's certificate");
            ClientCertificate::of(der).map(Arc::new).ok_or_else(unreadable)
        });
        Ok(Self {
            digest: Arc::new(digest),
            is_http2: connection.alpn_protocol() == Some(b"h2"),
            client: client.transpose()?,
        })
    }
}
