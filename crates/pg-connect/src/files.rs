//! Certificates and keys of files and of the operating system.

use std::path::Path;

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::{Identity, Root, TlsError};

const ROOT: &str = "sslrootcert";
const CERTIFICATE: &str = "sslcert";
const KEY: &str = "sslkey";

/// Whom we trust.
#[derive(Debug)]
pub(crate) struct Roots {
    pub(crate) store: RootCertStore,
    /// The certificates of a file: a server's own may be among them.
    pub(crate) certificates: Vec<CertificateDer<'static>>,
}

impl Roots {
    pub(crate) fn none() -> Self {
        Self { store: RootCertStore::empty(), certificates: Vec::new() }
    }

    pub(crate) fn load(root: &Root) -> Result<Self, TlsError> {
        match root {
            Root::System => Self::of_system(),
            Root::File(path) => Self::of_file(path),
        }
    }

    fn of_system() -> Result<Self, TlsError> {
        let mut roots = Self::none();
        let found = rustls_native_certs::load_native_certs();
        for error in found.errors {
            tracing::warn!(%error, "trusted certificates of this system cannot be read");
        }
        // A few of any system are of kinds that nobody uses any more.
        let (added, _left_out) = roots.store.add_parsable_certificates(found.certs);
        if added == 0 {
            return Err(TlsError::file(
                ROOT,
                Path::new("system"),
                "this system has no trusted certificates, install ca-certificates or name a file",
            ));
        }
        Ok(roots)
    }

    fn of_file(path: &Path) -> Result<Self, TlsError> {
        let mut roots = Self::none();
        roots.certificates = certificates(ROOT, path)?;
        for certificate in &roots.certificates {
            roots.store.add(certificate.clone()).map_err(|_| {
                TlsError::file(ROOT, path, "holds a certificate of an unknown form")
            })?;
        }
        Ok(roots)
    }
}

/// The chain and the key of a client certificate.
pub(crate) fn identity(
    identity: &Identity,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let chain = certificates(CERTIFICATE, &identity.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&identity.key).map_err(|error| {
        TlsError::pem(KEY, &identity.key, "private key without passphrase", &error)
    })?;
    Ok((chain, key))
}

/// The key file as the culprit of what TLS says about the pair.
pub(crate) fn unusable(identity: &Identity) -> TlsError {
    TlsError::file(KEY, &identity.key, "does not belong to the certificate of sslcert")
}

fn certificates(
    parameter: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |error| TlsError::pem(parameter, path, "certificate", &error);
    let found: Vec<_> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(failed)?;
    if found.is_empty() {
        return Err(failed(rustls::pki_types::pem::Error::NoItemsFound));
    }
    Ok(found)
}
