//! Installing on a database that is in use: its writers neither meet a deadlock nor wait long.

use std::time::Duration;

use cutover::Side;
use guard::{Install, install};
use testkit::{Cluster, wait_until};

const BOUND: Duration = Duration::from_secs(20);

const TABLES: &str = "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)";

const GUARDED: &str = "SELECT count(*) FROM pg_trigger WHERE tgname = 'ficus_guard'";

fn plan() -> Install {
    let tables = ["public.a", "public.b"].map(|name| name.parse().expect("a table's name"));
    Install {
        capability: "letters".to_owned(),
        side: Side::Source,
        tables: tables.into(),
        references: Vec::new(),
        sequences: Vec::new(),
    }
}

#[tokio::test]
async fn an_install_meets_no_deadlock_with_a_writer_that_goes_from_table_to_table() {
    let cluster = Cluster::shared().await.unwrap();
    cluster.create_database("crossing").await.unwrap();
    cluster.execute("crossing", TABLES).await.unwrap();
    let mut writer = cluster.connect("crossing").await.unwrap();
    let looker = cluster.connect("crossing").await.unwrap();
    let tx = writer.transaction().await.unwrap();
    tx.batch_execute("SET LOCAL statement_timeout = '5s'; INSERT INTO b VALUES (1)").await.unwrap();
    let mut owner = cluster.connect("crossing").await.unwrap();
    let installing = tokio::spawn(async move { install(&mut owner, &plan()).await });
    wait_until(BOUND, || async {
        let guarded: i64 = looker.query_one(GUARDED, &[]).await?.get(0);
        Ok((guarded == 1).then_some(()))
    })
    .await
    .expect("the first table has its trigger while the second one is locked");
    tx.batch_execute("INSERT INTO a VALUES (1)").await.expect("the writer goes on to the first");
    tx.commit().await.unwrap();
    installing.await.unwrap().expect("installed once the writer is done");
    let guarded: i64 = looker.query_one(GUARDED, &[]).await.unwrap().get(0);
    assert_eq!(guarded, 2);
    let rows = looker.query("SELECT FROM ficus.guard WHERE state = 'OPEN'", &[]).await.unwrap();
    assert_eq!(rows.len(), 1);
}

#[tokio::test]
async fn writers_of_a_table_that_somebody_keeps_locked_pass_an_install_that_waits_for_it() {
    let cluster = Cluster::shared().await.unwrap();
    cluster.create_database("waiting").await.unwrap();
    cluster.execute("waiting", TABLES).await.unwrap();
    let mut long = cluster.connect("waiting").await.unwrap();
    let tx = long.transaction().await.unwrap();
    tx.batch_execute("INSERT INTO a VALUES (0)").await.unwrap();
    let mut owner = cluster.connect("waiting").await.unwrap();
    let installing = tokio::spawn(async move { install(&mut owner, &plan()).await });
    let looker = cluster.connect("waiting").await.unwrap();
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'a'::regclass";
    wait_until(BOUND, || async {
        let waits: i64 = looker.query_one(waits, &[]).await?.get(0);
        Ok((waits > 0).then_some(()))
    })
    .await
    .expect("the install waits for the table");
    let writer = cluster.connect("waiting").await.unwrap();
    writer.batch_execute("SET statement_timeout = '5s'").await.unwrap();
    for id in 1..=5 {
        writer.execute("INSERT INTO a VALUES ($1)", &[&id]).await.expect("a writer passes");
    }
    assert!(!installing.is_finished());
    tx.commit().await.unwrap();
    installing.await.unwrap().expect("installed once the long writer is done");
}
