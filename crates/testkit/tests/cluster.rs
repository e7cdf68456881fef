//! The private cluster, tried on the installed PostgreSQL.

use std::time::Duration;

use testkit::{Cluster, wait_until};

#[tokio::test]
async fn a_cluster_answers_makes_a_logical_slot_and_is_gone_after_drop() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    cluster.create_database("shop").await?;
    let client = cluster.connect("shop").await?;
    let slot = client
        .query_one("SELECT slot_name FROM pg_create_logical_replication_slot('s', 'pgoutput')", &[])
        .await?;
    assert_eq!(slot.get::<_, &str>(0), "s");
    let base = cluster.socket_dir().to_owned();
    let port = cluster.port();
    assert!(base.join(format!(".s.PGSQL.{port}")).exists(), "a Unix socket is there too");
    drop(cluster);
    assert!(!base.exists(), "the directory is removed");
    let refused = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
    assert!(refused.is_err(), "nothing listens any more");
    Ok(())
}

#[tokio::test]
async fn what_was_committed_survives_an_immediate_stop_and_a_restart() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    cluster.execute("postgres", "CREATE TABLE t (n int); INSERT INTO t VALUES (7)").await?;
    let port = cluster.port();
    cluster.stop_immediate().await?;
    assert!(cluster.connect("postgres").await.is_err(), "a stopped server refuses connections");
    cluster.restart().await?;
    assert_eq!(cluster.port(), port);
    let row = cluster.connect("postgres").await?.query_one("SELECT n FROM t", &[]).await?;
    assert_eq!(row.get::<_, i32>(0), 7);
    Ok(())
}

#[tokio::test]
async fn roles_with_odd_names_connect_through_their_url() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    cluster.create_role("odd/role @1").await?;
    cluster.create_database("odd db?").await?;
    let client = cluster.connect_as("odd/role @1", "odd db?").await?;
    let row = client.query_one("SELECT session_user::text, current_database()::text", &[]).await?;
    assert_eq!(row.get::<_, &str>(0), "odd/role @1");
    assert_eq!(row.get::<_, &str>(1), "odd db?");
    Ok(())
}

#[tokio::test]
async fn a_condition_that_is_never_met_ends_with_the_place_of_the_caller() {
    let error = wait_until(Duration::from_millis(50), || async { Ok(None::<()>) })
        .await
        .expect_err("it is never met");
    assert!(error.to_string().contains("tests/cluster.rs"), "{error}");
}

#[tokio::test]
async fn a_kept_directory_is_used_again_with_its_data_and_new_settings() -> anyhow::Result<()> {
    let dir = tempfile::tempdir_in("/tmp")?;
    let kept = dir.path().join("kept");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.path(), mode)?;
    let first = Cluster::builder().directory(&kept).durable(true).start().await?;
    first.execute("postgres", "CREATE TABLE t AS SELECT 7 AS n").await?;
    drop(first);

    let second = Cluster::builder().directory(&kept).setting("work_mem = '5MB'").start().await?;
    let client = second.connect("postgres").await?;
    let row = client.query_one("SELECT n, current_setting('work_mem') FROM t", &[]).await?;
    assert_eq!((row.get::<_, i32>(0), row.get::<_, &str>(1)), (7, "5MB"));
    Ok(())
}

#[tokio::test]
async fn a_wrong_setting_is_reported_with_the_words_of_the_server() {
    let started = Cluster::builder().setting("no_such_setting = 1").start().await;
    let error = started.expect_err("the setting does not exist");
    assert!(error.to_string().contains("no_such_setting"), "{error}");
}

#[tokio::test]
async fn two_clusters_are_two_lineages() -> anyhow::Result<()> {
    let (one, other) = tokio::try_join!(Cluster::start(), Cluster::start())?;
    let sql = "SELECT system_identifier FROM pg_control_system()";
    let id_of_one: i64 = one.connect("postgres").await?.query_one(sql, &[]).await?.get(0);
    let id_of_other: i64 = other.connect("postgres").await?.query_one(sql, &[]).await?.get(0);
    assert_ne!(id_of_one, id_of_other);
    Ok(())
}
