//! What a database keeps for a stream is bounded: idle ones let go of it, and a stream that would fill
//! the disk is given up.

use cutover::{Side, StreamKind};
use rpc::v1;
use testkit::{Cluster, ClusterBuilder, tokio_postgres::Client, wait_until};

use crate::world::{BOUND, World, map};

const MIB: u64 = 1 << 20;

/// A cluster for one test, because all databases of a cluster write one log. It lives as long as the
/// test process.
async fn own_cluster(builder: ClusterBuilder) -> anyhow::Result<&'static Cluster> {
    Ok(Box::leak(Box::new(builder.start().await?)))
}

/// Writes so many MiB into the log.
async fn write_log(client: &Client, mib: u64) -> anyhow::Result<()> {
    for _ in 0..mib {
        let sql = "SELECT pg_logical_emit_message(false, 'test', repeat('x', 1048576))";
        client.batch_execute(sql).await?;
    }
    Ok(())
}

async fn has_slot(world: &World, kind: StreamKind) -> anyhow::Result<bool> {
    let sql = "SELECT 1 FROM pg_replication_slots WHERE slot_name = $1";
    Ok(world.source.query_opt(sql, &[&kind.slot(&world.name)]).await?.is_some())
}

async fn wal(world: &World, kind: StreamKind) -> anyhow::Result<Option<v1::WalStatus>> {
    Ok(world.status(kind).await?.and_then(|status| status.wal))
}

async fn wait_for_level(world: &World, kind: StreamKind, level: &str) -> anyhow::Result<()> {
    wait_until(BOUND, || async {
        Ok(wal(world, kind).await?.filter(|wal| wal.level == level).map(drop))
    })
    .await
}

#[tokio::test]
async fn a_paused_stream_raises_the_alarm_and_then_loses_its_slot_before_the_disk_is_full()
-> anyhow::Result<()> {
    let cluster = own_cluster(Cluster::builder()).await?;
    let mut world = World::on(cluster, |_| {}).await?;
    world.configure(|config| config.cdc.wal_budget = 64 * MIB);
    world.run().await?;
    world.start(StreamKind::Forward).await?;
    wait_for_level(&world, StreamKind::Forward, "ok").await?;
    world.client().pause(world.stream(StreamKind::Forward)).await?;
    write_log(&world.source, 55).await?;
    wait_for_level(&world, StreamKind::Forward, "alarm").await?;
    let status = world.wait_for_state(StreamKind::Forward, "paused").await?;
    let limit = status.wal.as_ref().map(|wal| (wal.limit_bytes, wal.limit_set_by.as_str()));
    assert_eq!(limit, Some((Some(64 * MIB), "wal_budget")));
    assert!(has_slot(&world, StreamKind::Forward).await?);

    write_log(&world.source, 15).await?;
    let failed = world.wait_for_state(StreamKind::Forward, "failed").await?;
    for part in ["wal_budget is 64.0 MiB", "slot ficus_", "copies its tables anew"] {
        assert!(failed.reason.contains(part), "{part} in {}", failed.reason);
    }
    assert!(!has_slot(&world, StreamKind::Forward).await?);

    // Whoever comes later finds the reason, and not a stream without its slot.
    world.crash().await?;
    world.run().await?;
    let found = world.wait_for_state(StreamKind::Forward, "failed").await?;
    assert_eq!(found.reason, failed.reason);

    world.client().drop(world.stream(StreamKind::Forward)).await?;
    world.source.batch_execute("INSERT INTO article (ticket_id) VALUES (1)").await?;
    world.start(StreamKind::Forward).await?;
    world.barrier(StreamKind::Forward).await?;
    world.assert_equal().await?;
    world.end().await
}

#[tokio::test]
async fn a_budget_that_may_be_exceeded_costs_no_slot() -> anyhow::Result<()> {
    let cluster = own_cluster(Cluster::builder()).await?;
    let mut world = World::on(cluster, |_| {}).await?;
    world.configure(|config| {
        config.cdc.wal_budget = 32 * MIB;
        config.cdc.wal_last_resort = routes::LastResort::Keep;
    });
    world.run().await?;
    world.start(StreamKind::Forward).await?;
    world.client().pause(world.stream(StreamKind::Forward)).await?;
    world.source.batch_execute("INSERT INTO article (ticket_id) VALUES (1)").await?;
    write_log(&world.source, 40).await?;
    wait_for_level(&world, StreamKind::Forward, "exhausted").await?;
    world.client().resume(world.stream(StreamKind::Forward)).await?;
    world.wait_for_state(StreamKind::Forward, "streaming").await?;
    world.barrier(StreamKind::Forward).await?;
    world.assert_equal().await?;
    world.end().await
}

#[tokio::test]
async fn a_copy_whose_slot_lost_its_log_ends_at_once_and_is_not_tried_again() -> anyhow::Result<()>
{
    let cluster = own_cluster(Cluster::builder().setting("max_slot_wal_keep_size = 32MB")).await?;
    let mut world = World::on(cluster, |capability| {
        // A copy that takes longer than the test.
        capability.tables[0].set = map(&[
            ("created_at", "create_time AT TIME ZONE 'UTC'"),
            ("title_and_body", "pg_sleep(300)::text"),
        ]);
    })
    .await?;
    world.source.batch_execute("INSERT INTO ticket (tn) VALUES ('1')").await?;
    world.run().await?;
    world.client().start(world.stream(StreamKind::Forward)).await?;
    world.wait_for_state(StreamKind::Forward, "copying").await?;
    write_log(&world.source, 80).await?;
    world.source.batch_execute("CHECKPOINT").await?;
    let failed = world.wait_for_state(StreamKind::Forward, "failed").await?;
    assert!(failed.reason.contains("max_slot_wal_keep_size"), "{}", failed.reason);
    world.crash().await?;
    world.run().await?;
    let found = world.wait_for_state(StreamKind::Forward, "failed").await?;
    assert!(found.reason.contains("max_slot_wal_keep_size"), "{}", found.reason);
    world.end().await
}

#[tokio::test]
async fn idle_databases_beside_a_busy_one_let_go_of_its_log() -> anyhow::Result<()> {
    let cluster = own_cluster(Cluster::builder()).await?;
    let mut world = World::on(cluster, |_| {}).await?;
    world.run().await?;
    world.start(StreamKind::Forward).await?;
    // Stopped: it reads the service's database and carries nothing over.
    world.start(StreamKind::Reverse).await?;
    cluster.create_database("busy").await?;
    let busy = cluster.connect("busy").await?;
    busy.batch_execute("CREATE TABLE noise (text text)").await?;
    let slots = [StreamKind::Forward, StreamKind::Reverse].map(|kind| kind.slot(&world.name));
    let begin: String = busy.query_one("SELECT pg_current_wal_lsn()::text", &[]).await?.get(0);
    let mut kept_max = 0;
    for _ in 0..16 {
        let noise =
            "INSERT INTO noise SELECT repeat(md5(n::text), 30) FROM generate_series(1, 8000) n";
        busy.batch_execute(noise).await?;
        // The server writes down who runs at each checkpoint, and else every 15 s; until then a slot
        // cannot move on.
        busy.batch_execute("CHECKPOINT").await?;
        let sql = "SELECT max(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn))::bigint
            FROM pg_replication_slots WHERE slot_name = ANY ($1)";
        let slots: Vec<&str> = slots.iter().map(String::as_str).collect();
        // The streams get a moment to follow, not for ever.
        let kept = wait_until(std::time::Duration::from_secs(30), || async {
            let kept: i64 = busy.query_one(sql, &[&slots]).await?.get(0);
            Ok((kept < 24 << 20).then_some(kept))
        })
        .await?;
        kept_max = kept_max.max(kept);
    }
    let written = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), $1::text::pg_lsn)::bigint";
    let written: i64 = busy.query_one(written, &[&begin]).await?.get(0);
    assert!(written > 96 << 20, "only {written} bytes were written");
    assert!(kept_max < 24 << 20, "{kept_max} bytes are kept");
    for kind in [StreamKind::Forward, StreamKind::Reverse] {
        let seen = wal(&world, kind).await?;
        assert_eq!(seen.map(|wal| wal.level).as_deref(), Some("ok"));
    }
    assert_eq!(StreamKind::Reverse.reads_from(), Side::Target);
    world.end().await
}

/// The value of the one series with this name and these labels, as `/metrics` shows it.
fn figure(name: &str, labels: &[(&str, &str)]) -> Option<String> {
    let shown = prometheus::TextEncoder::new().encode_to_string(&prometheus::gather()).ok()?;
    let labels: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    let line = shown.lines().find(|line| {
        line.split('{').next() == Some(name) && labels.iter().all(|label| line.contains(label))
    });
    line?.rsplit(' ').next().map(str::to_owned)
}

#[tokio::test]
async fn figures_tell_changes_by_table_and_kind_and_end_with_the_stream() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    world.run().await?;
    world.start(StreamKind::Forward).await?;
    let changes = "INSERT INTO article (ticket_id) VALUES (1), (2);
        UPDATE article SET subject = 'x' WHERE ticket_id = 1;
        DELETE FROM article WHERE ticket_id = 2";
    world.source.batch_execute(changes).await?;
    world.barrier(StreamKind::Forward).await?;
    let stream = StreamKind::Forward.key(&world.name);
    for (kind, count) in [("insert", "2"), ("update", "1"), ("delete", "1"), ("truncate", "0")] {
        let labels = [("stream", stream.as_str()), ("table", "public.articles"), ("kind", kind)];
        let counted = figure("ficus_cdc_changes_applied_total", &labels);
        assert_eq!(counted.as_deref(), Some(count), "{kind}");
    }
    let known = [("stream", stream.as_str())];
    for name in ["ficus_cdc_slot_retained_bytes", "ficus_cdc_oldest_transaction_seconds"] {
        wait_until(BOUND, || async { Ok(figure(name, &known).map(drop)) }).await?;
    }
    let confirmed = [("stream", stream.as_str()), ("position", "confirmed")];
    wait_until(BOUND, || async { Ok(figure("ficus_cdc_lag_seconds", &confirmed).map(drop)) })
        .await?;
    world.client().drop(world.stream(StreamKind::Forward)).await?;
    for name in ["ficus_cdc_slot_retained_bytes", "ficus_cdc_stream_state", "ficus_cdc_lag_bytes"] {
        wait_until(BOUND, || async { Ok(figure(name, &known).is_none().then_some(())) }).await?;
    }
    world.end().await
}
