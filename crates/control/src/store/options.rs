//! Control's URL for its driver, with the same meaning as all other database URLs.

use std::str::FromStr as _;

use pg_connect::{Root, Settings, SettingsError, SslMode, TlsSettings, without_tls_parameters};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio_postgres::config::ChannelBinding;

/// # Errors
/// When the URL cannot be used, or demands what the driver does not have.
pub(crate) fn connect_options(url: &str) -> Result<PgConnectOptions, sqlx::Error> {
    let wrong = |error: SettingsError| sqlx::Error::Configuration(error.into());
    let settings: Settings = url.parse().map_err(wrong)?;
    if settings.config().get_channel_binding() == ChannelBinding::Require {
        let problem = "control's own database cannot be reached with channel_binding=require: \
            leave it out of [control] database and write sslmode=verify-full";
        return Err(sqlx::Error::Configuration(problem.into()));
    }
    let rest = without_tls_parameters(url).map_err(wrong)?;
    let tls = settings.tls();
    let mut options = PgConnectOptions::from_str(&rest)?.ssl_mode(mode(tls));
    // The driver trusts the system's certificates in any case, and those of a file beside them.
    if let Some(Root::File(path)) = &tls.root {
        options = options.ssl_root_cert(path);
    }
    if let Some(identity) = &tls.identity {
        options = options.ssl_client_cert(&identity.certificate).ssl_client_key(&identity.key);
    }
    Ok(options)
}

const fn mode(tls: &TlsSettings) -> PgSslMode {
    match (tls.mode, &tls.root) {
        (SslMode::Disable, _) => PgSslMode::Disable,
        (SslMode::Prefer, _) => PgSslMode::Prefer,
        (SslMode::Require, None) => PgSslMode::Require,
        (SslMode::Require, Some(_)) | (SslMode::VerifyCa, _) => PgSslMode::VerifyCa,
        (SslMode::VerifyFull, _) => PgSslMode::VerifyFull,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_means_the_same_to_controls_driver() {
        for (query, expected) in [
            ("", "Prefer"),
            ("?sslmode=disable", "Disable"),
            ("?sslmode=require", "Require"),
            ("?sslmode=require&sslrootcert=/ca.pem", "VerifyCa"),
            ("?sslmode=verify-ca&sslrootcert=/ca.pem", "VerifyCa"),
            ("?sslrootcert=system", "VerifyFull"),
        ] {
            let options = connect_options(&format!("postgres://u:p@h/d{query}")).expect(query);
            assert_eq!(format!("{:?}", options.get_ssl_mode()), expected, "{query}");
            assert_eq!((options.get_host(), options.get_database()), ("h", Some("d")));
        }
        for query in ["channel_binding=require&sslmode=require", "sslmode=verify-full"] {
            assert!(connect_options(&format!("postgres://u@h/d?{query}")).is_err(), "{query}");
        }
    }
}
