//! Feedback: what the server learns, and when it must not wait for the consumer.

use std::time::Duration;

use cdc::wire::{Frame, StartOptions, WireError};
use pg::{
    Lsn,
    pgoutput::{DecodeContext, Message},
};
use testkit::{Cluster, wait_until};

use crate::source::{BOUND, PUBLICATION, Source, inserted_ids, next, next_message, read_to_end};

#[tokio::test]
async fn the_slot_moves_when_the_consumer_confirms_and_not_before() -> anyhow::Result<()> {
    let source = Source::create("confirmed_slot").await?;
    let options = StartOptions {
        status_interval: Duration::from_millis(20),
        ..StartOptions::new([PUBLICATION])
    };
    let mut stream = source.stream_with(options).await?;
    let before = source.confirmed_flush_lsn().await?;
    source.sql.batch_execute("INSERT INTO ticket VALUES (1)").await?;
    source.sql.batch_execute("INSERT INTO ticket VALUES (2)").await?;
    let mut context = DecodeContext::default();
    let first = loop {
        if let Message::Commit(commit) = next_message(&mut stream, &mut context).await?.1 {
            break commit.end_lsn;
        }
    };
    // The server has heard several times that this was received.
    wait_until(BOUND, async || {
        let heard = "SELECT coalesce(write_lsn >= $1::text::pg_lsn, false) FROM pg_stat_replication \
            JOIN pg_replication_slots ON active_pid = pid WHERE slot_name = 'confirmed_slot'";
        let row = source.sql.query_one(heard, &[&first.to_string()]).await?;
        Ok(row.get::<_, bool>(0).then_some(()))
    })
    .await?;
    assert_eq!(source.confirmed_flush_lsn().await?, before);

    let progress = stream.progress();
    progress.confirm(first);
    progress.confirm(before);
    assert_eq!(progress.confirmed(), first);
    wait_until(BOUND, async || Ok((source.confirmed_flush_lsn().await? == first).then_some(())))
        .await?;
    assert_eq!(progress.reported(), first);
    stream.close().await?;

    source.mark_end().await?;
    let mut stream = source.stream_again().await?;
    assert_eq!(inserted_ids(&read_to_end(&mut stream).await?), [2]);
    Ok(())
}

#[tokio::test]
async fn closing_reports_what_was_confirmed_last() -> anyhow::Result<()> {
    let source = Source::create("last_report").await?;
    let options = StartOptions {
        status_interval: Duration::from_secs(3600),
        ..StartOptions::new([PUBLICATION])
    };
    let mut stream = source.stream_with(options).await?;
    source.sql.batch_execute("INSERT INTO ticket VALUES (1)").await?;
    let mut context = DecodeContext::default();
    let end_lsn = loop {
        if let Message::Commit(commit) = next_message(&mut stream, &mut context).await?.1 {
            break commit.end_lsn;
        }
    };
    stream.progress().confirm(end_lsn);
    stream.close().await?;
    assert_eq!(source.confirmed_flush_lsn().await?, end_lsn);
    Ok(())
}

#[tokio::test]
async fn a_position_that_never_came_is_not_reported() -> anyhow::Result<()> {
    let source = Source::create("too_much_confirmed").await?;
    let stream = source.stream().await?;
    let progress = stream.progress();
    progress.confirm(Lsn::MAX);
    stream.close().await?;
    assert!(progress.reported() <= progress.received());
    let current: Lsn = source.value("pg_current_wal_lsn()").await?.parse()?;
    assert!(source.confirmed_flush_lsn().await? <= current);
    Ok(())
}

#[tokio::test]
async fn log_of_other_databases_moves_the_stream_by_keepalives() -> anyhow::Result<()> {
    let source = Source::create("idle_database").await?;
    let mut stream = source.stream().await?;
    let busy = Source::create("busy_neighbour").await?;
    busy.sql.batch_execute("INSERT INTO ticket SELECT generate_series(1, 10000)").await?;
    let reached: Lsn = busy.value("pg_current_wal_lsn()").await?.parse()?;
    loop {
        match next(&mut stream).await? {
            Frame::Keepalive { wal_end } if wal_end >= reached => break,
            Frame::Keepalive { .. } => {}
            frame @ Frame::Wal { .. } => panic!("a foreign change came: {frame:?}"),
        }
    }
    assert!(stream.progress().received() >= reached);
    stream.progress().confirm(reached);
    stream.close().await?;
    assert_eq!(source.confirmed_flush_lsn().await?, reached);
    Ok(())
}

#[tokio::test]
async fn a_stalled_consumer_neither_loses_the_connection_nor_fills_the_memory() -> anyhow::Result<()>
{
    const ROWS: i64 = 400;
    const ROW_BYTES: u64 = 100_000;
    const BUFFER_BYTES: u32 = 1024 * 1024;
    let mut source = Source::create("stalled_consumer").await?;
    source.config.options("-c wal_sender_timeout=2s");
    let options = StartOptions {
        buffer_bytes_max: BUFFER_BYTES,
        silence_max: Duration::from_secs(2),
        ..StartOptions::new([PUBLICATION])
    };
    let mut stream = source.stream_with(options).await?;
    let sql = "INSERT INTO ticket SELECT n, '', repeat('x', 100000) FROM generate_series(1, $1::bigint) n";
    source.sql.execute(sql, &[&ROWS]).await?;
    source.mark_end().await?;

    // Nobody takes a frame for more than twice the timeout, and the server still hears from us.
    let since = source.value("clock_timestamp()").await?;
    wait_until(BOUND, async || {
        let heard = "SELECT coalesce(reply_time > $1::text::timestamptz + interval '5 s', false) \
            FROM pg_stat_replication JOIN pg_replication_slots ON active_pid = pid \
            WHERE slot_name = 'stalled_consumer'";
        let row = source.sql.query_opt(heard, &[&since]).await?;
        let row = row.ok_or_else(|| anyhow::anyhow!("the server gave the connection up"))?;
        Ok(row.get::<_, bool>(0).then_some(()))
    })
    .await?;
    let held = stream.progress().received_bytes();
    assert!(held >= u64::from(BUFFER_BYTES), "only {held} bytes were read ahead");
    assert!(held < 4 * u64::from(BUFFER_BYTES), "{held} bytes were read ahead");

    let messages = read_to_end(&mut stream).await?;
    assert_eq!(inserted_ids(&messages), (1..=ROWS).collect::<Vec<_>>());
    let sent = ROW_BYTES * u64::try_from(ROWS)?;
    assert!(stream.progress().received_bytes() > sent);
    Ok(stream.close().await?)
}

#[tokio::test]
async fn a_message_larger_than_the_buffer_passes() -> anyhow::Result<()> {
    let source = Source::create("large_message").await?;
    let options = StartOptions { buffer_bytes_max: 1000, ..StartOptions::new([PUBLICATION]) };
    let mut stream = source.stream_with(options).await?;
    let sql = "INSERT INTO ticket SELECT n, '', repeat('x', 3000000) FROM generate_series(1, 3) n";
    source.sql.batch_execute(sql).await?;
    source.mark_end().await?;
    assert_eq!(inserted_ids(&read_to_end(&mut stream).await?), [1, 2, 3]);
    Ok(())
}

#[tokio::test]
async fn an_idle_stream_outlives_both_timeouts() -> anyhow::Result<()> {
    let mut source = Source::create("idle_stream").await?;
    source.config.options("-c wal_sender_timeout=1s");
    let options =
        StartOptions { silence_max: Duration::from_secs(1), ..StartOptions::new([PUBLICATION]) };
    let mut stream = source.stream_with(options).await?;
    let since = source.value("clock_timestamp()").await?;
    wait_until(BOUND, async || {
        let elapsed = "SELECT clock_timestamp() > $1::text::timestamptz + interval '3 s'";
        let row = source.sql.query_one(elapsed, &[&since]).await?;
        Ok(row.get::<_, bool>(0).then_some(()))
    })
    .await?;
    source.sql.batch_execute("INSERT INTO ticket VALUES (1)").await?;
    source.mark_end().await?;
    assert_eq!(inserted_ids(&read_to_end(&mut stream).await?), [1]);
    Ok(())
}

#[tokio::test]
async fn a_server_that_shuts_down_ends_the_stream_after_everything_was_sent() -> anyhow::Result<()>
{
    let cluster = Cluster::start().await?;
    let source = Source::create_on(&cluster, "shutdown").await?;
    let mut stream = source.stream().await?;
    source.sql.batch_execute("INSERT INTO ticket SELECT generate_series(1, 1000)").await?;
    let read = async {
        let mut messages = Vec::new();
        loop {
            match next(&mut stream).await {
                Ok(Frame::Wal { wal_end, data, .. }) => {
                    messages.push(pg::pgoutput::decode(data, DecodeContext::default())?.message);
                    stream.progress().confirm(wal_end);
                }
                Ok(Frame::Keepalive { wal_end }) => stream.progress().confirm(wal_end),
                Err(error) => {
                    return anyhow::Ok((inserted_ids(&messages), error.downcast::<WireError>()?));
                }
            }
        }
    };
    let (stopped, read) = tokio::join!(cluster.stop(), read);
    stopped?;
    let (ids, error) = read?;
    assert_eq!(ids, (1..=1000).collect::<Vec<_>>());
    assert!(error.is_transient(), "{error:?}");
    Ok(())
}
