//! A server with a certificate, and what a session of it looks like.

use std::path::PathBuf;

use pg_connect::{ConnectError, Settings};
use testkit::{Cluster, tokio_postgres::Client};
use tokio::sync::OnceCell;

use crate::authority::Authority;

/// The name in the server's certificate; no resolver knows it, URLs give the address beside it.
pub(crate) const HOST: &str = "db.ficus.test";

/// Who comes without TLS is let in by address alone; the others by password or certificate.
const HBA: &str = "\
local all all trust
hostnossl all by_scram 127.0.0.1/32 scram-sha-256
hostnossl all postgres 127.0.0.1/32 trust
hostssl all by_scram 127.0.0.1/32 scram-sha-256
hostssl all by_certificate 127.0.0.1/32 cert
hostssl all postgres 127.0.0.1/32 trust
";

pub(crate) struct Server {
    pub(crate) cluster: Cluster,
    pub(crate) authority: Authority,
    /// The authority's certificate.
    pub(crate) root: PathBuf,
}

impl Server {
    /// A server without TLS.
    pub(crate) async fn plain() -> anyhow::Result<Self> {
        let cluster = Cluster::start().await?;
        let roles =
            "CREATE ROLE by_scram LOGIN PASSWORD 'secret'; CREATE ROLE by_certificate LOGIN";
        cluster.execute("postgres", roles).await?;
        std::fs::write(cluster.data_dir().join("pg_hba.conf"), HBA)?;
        cluster.restart().await?;
        let authority = Authority::new("ours", cluster.socket_dir())?;
        let root = authority.file("root.pem", &authority.pem)?;
        Ok(Self { cluster, authority, root })
    }

    /// A server with a certificate for [`HOST`].
    pub(crate) async fn encrypted() -> anyhow::Result<Self> {
        let server = Self::plain().await?;
        let pair = server.authority.sign(HOST)?;
        server.cluster.encrypt(&pair.certificate, &pair.key, &server.authority.pem).await?;
        Ok(server)
    }

    /// One that all tests share: nobody changes it.
    pub(crate) async fn shared_plain() -> anyhow::Result<&'static Self> {
        static SHARED: OnceCell<Server> = OnceCell::const_new();
        SHARED.get_or_try_init(Self::plain).await
    }

    /// One that all tests share: nobody changes it.
    pub(crate) async fn shared_encrypted() -> anyhow::Result<&'static Self> {
        static SHARED: OnceCell<Server> = OnceCell::const_new();
        SHARED.get_or_try_init(Self::encrypted).await
    }

    pub(crate) fn stranger(&self) -> anyhow::Result<Authority> {
        Authority::new("a stranger", self.cluster.socket_dir())
    }

    pub(crate) fn url(&self, user: &str, query: &str) -> String {
        let port = self.cluster.port();
        format!("postgres://{user}@{HOST}:{port}/postgres?hostaddr=127.0.0.1&{query}")
    }

    /// As [`Server::url`], with the root certificate.
    pub(crate) fn url_with_root(&self, user: &str, query: &str) -> String {
        self.url(user, &format!("sslrootcert={}&{query}", self.root.display()))
    }
}

pub(crate) async fn connect(url: &str) -> Result<Client, ConnectError> {
    url.parse::<Settings>().expect("a URL that can be used").connect().await
}

/// Connects and answers whether the session is encrypted, as the server sees it.
pub(crate) async fn is_encrypted(url: &str) -> anyhow::Result<bool> {
    let client = connect(url).await?;
    let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    Ok(client.query_one(sql, &[]).await?.try_get(0)?)
}

/// The words with which we refuse a connection.
pub(crate) async fn refusal(url: &str) -> anyhow::Result<String> {
    match connect(url).await.expect_err("it must not connect") {
        ConnectError::Tls(error) => Ok(error.to_string()),
        error @ (ConnectError::Timeout { .. } | ConnectError::Server(_)) => Err(error.into()),
    }
}
