//! Ways to the server and past its door.

use std::time::Duration;

use cdc::wire::{ReplicationClient, WireError};
use pg_connect::Settings;
use testkit::{Cluster, tokio_postgres::Config};

/// Each role is asked for its password in another way; everybody else is trusted.
const HBA: &str = "\
local all all trust
host all by_scram 127.0.0.1/32 scram-sha-256
host all by_md5 127.0.0.1/32 md5
host all by_cleartext 127.0.0.1/32 password
host all nobody 127.0.0.1/32 reject
host all all 127.0.0.1/32 trust
";

async fn guarded_cluster() -> anyhow::Result<Cluster> {
    let cluster = Cluster::start().await?;
    let sql = "SET password_encryption = 'scram-sha-256';
        CREATE ROLE by_scram LOGIN REPLICATION PASSWORD 'se''cret ß';
        CREATE ROLE by_cleartext LOGIN REPLICATION PASSWORD 'open';
        CREATE ROLE nobody LOGIN REPLICATION;
        SET password_encryption = 'md5';
        CREATE ROLE by_md5 LOGIN REPLICATION PASSWORD 'old'";
    cluster.execute("postgres", sql).await?;
    std::fs::write(cluster.data_dir().join("pg_hba.conf"), HBA)?;
    cluster.restart().await?;
    Ok(cluster)
}

fn config(cluster: &Cluster, role: &str, password: Option<&str>) -> anyhow::Result<Settings> {
    let mut config: Config = cluster.url_as(role, "postgres").parse()?;
    if let Some(password) = password {
        config.password(password);
    }
    Ok(config.into())
}

#[tokio::test]
async fn every_way_to_prove_a_password_works_and_a_wrong_one_is_refused() -> anyhow::Result<()> {
    let cluster = guarded_cluster().await?;
    for (role, password) in [("by_scram", "se'cret ß"), ("by_md5", "old"), ("by_cleartext", "open")]
    {
        let mut client =
            ReplicationClient::connect(&config(&cluster, role, Some(password))?).await?;
        assert_eq!(client.identify_system().await?.dbname, "postgres", "{role}");

        let wrong = config(&cluster, role, Some("wrong"))?;
        let error = ReplicationClient::connect(&wrong).await.expect_err("a wrong password");
        assert_eq!(error.sqlstate(), Some("28P01"), "{role}: {error:?}");
        assert!(!error.is_transient(), "{role}");

        let without = config(&cluster, role, None)?;
        let error = ReplicationClient::connect(&without).await.expect_err("no password");
        assert!(matches!(error, WireError::Login { .. }), "{role}: {error:?}");
    }
    let rejected = config(&cluster, "nobody", None)?;
    let error = ReplicationClient::connect(&rejected).await.expect_err("pg_hba.conf rejects it");
    assert_eq!(error.sqlstate(), Some("28000"));

    Ok(())
}

#[tokio::test]
async fn a_unix_socket_and_a_second_host_are_ways_to_the_server() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    let mut config = Config::new();
    config.host_path(cluster.socket_dir()).port(cluster.port());
    config.user("postgres").dbname("postgres");
    let mut client = ReplicationClient::connect(&config.into()).await?;
    let by_socket = client.identify_system().await?.system_id;

    let mut config = Config::new();
    config.host("127.0.0.1").host("localhost");
    config.port(testkit::free_port()?).port(cluster.port());
    config.user("postgres").dbname("postgres");
    let mut client = ReplicationClient::connect(&config.into()).await?;
    assert_eq!(client.identify_system().await?.system_id, by_socket);
    Ok(())
}

#[tokio::test]
async fn the_server_sees_the_name_of_the_application() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    let mut config: Config = cluster.url("postgres").parse()?;
    config.application_name("ficus-wire-test");
    let client = ReplicationClient::connect(&config.into()).await?;
    let sql = cluster.connect("postgres").await?;
    let seen = "SELECT count(*) FROM pg_stat_activity \
        WHERE application_name = 'ficus-wire-test' AND backend_type = 'walsender'";
    assert_eq!(sql.query_one(seen, &[]).await?.get::<_, i64>(0), 1);
    Ok(client.close().await?)
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_before_a_byte_is_sent() -> anyhow::Result<()> {
    let connect = async |text: &str| {
        let settings: Settings = text.parse()?;
        anyhow::Ok(ReplicationClient::connect(&settings).await.expect_err("unusable settings"))
    };
    let port = testkit::free_port()?;
    let error = connect(&format!("postgres://u@127.0.0.1:{port}/d")).await?;
    assert!(matches!(error, WireError::Connect { .. }) && error.is_transient(), "{error:?}");
    assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
    let error = connect("user=u dbname=d").await?;
    assert!(matches!(error, WireError::Settings { .. }), "{error:?}");
    let error = connect("host=a,b,c port=1,2 user=u").await?;
    assert!(matches!(error, WireError::Settings { .. }), "{error:?}");
    Ok(())
}

#[tokio::test]
async fn a_server_that_says_nothing_does_not_hold_the_login_for_ever() -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let mut config: Config = format!("postgres://u@127.0.0.1:{port}/d").parse()?;
    config.connect_timeout(Duration::from_millis(50));
    let error = ReplicationClient::connect(&config.into()).await.expect_err("nobody answers");
    assert!(matches!(error, WireError::ConnectTimeout { .. }), "{error:?}");
    Ok(())
}
