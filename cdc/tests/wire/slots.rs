//! Identity of the server, and the life of slots.

use std::collections::BTreeSet;

use cdc::wire::{StartOptions, WireError};
use pg::Lsn;
use testkit::{Cluster, wait_until};

use crate::source::{BOUND, PUBLICATION, Source, inserted_ids, next, read_to_end};

#[tokio::test]
async fn the_server_tells_who_it_is() -> anyhow::Result<()> {
    let source = Source::create("identity").await?;
    let mut client = source.client().await?;
    let identity = client.identify_system().await?;
    let system_id = "SELECT system_identifier FROM pg_control_system()";
    assert_eq!(identity.system_id, source.value(system_id).await?);
    assert_eq!(identity.dbname, "identity");
    assert_eq!(identity.timeline, 1);
    assert!(identity.xlogpos > Lsn::ZERO);
    assert!(identity.xlogpos <= source.value("pg_current_wal_lsn()").await?.parse()?);
    assert_eq!(client.server_version().major(), Cluster::shared().await?.major());
    Ok(client.close().await?)
}

#[tokio::test]
async fn snapshot_and_stream_together_hold_every_row_exactly_once() -> anyhow::Result<()> {
    let source = Source::create("exact_snapshot").await?;
    let writer = Cluster::shared().await?.connect("exact_snapshot").await?;
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let writing = tokio::spawn(async move {
        let mut last: i64 = 0;
        while stopped.try_recv().is_err() {
            last += 1;
            writer.execute("INSERT INTO ticket VALUES ($1)", &[&last]).await?;
        }
        anyhow::Ok(last)
    });
    wait_until(BOUND, async || {
        Ok((source.value("SELECT count(*) > 50 FROM ticket").await? == "true").then_some(()))
    })
    .await?;

    let mut client = source.client().await?;
    let slot = client.create_slot("exact_snapshot", true).await?;
    let snapshot = slot.snapshot_name.expect("a snapshot was asked for");
    wait_until(BOUND, async || {
        let is_ahead = "SELECT pg_current_wal_lsn() > ";
        let is_ahead = format!("{is_ahead} '{}'::pg_lsn + 10000", slot.consistent_point);
        Ok((source.value(&is_ahead).await? == "true").then_some(()))
    })
    .await?;
    source
        .sql
        .batch_execute(&format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '{snapshot}'"
        ))
        .await?;
    let rows = source.sql.query("SELECT id FROM ticket", &[]).await?;
    source.sql.batch_execute("COMMIT").await?;
    let copied: BTreeSet<i64> = rows.iter().map(|row| row.get(0)).collect();

    stop.send(()).expect("the writer runs");
    let last = writing.await??;
    source.mark_end().await?;
    let options = StartOptions::new([PUBLICATION]);
    let mut stream = client.start("exact_snapshot", slot.consistent_point, options).await?;
    let streamed: BTreeSet<i64> =
        inserted_ids(&read_to_end(&mut stream).await?).into_iter().collect();
    assert!(copied.is_disjoint(&streamed));
    assert!(!copied.is_empty() && !streamed.is_empty());
    assert_eq!(
        copied.union(&streamed).copied().collect::<Vec<_>>(),
        (1..=last).collect::<Vec<_>>()
    );
    Ok(())
}

#[tokio::test]
async fn a_slot_that_shall_survive_a_failover_is_made_so_where_the_server_can() -> anyhow::Result<()>
{
    let source = Source::create("failover_slot").await?;
    let mut client = source.client().await?;
    let slot = client.create_failover_slot("failover_slot", true).await?;
    assert!(slot.snapshot_name.is_some());
    if client.server_version().major() >= 17 {
        let failover =
            "SELECT failover FROM pg_replication_slots WHERE slot_name = 'failover_slot'";
        assert_eq!(source.value(failover).await?, "true");
    }
    client.drop_slot("failover_slot").await?;
    Ok(client.close().await?)
}

#[tokio::test]
async fn a_slot_without_export_has_no_snapshot_and_can_be_dropped() -> anyhow::Result<()> {
    let source = Source::create("plain_slot").await?;
    let mut client = source.client().await?;
    let slot = client.create_slot("plain_slot", false).await?;
    assert_eq!(slot.snapshot_name, None);
    assert_eq!(source.confirmed_flush_lsn().await?, slot.consistent_point);
    let twice = client.create_slot("plain_slot", false).await.expect_err("it exists");
    assert_eq!(twice.sqlstate(), Some("42710"));
    client.drop_slot("plain_slot").await?;
    let count = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'plain_slot'";
    assert_eq!(source.value(count).await?, "0");
    let missing = client.drop_slot("plain_slot").await.expect_err("it is gone");
    assert!(missing.is_slot_missing(), "{missing:?}");
    Ok(())
}

#[tokio::test]
async fn a_slot_in_use_is_told_apart_from_a_missing_one_and_from_a_missing_publication()
-> anyhow::Result<()> {
    let source = Source::create("refused_starts").await?;
    let stream = source.stream().await?;
    let start = async |slot: &str, publication: &str| {
        let options = StartOptions::new([publication]);
        anyhow::Ok(source.client().await?.start(slot, Lsn::ZERO, options).await)
    };
    let in_use = start("refused_starts", PUBLICATION).await?.expect_err("somebody streams");
    assert!(in_use.is_slot_in_use() && in_use.is_transient(), "{in_use:?}");
    let missing = start("no_such_slot", PUBLICATION).await?.expect_err("there is none");
    assert!(missing.is_slot_missing() && !missing.is_transient(), "{missing:?}");
    stream.close().await?;
    source.sql.batch_execute("INSERT INTO ticket VALUES (1)").await?;
    let mut stream = start("refused_starts", "no such, \"publication'").await??;
    let error = loop {
        match next(&mut stream).await {
            Ok(_) => {}
            Err(error) => break error.downcast::<WireError>()?,
        }
    };
    assert_eq!(error.sqlstate(), Some("42704"));
    assert!(!error.is_slot_missing(), "{error:?}");
    let message = &error.server_error().expect("the server refused").message;
    assert!(message.contains("no such, \"publication'"), "{message}");
    Ok(())
}

#[tokio::test]
async fn a_slot_whose_log_was_removed_is_reported_as_lost() -> anyhow::Result<()> {
    let cluster = Cluster::builder().setting("max_slot_wal_keep_size = 1MB").start().await?;
    let source = Source::create_on(&cluster, "lost_slot").await?;
    source.client().await?.create_slot("lost_slot", false).await?;
    wait_until(BOUND, async || {
        source
            .sql
            .batch_execute("INSERT INTO ticket SELECT coalesce(max(id), 0) + 1 FROM ticket")
            .await?;
        source.sql.batch_execute("SELECT pg_switch_wal()").await?;
        source.sql.batch_execute("CHECKPOINT").await?;
        let is_lost = "SELECT wal_status = 'lost' FROM pg_replication_slots";
        Ok((source.value(is_lost).await? == "true").then_some(()))
    })
    .await?;
    let error =
        source.stream_again().await.expect_err("its log is gone").downcast::<WireError>()?;
    assert!(error.is_slot_lost() && !error.is_transient(), "{error:?}");
    Ok(())
}

#[tokio::test]
async fn closing_a_stream_frees_its_slot_before_it_returns() -> anyhow::Result<()> {
    let source = Source::create("freed_slot").await?;
    let is_active = "SELECT active FROM pg_replication_slots WHERE slot_name = 'freed_slot'";
    let mut stream = source.stream().await?;
    for id in 0..5_i64 {
        assert_eq!(source.value(is_active).await?, "true");
        source.sql.execute("INSERT INTO ticket VALUES ($1)", &[&id]).await?;
        stream.close().await?;
        assert_eq!(source.value(is_active).await?, "false");
        stream = source.stream_again().await?;
    }
    source.mark_end().await?;
    assert_eq!(inserted_ids(&read_to_end(&mut stream).await?), [0, 1, 2, 3, 4]);
    Ok(())
}

#[tokio::test]
async fn dropping_a_stream_frees_its_slot_soon() -> anyhow::Result<()> {
    let source = Source::create("dropped_stream").await?;
    drop(source.stream().await?);
    wait_until(BOUND, async || match source.stream_again().await {
        Ok(_) => Ok(Some(())),
        Err(error) => match error.downcast::<WireError>()? {
            error if error.is_slot_in_use() => Ok(None),
            error => Err(error.into()),
        },
    })
    .await
}

#[tokio::test]
async fn a_command_that_was_given_up_makes_the_next_one_fail_and_not_read_its_answer()
-> anyhow::Result<()> {
    let source = Source::create("given_up_command").await?;
    let mut client = source.client().await?;
    let blocker = Cluster::shared().await?.connect("given_up_command").await?;
    // A slot is made only when transactions that run now have ended, so this one waits.
    blocker.batch_execute("BEGIN; INSERT INTO ticket VALUES (1)").await?;
    tokio::select! {
        biased;
        made = client.create_slot("given_up_command", false) => panic!("it did not wait: {made:?}"),
        waiting = wait_until(BOUND, async || {
            let waits = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'
                AND datname = 'given_up_command' AND wait_event_type = 'Lock'";
            Ok((source.value(waits).await? == "1").then_some(()))
        }) => waiting?,
    }
    let next = tokio::time::timeout(BOUND, client.identify_system()).await?;
    let error = next.expect_err("another answer is on its way");
    assert!(matches!(error, WireError::Interrupted), "{error:?}");
    blocker.batch_execute("ROLLBACK").await?;
    Ok(())
}
