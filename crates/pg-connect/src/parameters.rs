//! The parameters of a URL that concern TLS, with the meaning that libpq gives them.

#[cfg(test)]
mod tests;

use std::{borrow::Cow, path::PathBuf};

use percent_encoding::percent_decode_str;
use tokio_postgres::{
    Config,
    config::{self, ChannelBinding, SslNegotiation},
};

use crate::SettingsError;

/// How much a connection insists on TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    /// Plain text.
    Disable,
    /// TLS if the server has it, without knowing who it is.
    Prefer,
    /// TLS; the server's certificate is checked only if there are root certificates.
    Require,
    /// TLS with a server whose certificate is signed by a root certificate.
    VerifyCa,
    /// As `VerifyCa`, and the certificate is for the host of the URL.
    VerifyFull,
}

/// Whom a server's certificate must be signed by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// Somebody whom the operating system trusts (`sslrootcert=system`).
    System,
    /// One of the certificates in this file, in PEM form.
    File(PathBuf),
}

/// The certificate with which we log in, and its key; both in PEM form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, then those that sign it (`sslcert`).
    pub certificate: PathBuf,
    /// The key, without passphrase (`sslkey`).
    pub key: PathBuf,
}

/// What a URL says about TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// `sslmode`, by default `prefer`.
    pub mode: SslMode,
    /// `sslrootcert`.
    pub root: Option<Root>,
    /// `sslcert` and `sslkey`.
    pub identity: Option<Identity>,
}

/// The values as they were written.
#[derive(Default)]
pub(crate) struct Parameters {
    mode: Option<String>,
    root: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
}

impl SslMode {
    fn parse(text: &str) -> Result<Self, SettingsError> {
        match text {
            "disable" => Ok(Self::Disable),
            "prefer" => Ok(Self::Prefer),
            "require" => Ok(Self::Require),
            "verify-ca" => Ok(Self::VerifyCa),
            "verify-full" => Ok(Self::VerifyFull),
            _ => Err(SettingsError::new(
                "sslmode must be disable, prefer, require, verify-ca or verify-full",
            )),
        }
    }

    /// The mode of settings that were not written as a URL.
    pub(crate) fn of(config: &Config) -> Self {
        let mode = config.get_ssl_mode();
        if mode == config::SslMode::Disable {
            Self::Disable
        } else if mode == config::SslMode::Prefer {
            Self::Prefer
        } else {
            Self::Require
        }
    }

    /// The three that `tokio-postgres` tells apart.
    pub(crate) const fn for_session(self) -> config::SslMode {
        match self {
            Self::Disable => config::SslMode::Disable,
            Self::Prefer => config::SslMode::Prefer,
            Self::Require | Self::VerifyCa | Self::VerifyFull => config::SslMode::Require,
        }
    }
}

impl Parameters {
    /// Takes the parameters out of a URL; the rest is for `tokio-postgres`.
    pub(crate) fn take_from(url: &str) -> Result<(Cow<'_, str>, Self), SettingsError> {
        let mut taken = Self::default();
        let Some((before, query)) = split_query(url) else { return Ok((url.into(), taken)) };
        let mut left = Vec::new();
        for pair in query.split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let Some(place) = taken.place(key) else {
                left.push(pair);
                continue;
            };
            let value = percent_decode_str(value)
                .decode_utf8()
                .map_err(|_| SettingsError::new("a parameter about TLS is no text"))?;
            *place = Some(value.into_owned()).filter(|value| !value.is_empty());
        }
        let rest = if left.is_empty() {
            before.to_owned()
        } else {
            format!("{before}?{}", left.join("&"))
        };
        Ok((rest.into(), taken))
    }

    fn place(&mut self, key: &str) -> Option<&mut Option<String>> {
        match key {
            "sslmode" => Some(&mut self.mode),
            "sslrootcert" => Some(&mut self.root),
            "sslcert" => Some(&mut self.certificate),
            "sslkey" => Some(&mut self.key),
            _ => None,
        }
    }

    /// What they mean together with the rest of the URL.
    pub(crate) fn settings(self, config: &Config) -> Result<TlsSettings, SettingsError> {
        let written = self.mode.as_deref().map(SslMode::parse).transpose()?;
        let root = self.root.map(|root| match root.as_str() {
            "system" => Root::System,
            _ => Root::File(root.into()),
        });
        let identity = match (self.certificate, self.key) {
            (Some(certificate), Some(key)) => {
                Some(Identity { certificate: certificate.into(), key: key.into() })
            }
            (None, None) => None,
            (Some(_), None) => return Err(SettingsError::new("sslcert needs sslkey beside it")),
            (None, Some(_)) => return Err(SettingsError::new("sslkey needs sslcert beside it")),
        };
        let mode = written.unwrap_or_else(|| match root {
            Some(Root::System) => SslMode::VerifyFull,
            Some(Root::File(_)) | None => SslMode::of(config),
        });
        let settings = TlsSettings { mode, root, identity };
        settings.check(config)?;
        Ok(settings)
    }
}

impl TlsSettings {
    pub(crate) fn of(config: &Config) -> Self {
        Self { mode: SslMode::of(config), root: None, identity: None }
    }

    /// Refuses what looks safer than it would be.
    pub(crate) fn check(&self, config: &Config) -> Result<(), SettingsError> {
        let problem = match (self.mode, &self.root) {
            (SslMode::VerifyCa | SslMode::VerifyFull, None) => {
                "sslmode=verify-ca and verify-full need sslrootcert=FILE with the certificate of the \
                 server's authority, or sslrootcert=system"
            }
            (SslMode::Prefer, Some(_)) => {
                "sslmode=prefer would go on without TLS whatever sslrootcert says, \
                 write sslmode=verify-full"
            }
            (SslMode::Require | SslMode::VerifyCa, Some(Root::System)) => {
                "sslrootcert=system needs sslmode=verify-full: anybody can have a certificate from \
                 a public authority, only the name tells whose it is"
            }
            (SslMode::Disable, _) if config.get_channel_binding() == ChannelBinding::Require => {
                "channel_binding=require needs TLS, write sslmode=require or verify-full"
            }
            (SslMode::Disable | SslMode::Prefer, _)
                if config.get_ssl_negotiation() == SslNegotiation::Direct =>
            {
                "sslnegotiation=direct needs sslmode=require, verify-ca or verify-full"
            }
            (
                SslMode::Disable
                | SslMode::Prefer
                | SslMode::Require
                | SslMode::VerifyCa
                | SslMode::VerifyFull,
                _,
            ) => return Ok(()),
        };
        Err(SettingsError::new(problem))
    }
}

/// The URL without what [`TlsSettings`] holds, for a driver that has its own way to be told.
///
/// # Errors
/// When a parameter about TLS is no text.
pub fn without_tls_parameters(url: &str) -> Result<Cow<'_, str>, SettingsError> {
    Parameters::take_from(url).map(|(rest, _)| rest)
}

/// Parts a URL at its question mark; one in front of the `@` belongs to the password.
pub(crate) fn split_query(url: &str) -> Option<(&str, &str)> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return None;
    }
    let after_password = url.find('@').unwrap_or(0);
    let (_, host) = url.split_at_checked(after_password)?;
    let (before, query) = url.split_at_checked(after_password + host.find('?')?)?;
    Some((before, query.strip_prefix('?')?))
}
