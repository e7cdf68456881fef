//! Who the server is: nobody in particular, somebody with a signed certificate, or the host of the URL.

use rustls::{
    CertificateError, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

use crate::{SslMode, TlsSettings, files::Roots};

/// What a server's certificate must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Demand {
    /// Anything: protects against listeners only, and, with channel binding, against everybody who
    /// does not know the password.
    Nothing,
    /// Signed by a root certificate.
    Chain,
    /// Signed, and for the host of the URL.
    ChainAndName,
}

#[derive(Debug)]
pub(crate) struct Verifier {
    pub(crate) demand: Demand,
    pub(crate) roots: Roots,
    pub(crate) algorithms: WebPkiSupportedAlgorithms,
}

impl Demand {
    pub(crate) const fn of(settings: &TlsSettings) -> Self {
        match (settings.mode, &settings.root) {
            (SslMode::VerifyFull, _) => Self::ChainAndName,
            (SslMode::VerifyCa, _) | (SslMode::Require, Some(_)) => Self::Chain,
            (SslMode::Disable | SslMode::Prefer, _) | (SslMode::Require, None) => Self::Nothing,
        }
    }
}

impl Verifier {
    fn verify_chain(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let checked = verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.roots.store,
            intermediates,
            now,
            self.algorithms.all,
        );
        match checked {
            // A server's own certificate as the root, as `openssl req -x509` makes it, calls itself an
            // authority; no authority may serve, but this very certificate was named as trusted.
            Err(Error::InvalidCertificate(CertificateError::Other(_)))
                if self.roots.certificates.contains(end_entity) =>
            {
                Ok(())
            }
            result => result,
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.demand != Demand::Nothing {
            self.verify_chain(end_entity, intermediates, now)?;
        }
        if self.demand == Demand::ChainAndName {
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    // The server must hold its certificate's key even when anybody is welcome: channel binding rests
    // on the certificate being the server's own.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
