//! What `ticket serve` needs to know.

use std::convert::Infallible;
use std::time::Duration;

use kit::config::{ConfigError, Environment, Secret};
use kit::{IdentityKeys, Verifier};

/// Connections for requests, unless `TICKET_POOL_MAX` says otherwise.
const POOL_MAX_DEFAULT: u32 = 16;

/// What the proxy calls this service among its upstreams.
const UPSTREAM: &str = "ticket";

/// Validated settings of a serving process.
#[derive(Debug, Clone)]
pub struct Config {
    /// `TICKET_DATABASE_URL`: the database, as the role that serves.
    pub database: Secret,
    /// `TICKET_POOL_MAX`: most connections for requests; the job has one more of its own.
    pub pool_max: u32,
    /// Made from `JWT_SECRET`, the monolith's own, and from `FICUS_IDENTITY_KEYS`: the key set by which
    /// identities of the proxy are verified that name the upstream `ticket`. Without it none is believed.
    pub verifier: Verifier,
    /// `AUTO_CLOSE_EVERY`: pause between looks for pending tickets that are due. Default 10 s.
    pub auto_close_every: Duration,
    /// `SHUTDOWN_GRACE`: how long requests in flight may take after SIGTERM. Default 30 s.
    pub shutdown_grace: Duration,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// Every problem there is, together.
    pub fn read(mut env: Environment) -> Result<Self, ConfigError> {
        let database =
            env.required("TICKET_DATABASE_URL", |url| Ok::<_, Infallible>(Secret::new(url)));
        let verifier = env.required("JWT_SECRET", |secret| Verifier::new(&Secret::new(secret)));
        let keys = |keys: String| IdentityKeys::new(&keys, UPSTREAM);
        let verifier = match env.optional("FICUS_IDENTITY_KEYS", keys) {
            Some(keys) => verifier.map(|verifier| verifier.with_identities(keys)),
            None => verifier,
        };
        let pool_max = env.count("TICKET_POOL_MAX", POOL_MAX_DEFAULT, 1000);
        let auto_close_every = env.duration("AUTO_CLOSE_EVERY", Duration::from_secs(10));
        let shutdown_grace = env.duration("SHUTDOWN_GRACE", Duration::from_secs(30));
        let (database, verifier) = env.finish(database.zip(verifier))?;
        Ok(Self { database, pool_max, verifier, auto_close_every, shutdown_grace })
    }
}
