//! All that a connection URL says.

use std::{str::FromStr, time::Duration};

use tokio_postgres::{
    Config,
    config::{self, Host},
};

use crate::{
    SettingsError, TlsSettings,
    parameters::{Parameters, split_query},
};

/// For everything up to the end of the login.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What `tokio-postgres` has when the URL says nothing.
const KEEPALIVES_IDLE_UNSET: Duration = Duration::from_secs(2 * 60 * 60);
/// A machine that vanished is noticed within half a minute, whether we wait for it or send to it.
const KEEPALIVES_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVES_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVES_RETRIES: u32 = 3;
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);

/// How one database is reached. The `Debug` form hides the password.
#[derive(Debug, Clone)]
pub struct Settings {
    config: Config,
    tls: TlsSettings,
}

impl Settings {
    /// All but TLS.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// What concerns TLS.
    #[must_use]
    pub const fn tls(&self) -> &TlsSettings {
        &self.tls
    }

    /// The longest that connecting and logging in may take: `connect_timeout`, else 10 s.
    #[must_use]
    pub fn connect_timeout(&self) -> Duration {
        self.config.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT)
    }

    /// Sets the name that `pg_stat_activity` shows.
    pub fn application_name(&mut self, name: &str) -> &mut Self {
        self.config.application_name(name);
        self
    }

    /// Sets [`Settings::connect_timeout`].
    pub fn set_connect_timeout(&mut self, timeout: Duration) -> &mut Self {
        self.config.connect_timeout(timeout);
        self
    }

    fn new(mut config: Config, tls: TlsSettings) -> Self {
        let is_local = |host: &Host| matches!(host, Host::Unix(_));
        config.ssl_mode(
            if config.get_hosts().iter().all(is_local) && config.get_hostaddrs().is_empty() {
                config::SslMode::Disable // as libpq: there is no wire to listen on
            } else {
                tls.mode.for_session()
            },
        );
        if config.get_hosts().is_empty() {
            // TLS wants a name, and an address is one.
            for address in config.get_hostaddrs().to_vec() {
                config.host(address.to_string());
            }
        }
        if config.get_keepalives_idle() == KEEPALIVES_IDLE_UNSET {
            config.keepalives_idle(KEEPALIVES_IDLE);
        }
        if config.get_keepalives_interval().is_none() {
            config.keepalives_interval(KEEPALIVES_INTERVAL);
        }
        if config.get_keepalives_retries().is_none() {
            config.keepalives_retries(KEEPALIVES_RETRIES);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(TCP_USER_TIMEOUT);
        }
        Self { config, tls }
    }
}

impl FromStr for Settings {
    type Err = SettingsError;

    /// Reads `postgres://role:password@host:port/database?sslmode=…`, and libpq's `key=value` form
    /// as far as `tokio-postgres` knows it.
    fn from_str(url: &str) -> Result<Self, SettingsError> {
        let (rest, parameters) = Parameters::take_from(url)?;
        let config = rest.parse().map_err(|_| unreadable(&rest))?;
        let tls = parameters.settings(&config)?;
        Ok(Self::new(config, tls))
    }
}

impl From<Config> for Settings {
    fn from(config: Config) -> Self {
        let tls = TlsSettings::of(&config);
        Self::new(config, tls)
    }
}

/// The parser's own words may quote a part of the password.
fn unreadable(url: &str) -> SettingsError {
    let Some((_, query)) = split_query(url).filter(|(_, query)| !query.contains('@')) else {
        return SettingsError::new(
            "write postgres://role:password@host:port/database, \
             with % and two hexadecimal digits for a special character",
        );
    };
    let wrong = query.split('&').find(|pair| {
        let url = format!("postgres://host/?{pair}");
        url.parse::<Config>().is_err()
    });
    let key = wrong.and_then(|pair| pair.split('=').next()).unwrap_or_default();
    SettingsError::new(format!("its parameter {key:?} is not known here, or its value is wrong"))
}
