//! Certificates for connections to upstreams: read from files when the configuration is, and again
//! when the files change. New connections use the new ones; requests under way are left alone.

use std::{
    collections::BTreeMap,
    fmt,
    hash::Hasher,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use pingora::{
    protocols::tls::CaType,
    utils::tls::{CertKey, WrappedX509, parse_x509},
};
use routes::{Config, UpstreamTls};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use siphasher::sip::SipHasher13;
use telemetry::Chain;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::shared::Shared;

/// How often the files are read.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// By name of the upstream; only those with TLS.
pub(crate) type CredentialsByUpstream = BTreeMap<String, Arc<Credentials>>;

/// What one upstream is checked against, and what it is shown.
pub(crate) struct Credentials {
    pub(super) ca: Option<Arc<CaType>>,
    pub(super) client: Option<Arc<CertKey>>,
    /// Tells connections made with other files apart.
    pub(super) digest: u64,
}

/// The files of an upstream cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialsError {
    /// A file could not be read.
    #[error("upstreams.{upstream}.tls: cannot read {path}; is the file there and readable?")]
    Read {
        upstream: String,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A file does not hold what its key says.
    #[error("upstreams.{upstream}.tls: {path} holds no usable {what} in PEM")]
    Content { upstream: String, path: PathBuf, what: &'static str },
    /// The certificate was made for another key.
    #[error("upstreams.{upstream}.tls: the key does not belong to the certificate {path}")]
    Mismatch {
        upstream: String,
        path: PathBuf,
        #[source]
        source: rustls::Error,
    },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("digest", &self.digest).finish_non_exhaustive()
    }
}

/// Reads the files of all upstreams.
///
/// # Errors
/// When one of them cannot be used.
pub(crate) fn read_all(config: &Config) -> Result<CredentialsByUpstream, CredentialsError> {
    let with_tls = config.upstreams.iter().filter_map(|(name, it)| Some((name, it.tls.as_ref()?)));
    with_tls
        .map(|(name, tls)| Ok((name.clone(), Arc::new(Credentials::read(name, tls)?))))
        .collect()
}

impl Credentials {
    fn read(upstream: &str, tls: &UpstreamTls) -> Result<Self, CredentialsError> {
        let mut hasher = SipHasher13::new();
        let mut bytes = |path: &Path| {
            let read = std::fs::read(path).map_err(|source| CredentialsError::Read {
                upstream: upstream.to_owned(),
                path: path.to_owned(),
                source,
            })?;
            hasher.write(&read);
            hasher.write_u8(0xff);
            Ok::<_, CredentialsError>(read)
        };
        let ca = tls.ca.as_deref().map(|path| Ok((path, bytes(path)?))).transpose()?;
        let client = tls
            .client
            .as_ref()
            .map(|files| Ok((files, bytes(&files.cert)?, bytes(&files.key)?)))
            .transpose()?;
        let ca = match ca {
            Some((path, pem)) => Some(authorities(upstream, path, &pem)?),
            None => None,
        };
        let client = match client {
            Some((files, cert, key)) => Some(client_certificate(upstream, files, &cert, &key)?),
            None => None,
        };
        Ok(Self { ca, client, digest: hasher.finish() })
    }
}

fn authorities(upstream: &str, path: &Path, pem: &[u8]) -> Result<Arc<CaType>, CredentialsError> {
    let certificates = certificates(upstream, path, pem)?;
    let mut store = rustls::RootCertStore::empty();
    let (_, refused) = store.add_parsable_certificates(certificates.iter().cloned());
    if refused > 0 {
        return Err(unusable(upstream, path, "certificates"));
    }
    let wrap = |der: CertificateDer<'static>| WrappedX509::new(der.to_vec(), parse_x509);
    Ok(certificates.into_iter().map(wrap).collect::<Vec<_>>().into())
}

fn client_certificate(
    upstream: &str,
    files: &routes::ClientCertificate,
    cert: &[u8],
    key: &[u8],
) -> Result<Arc<CertKey>, CredentialsError> {
    let chain = certificates(upstream, &files.cert, cert)?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| unusable(upstream, &files.key, "private key"))?;
    let provider = rustls::crypto::ring::default_provider();
    rustls::sign::CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider).map_err(
        |source| CredentialsError::Mismatch {
            upstream: upstream.to_owned(),
            path: files.cert.clone(),
            source,
        },
    )?;
    let chain = chain.iter().map(|der| der.to_vec()).collect();
    Ok(Arc::new(CertKey::new(chain, key.secret_der().to_vec())))
}

/// At least one; each is parsed, because pingora panics at one that cannot be.
fn certificates(
    upstream: &str,
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.map_err(|_| unusable(upstream, path, "certificates"))?;
    let is_sound = |der: &CertificateDer<'_>| pingora_x509::parse_x509_certificate(der).is_ok();
    if certificates.is_empty() || !certificates.iter().all(is_sound) {
        return Err(unusable(upstream, path, "certificates"));
    }
    Ok(certificates)
}

fn unusable(upstream: &str, path: &Path, what: &'static str) -> CredentialsError {
    CredentialsError::Content { upstream: upstream.to_owned(), path: path.to_owned(), what }
}

/// Reads the files again and again, and gives upstreams what changed, until told to stop. Files that
/// cannot be used leave the old ones in force.
pub(crate) async fn keep(shared: Arc<Shared>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut complained = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let plan = Arc::clone(&shared.snapshot.load().plan);
        if plan.upstreams.values().all(|upstream| upstream.config.tls.is_none()) {
            continue;
        }
        let config = plan.config.clone();
        let read = tokio::task::spawn_blocking(move || read_all(&config)).await;
        match read {
            Ok(Ok(credentials)) => {
                complained = None;
                if plan.set_credentials(&credentials) {
                    tracing::info!("new connections use new certificates");
                }
            }
            Ok(Err(error)) => {
                let text = Chain(&error).to_string();
                if complained.as_ref() != Some(&text) {
                    tracing::error!(error = text, "kept the old certificates");
                }
                complained = Some(text);
            }
            Err(error) => tracing::error!(error = %Chain(&error), "could not read certificates"),
        }
    }
}
