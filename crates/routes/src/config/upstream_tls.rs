//! How an upstream is spoken to: encrypted or not, and which HTTP.

use std::path::PathBuf;

use serde::{Serialize, Serializer};

/// `tls = { server_name = "ticket.internal", ca = "…", cert = "…", key = "…", verify = "full" }`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UpstreamTls {
    /// Name the upstream's certificate must be for; also sent as SNI.
    pub server_name: String,
    /// File of PEM certificates the upstream's is checked against; those of the system when not given.
    pub ca: Option<PathBuf>,
    /// Files of the PEM certificate chain and private key shown to the upstream; none when not given.
    pub client: Option<ClientCertificate>,
    /// What of the upstream's certificate is checked.
    pub verify: Verify,
}

/// `cert` and `key`: always both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClientCertificate {
    /// Certificates, the own one first.
    pub cert: PathBuf,
    /// PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// What of an upstream's certificate is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Who signed it, and that it is for `server_name`.
    Full,
    /// Who signed it.
    Chain,
    /// Nothing: anybody between the proxy and the upstream can read and change everything.
    None,
}

/// Which HTTP is spoken to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 alone: by ALPN with TLS, with prior knowledge without.
    Http2,
    /// HTTP/2 where the upstream offers it by ALPN, otherwise HTTP/1.1.
    Auto,
}

impl Verify {
    /// As it is written in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Chain => "chain",
            Self::None => "none",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Full, Self::Chain, Self::None].into_iter().find(|verify| verify.as_str() == text)
    }
}

impl Protocol {
    /// As it is written in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Auto => "auto",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Http1, Self::Http2, Self::Auto].into_iter().find(|it| it.as_str() == text)
    }
}

impl Serialize for Verify {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Serialize for Protocol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
