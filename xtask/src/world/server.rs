//! The PostgreSQL servers of a world: private ones that vanish with it, or one that was given by URL.

use anyhow::{Context, bail};
use rand::Rng;
use rand::distr::Alphanumeric;
use testkit::Cluster;
use testkit::tokio_postgres::{Client, NoTls};

/// Databases and roles a world makes on a given server, and takes away again.
const DATABASES: [&str; 3] = ["monolith", "ticket", "ficus_control"];
const ROLES: [&str; 4] = ["monolith", "ticket", "ficus_control", "ficus_applier"];

/// Where one side's databases are.
#[derive(Debug)]
pub(crate) enum Server {
    /// Ours alone, removed with the world.
    Private(Box<Cluster>),
    /// Somebody's, reached as a superuser.
    Given(Given),
}

/// A server given by URL.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    /// `user:password@`, as in the URL.
    owner: String,
    /// `host:port`.
    address: String,
    /// Of the roles made here.
    password: String,
}

impl Given {
    /// Reads `postgres://superuser:password@host:port/…`.
    ///
    /// # Errors
    /// When the URL has another shape.
    pub(crate) fn parse(url: &str) -> anyhow::Result<Self> {
        let rest = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"));
        let rest = rest.context("write the server as postgres://superuser:password@host:port")?;
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let (owner, address) =
            authority.rsplit_once('@').context("the server's URL names no user")?;
        let random = rand::rng().sample_iter(&Alphanumeric).take(24).map(char::from);
        Ok(Self {
            owner: format!("{owner}@"),
            address: address.to_owned(),
            password: random.collect(),
        })
    }

    /// Refuses to touch what is there already.
    async fn check_is_free(&self) -> anyhow::Result<()> {
        let client = connect(&self.url("postgres")).await?;
        for (sql, names) in [
            ("SELECT datname::text FROM pg_database WHERE datname = ANY($1)", &DATABASES[..]),
            ("SELECT rolname::text FROM pg_roles WHERE rolname = ANY($1)", &ROLES[..]),
        ] {
            if let Some(row) = client.query_opt(&format!("{sql} LIMIT 1"), &[&names]).await? {
                let name: String = row.try_get(0)?;
                bail!("the given server already has {name:?}: drop it, or give another server");
            }
        }
        Ok(())
    }

    /// Takes away everything a world made here.
    async fn clear(&self) -> anyhow::Result<()> {
        let client = connect(&self.url("postgres")).await?;
        let slots = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
            WHERE database = ANY($1) AND NOT active";
        client.execute(slots, &[&&DATABASES[..]]).await?;
        for database in DATABASES {
            client
                .batch_execute(&format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)"))
                .await?;
        }
        for role in ROLES {
            client.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await?;
        }
        let origins = "SELECT pg_replication_origin_drop(roname) FROM pg_replication_origin
            WHERE roname LIKE 'ficus\\_tickets\\_%'";
        client.execute(origins, &[]).await?;
        Ok(())
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://{}{}/{database}", self.owner, self.address)
    }
}

impl Server {
    /// A private server.
    ///
    /// # Errors
    /// When PostgreSQL can not be started.
    pub(crate) async fn private() -> anyhow::Result<Self> {
        let cluster = Cluster::builder()
            .setting("shared_buffers = '256MB'")
            .setting("max_wal_size = '4GB'")
            .start()
            .await?;
        Ok(Self::Private(Box::new(cluster)))
    }

    /// A server that was given; answers whether it is free for a world.
    ///
    /// # Errors
    /// When it can not be reached, or holds something by our names.
    pub(crate) async fn given(given: &Given) -> anyhow::Result<Self> {
        given.check_is_free().await.context("the given server can not be used")?;
        Ok(Self::Given(given.clone()))
    }

    /// URL of a database for the superuser.
    pub(crate) fn url(&self, database: &str) -> String {
        match self {
            Self::Private(cluster) => cluster.url(database),
            Self::Given(given) => given.url(database),
        }
    }

    /// URL of a database for a role.
    pub(crate) fn url_as(&self, role: &str, database: &str) -> String {
        match self {
            Self::Private(cluster) => cluster.url_as(role, database),
            Self::Given(Given { address, password, .. }) => {
                format!("postgres://{role}:{password}@{address}/{database}")
            }
        }
    }

    /// A connection as the superuser.
    pub(crate) async fn connect(&self, database: &str) -> anyhow::Result<Client> {
        connect(&self.url(database)).await
    }

    /// Runs SQL as the superuser.
    pub(crate) async fn execute(&self, database: &str, sql: &str) -> anyhow::Result<()> {
        let client = self.connect(database).await?;
        client.batch_execute(sql).await.with_context(|| format!("run {sql:?} in {database}"))
    }

    /// Creates a role that may log in; one that is there already is left alone.
    pub(crate) async fn create_role(&self, role: &str, rights: &str) -> anyhow::Result<()> {
        let client = self.connect("postgres").await?;
        let known = client.query_opt("SELECT FROM pg_roles WHERE rolname = $1", &[&role]).await?;
        if known.is_some() {
            return Ok(());
        }
        let password = match self {
            Self::Private(_) => String::new(),
            Self::Given(given) => format!(" PASSWORD '{}'", given.password),
        };
        client.batch_execute(&format!("CREATE ROLE {role} LOGIN {rights}{password}")).await?;
        Ok(())
    }

    /// Takes away what was made on a given server; a private one goes by itself.
    pub(crate) async fn clear(&self) -> anyhow::Result<()> {
        match self {
            Self::Private(_) => Ok(()),
            Self::Given(given) => given.clear().await,
        }
    }
}

async fn connect(url: &str) -> anyhow::Result<Client> {
    let (client, connection) =
        testkit::tokio_postgres::connect(url, NoTls).await.context("connect to PostgreSQL")?;
    tokio::spawn(async move {
        // the client's next call says what went wrong
        let _ended = connection.await;
    });
    Ok(client)
}

#[cfg(test)]
mod tests {
    use super::Given;

    #[test]
    fn a_given_server_keeps_its_user_and_address_and_gets_its_own_databases() {
        let given = Given::parse("postgres://boss:secret@db.example:5433/postgres?x=1").unwrap();
        assert_eq!(given.url("monolith"), "postgres://boss:secret@db.example:5433/monolith");
        assert!(Given::parse("mysql://a@b").is_err());
        assert!(Given::parse("postgres://db.example").is_err());
    }
}
