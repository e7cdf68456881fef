//! A private PostgreSQL cluster: own directory, own port, gone when dropped.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use tokio::sync::OnceCell;
use tokio_postgres::{Client, NoTls};

use crate::server::{Server, Settings, Stop};

/// The superuser of every cluster; nobody is asked for a password.
const SUPERUSER: &str = "postgres";

/// A running private PostgreSQL cluster with logical decoding switched on.
///
/// Dropping it stops the server as in a crash and removes its directory; the same happens when the
/// process ends in any other way. It is not tied to an async runtime.
#[derive(Debug)]
pub struct Cluster {
    server: Arc<Server>,
}

/// Settings of a [`Cluster`] that is about to start.
#[derive(Debug, Clone, Default)]
pub struct ClusterBuilder {
    settings: Settings,
}

impl ClusterBuilder {
    /// Adds a line for `postgresql.conf`, such as `wal_sender_timeout = 10s`.
    #[must_use]
    pub fn setting(mut self, line: impl Into<String>) -> Self {
        self.settings.extra.push(line.into());
        self
    }

    /// Sets `wal_level` (default `logical`).
    #[must_use]
    pub fn wal_level(mut self, level: impl Into<String>) -> Self {
        self.settings.wal_level = Some(level.into());
        self
    }

    /// Whether commits survive a crash of the machine (default: only of the server).
    #[must_use]
    pub fn durable(mut self, durable: bool) -> Self {
        self.settings.durable = durable;
        self
    }

    /// Keeps the cluster in this directory: it is made when missing, used again when it holds a
    /// cluster, and stays when this value is dropped (the server is then stopped cleanly).
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.settings.directory = Some(directory.into());
        self
    }

    /// Listens on this TCP port of 127.0.0.1 (default: a free one).
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.settings.port = Some(port);
        self
    }

    /// Starts the cluster and waits until it accepts connections.
    ///
    /// # Errors
    /// When no PostgreSQL server is installed (the message names the command that installs one),
    /// or it does not start (the message carries the end of its log).
    pub async fn start(self) -> anyhow::Result<Cluster> {
        let server = tokio::task::spawn_blocking(move || Server::launch(&self.settings))
            .await
            .context("start the PostgreSQL server")??;
        Ok(Cluster { server: Arc::new(server) })
    }
}

impl Cluster {
    /// Starts a cluster with default settings.
    ///
    /// # Errors
    /// As [`ClusterBuilder::start`].
    pub async fn start() -> anyhow::Result<Self> {
        Self::builder().start().await
    }

    /// Settings of a cluster to start.
    #[must_use]
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::default()
    }

    /// The one cluster all tests of a test binary may share, each in a database of its own. Slots
    /// and roles belong to the whole cluster: give them names of your own. Do not stop it.
    ///
    /// # Errors
    /// As [`ClusterBuilder::start`].
    pub async fn shared() -> anyhow::Result<&'static Self> {
        static SHARED: OnceCell<Cluster> = OnceCell::const_new();
        SHARED.get_or_try_init(Self::start).await
    }

    /// The connection URL of a database for the superuser.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        self.url_as(SUPERUSER, database)
    }

    /// The connection URL of a database for a role.
    #[must_use]
    pub fn url_as(&self, role: &str, database: &str) -> String {
        let (role, database) = (url_encoded(role), url_encoded(database));
        format!("postgres://{role}@127.0.0.1:{}/{database}", self.port())
    }

    /// The TCP port on 127.0.0.1; it stays the same across restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// The directory of the Unix socket (`host` in a key-value connection string).
    #[must_use]
    pub fn socket_dir(&self) -> &Path {
        self.server.base()
    }

    /// The server's data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.server.data_dir()
    }

    /// The server's major version.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.server.major()
    }

    /// The end of the server's log, for error messages.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.server.log_tail()
    }

    /// Connects as superuser; the connection lives in a task of the current runtime until the
    /// client is dropped.
    ///
    /// # Errors
    /// When the server is stopped or there is no such database.
    pub async fn connect(&self, database: &str) -> anyhow::Result<Client> {
        self.connect_as(SUPERUSER, database).await
    }

    /// Connects as a role.
    ///
    /// # Errors
    /// When the server is stopped or there is no such role or database.
    pub async fn connect_as(&self, role: &str, database: &str) -> anyhow::Result<Client> {
        let (client, connection) = tokio_postgres::connect(&self.url_as(role, database), NoTls)
            .await
            .with_context(|| format!("connect to database {database} as {role}"))?;
        // The client's next call reports a lost connection; the task has nothing to add.
        tokio::spawn(async move { drop(connection.await) });
        Ok(client)
    }

    /// Runs SQL statements, separated by semicolons, as superuser on a connection of their own.
    ///
    /// # Errors
    /// When the connection or a statement fails.
    pub async fn execute(&self, database: &str, sql: &str) -> anyhow::Result<()> {
        let client = self.connect(database).await?;
        client.batch_execute(sql).await.with_context(|| format!("run in {database}: {sql}"))
    }

    /// Switches TLS on, or changes the certificate: the server's own, its key, and the authority that
    /// signs client certificates (asked for where `pg_hba.conf` does), all in PEM form. Restarts the
    /// server.
    ///
    /// # Errors
    /// When the server does not take them.
    pub async fn encrypt(
        &self,
        certificate: &str,
        key: &str,
        client_authority: &str,
    ) -> anyhow::Result<()> {
        for (name, content) in
            [("server.crt", certificate), ("server.key", key), ("root.crt", client_authority)]
        {
            self.server.write_secret(name, content)?;
        }
        self.execute(SUPERUSER, "ALTER SYSTEM SET ssl = on").await?;
        self.execute(SUPERUSER, "ALTER SYSTEM SET ssl_ca_file = 'root.crt'").await?;
        self.restart().await
    }

    /// Creates an empty database.
    ///
    /// # Errors
    /// When it exists already.
    pub async fn create_database(&self, database: &str) -> anyhow::Result<()> {
        self.execute(SUPERUSER, &format!("CREATE DATABASE {}", quoted(database))).await
    }

    /// Creates a database as a copy of another one, which nobody may be connected to.
    ///
    /// # Errors
    /// When it exists already, or the template does not exist or is in use.
    pub async fn copy_database(&self, template: &str, database: &str) -> anyhow::Result<()> {
        let (template, database) = (quoted(template), quoted(database));
        self.execute(SUPERUSER, &format!("CREATE DATABASE {database} TEMPLATE {template}")).await
    }

    /// Creates a role that may log in and nothing else.
    ///
    /// # Errors
    /// When it exists already.
    pub async fn create_role(&self, role: &str) -> anyhow::Result<()> {
        self.execute(SUPERUSER, &format!("CREATE ROLE {} LOGIN", quoted(role))).await
    }

    /// Stops the server as in a crash; the next [`Cluster::restart`] runs recovery.
    ///
    /// # Errors
    /// When it is not running.
    pub async fn stop_immediate(&self) -> anyhow::Result<()> {
        self.blocking(|server| server.stop(Stop::Immediate)).await
    }

    /// Ends all sessions and stops the server cleanly.
    ///
    /// # Errors
    /// When it is not running.
    pub async fn stop(&self) -> anyhow::Result<()> {
        self.blocking(|server| server.stop(Stop::Fast)).await
    }

    /// Starts the server again on the same port and directory, stopping it cleanly first when it
    /// runs.
    ///
    /// # Errors
    /// When it does not start; the message carries the end of its log.
    pub async fn restart(&self) -> anyhow::Result<()> {
        self.blocking(|server| {
            if server.is_running()? {
                server.stop(Stop::Fast)?;
            }
            server.start()
        })
        .await
    }

    async fn blocking(
        &self,
        work: impl FnOnce(&Server) -> anyhow::Result<()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let server = Arc::clone(&self.server);
        tokio::task::spawn_blocking(move || work(&server)).await.context("run pg_ctl")?
    }
}

fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

fn url_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
