//! Ownership changes sides and comes back: barriers, both directions, loops, breaches.

use std::time::Duration;

use cutover::{Epoch, Side, StreamKind};
use testkit::wait_until;

use crate::world::{BOUND, World};

/// Both streams of a capability, with some rows.
async fn both_streams() -> anyhow::Result<World> {
    let mut world = World::new().await?;
    world
        .source
        .batch_execute(
            "INSERT INTO ticket (tn, title, body) SELECT n::text, 't' || n, repeat('b', 4000)
                 FROM generate_series(1, 100) n;
             INSERT INTO flag SELECT n, 'seen', 'v' FROM generate_series(1, 100) n;
             INSERT INTO flag SELECT n, 'private', 'v' FROM generate_series(1, 100) n",
        )
        .await?;
    world.run().await?;
    world.start(StreamKind::Forward).await?;
    world.start(StreamKind::Reverse).await?;
    Ok(world)
}

#[tokio::test]
async fn rows_go_round_trip_through_the_mapping_and_never_in_circles() -> anyhow::Result<()> {
    let mut world = both_streams().await?;
    world.cut_over(2).await?;
    world
        .target
        .batch_execute(
            "INSERT INTO tickets (number, title, queue_id, created_at)
                 VALUES ('born', 'in the service', 3, '2026-05-05 12:00:00+02');
             UPDATE tickets SET title = 'changed there', extra = 'x' WHERE id = 1;
             UPDATE tickets SET id = 5000 WHERE id = 2;
             UPDATE flags SET value = 'w' WHERE ticket_id = 3;
             DELETE FROM tickets WHERE id = 4;
             INSERT INTO flags VALUES (1, 'added', 'y')",
        )
        .await?;
    world
        .target
        .batch_execute(
            "UPDATE tickets SET title_and_body = coalesce(title, '') || md5(coalesce(body, ''))",
        )
        .await?;
    world.barrier(StreamKind::Reverse).await?;
    world.assert_equal().await?;
    let born = world
        .source
        .query_one(
            "SELECT legacy, needs_index, create_time::text, id FROM ticket WHERE tn = 'born'",
            &[],
        )
        .await?;
    assert_eq!(born.get::<_, &str>(0), "born in the service");
    assert_eq!(born.get::<_, i16>(1), 1, "the default of a column without a way back");
    assert_eq!(born.get::<_, &str>(2), "2026-05-05 10:00:00");
    assert!(born.get::<_, i64>(3) > 1_000, "the service's sequence starts past the monolith's");
    let kept: i64 = world
        .source
        .query_one("SELECT count(*) FROM ticket WHERE legacy = 'old' AND id IN (1, 5000)", &[])
        .await?
        .get(0);
    assert_eq!(kept, 2, "an omitted column is left alone when the row changes, even its key");
    let private: i64 = world
        .source
        .query_one("SELECT count(*) FROM flag WHERE name = 'private'", &[])
        .await?
        .get(0);
    assert_eq!(private, 100, "rows the filter keeps at home are still there");

    world.roll_back(3).await?;
    world
        .source
        .batch_execute("UPDATE ticket SET title = 'back again' WHERE tn = 'born'; DELETE FROM ticket WHERE id = 5")
        .await?;
    world.barrier(StreamKind::Forward).await?;
    world.assert_equal().await?;
    world.cut_over(4).await?;
    world.target.batch_execute("DELETE FROM tickets WHERE number = 'born'").await?;
    world.barrier(StreamKind::Reverse).await?;
    world.barrier(StreamKind::Forward).await?;
    world.assert_equal().await?;
    for kind in [StreamKind::Forward, StreamKind::Reverse] {
        let status = world.status(kind).await?.expect("it runs");
        assert_eq!((status.conflicts, status.breaches), (0, 0), "{status:?}");
    }
    world.end().await
}

#[tokio::test]
async fn writers_that_are_fenced_on_one_side_and_go_on_at_the_other_lose_and_repeat_nothing()
-> anyhow::Result<()> {
    let mut world = both_streams().await?;
    let source = world
        .write_while_allowed(Side::Source, |n| {
            format!("INSERT INTO ticket (tn) VALUES ('s{n}'); UPDATE ticket SET queue_id = queue_id + 1 WHERE id = 1 + {n} % 100")
        })
        .await?;
    let target = world
        .write_while_allowed(Side::Target, |n| {
            format!("INSERT INTO tickets (number, queue_id, created_at, title_and_body) VALUES ('t{n}', 1, now(), md5('')); UPDATE tickets SET queue_id = queue_id + 1 WHERE id = 1 + {n} % 100")
        })
        .await?;
    for epoch in 2..=7 {
        let (from, old) = match epoch % 2 {
            0 => (&source, Side::Source),
            _ => (&target, Side::Target),
        };
        let before = *from.acknowledged.borrow();
        let mut acknowledged = from.acknowledged.clone();
        tokio::time::timeout(BOUND, acknowledged.wait_for(|count| *count > before + 20)).await??;
        match old {
            Side::Source => world.cut_over(epoch).await?,
            Side::Target => world.roll_back(epoch).await?,
        }
    }
    let (source, target) = (source.finish().await?, target.finish().await?);
    world.barrier(StreamKind::Forward).await?;
    world.barrier(StreamKind::Reverse).await?;
    world.assert_equal().await?;
    let sum = "SELECT count(*) FILTER (WHERE tn LIKE 's%'), count(*) FILTER (WHERE tn LIKE 't%'),
        sum(queue_id) FILTER (WHERE id <= 100) - 100 FROM ticket";
    let row = world.source.query_one(sql_cast(sum).as_str(), &[]).await?;
    let counts: (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    assert_eq!(counts, (source, target, source + target), "every acknowledged write, once");
    for kind in [StreamKind::Forward, StreamKind::Reverse] {
        let status = world.status(kind).await?.expect("it runs");
        assert_eq!((status.conflicts, status.breaches), (0, 0), "{status:?}");
    }
    world.end().await
}

fn sql_cast(sql: &str) -> String {
    format!("SELECT a::bigint, b::bigint, c::bigint FROM ({sql}) AS r(a, b, c)")
}

#[tokio::test]
async fn a_barrier_is_seen_only_together_with_everything_before_it() -> anyhow::Result<()> {
    let mut world = both_streams().await?;
    let guard = world.guard(Side::Source).await?;
    for round in 0..5_u64 {
        let sql = format!(
            "INSERT INTO article (ticket_id, subject)
                 SELECT n, 'round {round}' FROM generate_series(1, 20000) n"
        );
        world.source.batch_execute(&sql).await?;
        let expected: i64 =
            world.source.query_one("SELECT count(*) FROM article", &[]).await?.get(0);
        let epoch = Epoch(1 + 2 * round);
        let (ttl, lock) = (Duration::from_secs(60), Duration::from_secs(5));
        guard.fence(&world.name, epoch, ttl, lock).await?;
        let fenced = i64::try_from(epoch.0 + 1)?;
        let counted = wait_until(BOUND, || async {
            let sql = "SELECT (SELECT barrier_seen FROM ficus.apply WHERE stream = $1), count(*) FROM articles";
            let row = world.target.query_one(sql, &[&StreamKind::Forward.key(&world.name)]).await?;
            let (seen, count): (i64, i64) = (row.get(0), row.get(1));
            Ok((seen == fenced).then_some(count))
        })
        .await?;
        assert_eq!(counted, expected, "in the snapshot that sees the barrier");
        guard.expire(&world.name, Epoch(epoch.0 + 1), true).await?;
    }
    world.end().await
}

#[tokio::test]
async fn a_write_on_a_side_that_does_not_own_the_capability_is_reported_and_not_carried_over()
-> anyhow::Result<()> {
    let mut world = both_streams().await?;
    world.cut_over(2).await?;
    let refused = world.source.batch_execute("INSERT INTO ticket (tn) VALUES ('late')").await;
    let code = refused.expect_err("it is fenced").code().map(|code| code.code().to_owned());
    assert_eq!(code.as_deref(), Some("FC001"));
    let before: String = apply_lsn(&world).await?;
    let intruder = world.connect_source().await?;
    intruder
        .batch_execute(
            "ALTER TABLE article DISABLE TRIGGER ficus_guard;
             INSERT INTO article (ticket_id, subject) VALUES (1, 'past the fence')",
        )
        .await?;
    let status = world.wait_for_state(StreamKind::Forward, "failed").await?;
    assert_eq!(status.breaches, 1);
    assert!(status.reason.contains("public.article"), "{}", status.reason);
    let found: i64 = world
        .target
        .query_one("SELECT count(*) FROM articles WHERE subject = 'past the fence'", &[])
        .await?
        .get(0);
    assert_eq!(found, 0);
    assert_eq!(apply_lsn(&world).await?, before, "the position stays before it");
    intruder.batch_execute("DELETE FROM article WHERE subject = 'past the fence'").await?;
    world.client().resume(world.stream(StreamKind::Forward)).await?;
    world.wait_for_state(StreamKind::Forward, "stopped").await?;
    world.barrier(StreamKind::Forward).await?;
    world.barrier(StreamKind::Reverse).await?;
    world.assert_equal().await?;
    intruder.batch_execute("INSERT INTO article (ticket_id) VALUES (2)").await?;
    world.wait_for_state(StreamKind::Forward, "failed").await?;
    let status = world.status(StreamKind::Forward).await?.expect("it is there");
    assert_eq!(status.breaches, 2, "only what was written before resuming is left out");
    world.end().await
}

#[tokio::test]
async fn a_truncation_on_the_way_back_spares_the_rows_that_never_left() -> anyhow::Result<()> {
    let mut world = both_streams().await?;
    world.cut_over(2).await?;
    world.target.batch_execute("TRUNCATE flags, articles").await?;
    world.barrier(StreamKind::Reverse).await?;
    world.assert_equal().await?;
    let sql = "SELECT count(*), count(*) FILTER (WHERE name = 'private') FROM flag";
    let row = world.source.query_one(sql, &[]).await?;
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (100, 100));
    world.end().await
}

async fn apply_lsn(world: &World) -> anyhow::Result<String> {
    let sql = "SELECT lsn::text || mode FROM ficus.apply WHERE stream = $1";
    let key = StreamKind::Forward.key(&world.name);
    Ok(world.target.query_one(sql, &[&key]).await?.get(0))
}

#[tokio::test]
async fn an_applier_whose_epoch_has_passed_writes_nothing_until_it_is_armed_again()
-> anyhow::Result<()> {
    let mut world = both_streams().await?;
    let key = StreamKind::Forward.key(&world.name);
    // What `prepare` does while the applier still believes it may write.
    world
        .target
        .execute(
            "UPDATE ficus.apply SET mode = 'stopped', epoch = epoch + 1 WHERE stream = $1",
            &[&key],
        )
        .await?;
    world.source.batch_execute("INSERT INTO article (ticket_id) VALUES (77)").await?;
    let count = "SELECT count(*) FROM articles WHERE ticket_id = 77";
    world.wait_for_state(StreamKind::Forward, "stopped").await?;
    assert_eq!(world.target.query_one(count, &[]).await?.get::<_, i64>(0), 0);
    world
        .target
        .execute(
            "UPDATE ficus.apply SET mode = 'apply', epoch = epoch + 1 WHERE stream = $1",
            &[&key],
        )
        .await?;
    world.barrier(StreamKind::Forward).await?;
    world.assert_equal().await?;
    let status = world.wait_for_state(StreamKind::Forward, "streaming").await?;
    assert_eq!((status.breaches, status.conflicts), (0, 0));
    world.end().await
}
