//! Why a database is not reached. No message holds a password, a key, or a part of a URL that may
//! be one.

use std::{borrow::Cow, error::Error, io, path::PathBuf, time::Duration};

use rustls::{AlertDescription, CertificateError, pki_types::pem};

/// The URL of a database cannot be used; says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the database URL cannot be used: {problem}")]
pub struct SettingsError {
    pub(crate) problem: Cow<'static, str>,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The connection cannot be encrypted as the URL demands.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The server did not let us in within the limit.
    #[error("the server did not accept the login within {timeout:?}, check address and load")]
    Timeout {
        /// The limit.
        timeout: Duration,
    },
    /// The server is away, or refused the login.
    #[error(transparent)]
    Server(#[from] tokio_postgres::Error),
}

/// Why a connection cannot be encrypted as the URL demands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The server speaks plain text only.
    #[error(
        "the server does not offer TLS: switch it on there (ssl = on, with a certificate), \
         or write sslmode=disable where the network is safe without it"
    )]
    NotOffered,
    /// A file that the URL names cannot be used.
    #[error("{parameter}={}: {problem}", path.display())]
    File {
        /// The parameter that names it.
        parameter: &'static str,
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The server is not the one the URL demands, or cannot prove it.
    #[error("the server's certificate is not accepted: {problem}")]
    Certificate {
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// The login cannot be bound to the encrypted channel.
    #[error("channel_binding=require cannot be met: {problem}")]
    ChannelBinding {
        /// What is missing, and what to do.
        problem: Cow<'static, str>,
    },
    /// Anything else.
    #[error("TLS with the server failed: {problem}")]
    Handshake {
        /// What the other end or the operating system says.
        problem: String,
    },
}

impl SettingsError {
    pub(crate) fn new(problem: impl Into<Cow<'static, str>>) -> Self {
        Self { problem: problem.into() }
    }
}

impl ConnectError {
    /// `tokio-postgres` wraps our own errors, and says of its own only in words what they are.
    pub(crate) fn from_session(error: tokio_postgres::Error, demands_binding: bool) -> Self {
        let text = error.source().map(ToString::to_string).unwrap_or_default();
        if demands_binding && text.contains("channel binding") {
            return Self::Tls(TlsError::no_binding());
        }
        if text == "server does not support TLS" {
            return Self::Tls(TlsError::NotOffered);
        }
        match error.source().and_then(TlsError::in_chain) {
            Some(found) => Self::Tls(found),
            None => Self::Server(error),
        }
    }
}

impl TlsError {
    /// The login is not bound to the channel although the URL demands it.
    #[must_use]
    pub const fn no_binding() -> Self {
        Self::ChannelBinding {
            problem: Cow::Borrowed(
                "the server did not offer it; it needs TLS (sslmode=verify-full, verify-ca or require), \
                 scram-sha-256 in pg_hba.conf and a password stored that way, and a certificate \
                 signed with RSA or ECDSA and a SHA-2 hash",
            ),
        }
    }

    pub(crate) fn handshake(problem: impl Into<String>) -> Self {
        Self::Handshake { problem: problem.into() }
    }

    pub(crate) fn file(parameter: &'static str, path: &std::path::Path, problem: &str) -> Self {
        Self::File { parameter, path: path.to_owned(), problem: problem.to_owned() }
    }

    /// The words of the reader may quote a line of the file, which may be a key.
    pub(crate) fn pem(
        parameter: &'static str,
        path: &std::path::Path,
        wanted: &str,
        error: &pem::Error,
    ) -> Self {
        let problem = if let pem::Error::Io(error) = error {
            format!("cannot be read: {error}")
        } else if matches!(error, pem::Error::NoItemsFound) {
            format!("holds no {wanted} in PEM form")
        } else {
            "is no valid PEM file".to_owned()
        };
        Self::file(parameter, path, &problem)
    }

    pub(crate) fn from_io(error: &io::Error) -> Self {
        Self::in_chain(error).unwrap_or_else(|| Self::handshake(error.to_string()))
    }

    /// What TLS had to say, if it is the reason of another error. An alert of the server may come as
    /// late as at the first read.
    #[must_use]
    pub fn in_chain(error: &(dyn Error + 'static)) -> Option<Self> {
        if let Some(ours) = error.downcast_ref::<Self>() {
            return Some(ours.clone());
        }
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(Self::from_rustls(found));
        }
        if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            return Self::in_chain(inner);
        }
        error.source().and_then(Self::in_chain)
    }

    fn from_rustls(error: &rustls::Error) -> Self {
        if let rustls::Error::InvalidCertificate(problem) = error {
            return Self::Certificate { problem: certificate_problem(problem) };
        }
        if let rustls::Error::AlertReceived(alert) = error
            && concerns_ours(*alert)
        {
            return Self::handshake(format!(
                "the server does not accept our certificate ({alert:?}): give with sslcert and sslkey \
                 one that the server's ssl_ca_file has signed"
            ));
        }
        Self::handshake(error.to_string())
    }
}

fn concerns_ours(alert: AlertDescription) -> bool {
    [
        AlertDescription::BadCertificate,
        AlertDescription::UnsupportedCertificate,
        AlertDescription::CertificateRevoked,
        AlertDescription::CertificateExpired,
        AlertDescription::CertificateUnknown,
        AlertDescription::UnknownCA,
        AlertDescription::DecryptError,
        AlertDescription::CertificateRequired,
    ]
    .contains(&alert)
}

fn certificate_problem(error: &CertificateError) -> String {
    if let CertificateError::NotValidForNameContext { expected, presented } = error {
        return wrong_name(&expected.to_str(), presented);
    }
    let is_expired =
        matches!(error, CertificateError::Expired | CertificateError::ExpiredContext { .. });
    let is_early = matches!(
        error,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }
    );
    let known = if matches!(error, CertificateError::UnknownIssuer) {
        "nobody in sslrootcert has signed it: name with sslrootcert the file of the authority that \
         has, or sslrootcert=system for a public one"
    } else if matches!(error, CertificateError::BadSignature) {
        "it is not signed with the key that sslrootcert has for its authority: the file may hold \
         an older authority of the same name"
    } else if is_expired {
        "it has expired: renew it on the server"
    } else if is_early {
        "it is not valid yet: compare the clocks of both machines"
    } else {
        return error.to_string();
    };
    known.to_owned()
}

fn wrong_name(expected: &str, presented: &[String]) -> String {
    if presented.is_empty() {
        return format!(
            "it names no host in subjectAltName, the URL says {expected}: make one that does, \
             or write sslmode=verify-ca"
        );
    }
    // `DnsName("db.example")` and `IpAddress(10.0.0.1)`
    let bare = |name: &String| {
        let name =
            name.split(['(', '"', ')']).filter(|part| !part.is_empty()).nth(1).unwrap_or(name);
        name.to_owned()
    };
    let presented: Vec<_> = presented.iter().map(bare).collect();
    format!(
        "it is for {}, the URL says {expected}: write the host in the URL as the certificate does, \
         and the address with hostaddr=",
        presented.join(", ")
    )
}
