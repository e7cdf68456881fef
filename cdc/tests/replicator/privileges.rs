//! The whole way with roles that are no superusers: with the rights that only a superuser can grant, and
//! without them.

use cutover::{Side, StreamKind};
use rpc::v1;
use testkit::Cluster;

use crate::{
    verification::{fill, verify, verify_as},
    world::{Roles, World},
};

const ROLES: Roles = Roles { owner: "shop_owner", applier: "ficus_applier" };

const NEEDED: &str = "CREATE ROLE shop_owner LOGIN; CREATE ROLE ficus_applier LOGIN REPLICATION";

/// What docs/privileges.md says a superuser may grant besides.
const BESIDES: &str = "GRANT SET ON PARAMETER session_replication_role TO ficus_applier";
const BESIDES_IN_TEMPLATE: &str = "GRANT EXECUTE ON FUNCTION
    pg_replication_origin_create(text), pg_replication_origin_drop(text),
    pg_replication_origin_oid(text), pg_replication_origin_session_setup(text)
    TO ficus_applier";

async fn cluster(grants: &[&str]) -> anyhow::Result<&'static Cluster> {
    let cluster = Cluster::start().await?;
    for sql in [NEEDED].iter().chain(grants) {
        // New databases are copies of this one, with its grants on functions.
        cluster.execute("template1", sql).await?;
    }
    Ok(Box::leak(Box::new(cluster)))
}

/// Copy, stream, compare, repair, cut over, write there, repair the other way, roll back, write here.
async fn goes_the_whole_way(world: &mut World) -> anyhow::Result<()> {
    fill(world).await?;
    world.start(StreamKind::Reverse).await?;
    let writer = world
        .write_while_allowed(Side::Source, |n| {
            format!(
                "INSERT INTO ticket (tn) VALUES ('w{n}');
                 UPDATE ticket SET title = 'by {n}' WHERE id IN (3000 + {n} % 600, 24);
                 DELETE FROM article WHERE id = 6000 + {n}"
            )
        })
        .await?;
    world.damage(Side::Target, "DELETE FROM tickets WHERE id = 17").await?;
    let repaired = repair(world, "forward").await?;
    assert_eq!((repaired.differences, repaired.repaired), (0, 1), "{:?}", repaired.samples);
    writer.finish().await?;
    world.cut_over(2).await?;
    world.assert_equal().await?;
    let sql = "UPDATE tickets SET price = 7 WHERE id < 100; DELETE FROM articles WHERE id < 50;
        INSERT INTO tickets (number, queue_id, created_at, title_and_body)
            VALUES ('new', 1, '2026-01-01', md5(''))";
    world.target.batch_execute(sql).await?;
    world.wait_for_state(StreamKind::Reverse, "streaming").await?;
    world.barrier(StreamKind::Reverse).await?;
    assert_eq!(verify(world, "full", "reverse").await?.differences, 0);
    world.damage(Side::Source, "UPDATE ticket SET price = -1 WHERE id = 5").await?;
    let repaired = repair(world, "reverse").await?;
    assert_eq!((repaired.differences, repaired.repaired), (0, 1), "{:?}", repaired.samples);
    world.roll_back(3).await?;
    world.assert_equal().await?;
    world.source.batch_execute("UPDATE ticket SET title = 'back' WHERE id < 10").await?;
    world.wait_for_state(StreamKind::Forward, "streaming").await?;
    world.barrier(StreamKind::Forward).await?;
    world.assert_equal().await?;
    for kind in [StreamKind::Forward, StreamKind::Reverse] {
        let status = world.status(kind).await?.expect("there is a stream");
        assert_eq!((status.conflicts, status.breaches), (0, 0), "{kind:?}");
    }
    world.client().drop(world.stream(StreamKind::Reverse)).await?;
    world.client().drop(world.stream(StreamKind::Forward)).await?;
    world.stop().await
}

async fn repair(world: &World, direction: &str) -> anyhow::Result<v1::VerifyProgress> {
    verify_as(
        world,
        v1::VerifyRequest {
            capability: world.name.clone(),
            scope: "full".to_owned(),
            direction: direction.to_owned(),
            repair: true,
            ..v1::VerifyRequest::default()
        },
    )
    .await
}

#[tokio::test]
async fn two_roles_that_are_no_superusers_go_the_whole_way() -> anyhow::Result<()> {
    let cluster = cluster(&[BESIDES, BESIDES_IN_TEMPLATE]).await?;
    let mut world = World::with_roles(cluster, ROLES).await?;
    goes_the_whole_way(&mut world).await?;
    let origins = world.source.query_one("SELECT count(*) FROM pg_replication_origin", &[]).await?;
    assert_eq!(origins.get::<_, i64>(0), 1, "of the reference stream, the others were dropped");
    Ok(())
}

#[tokio::test]
async fn without_origins_and_without_session_replication_role_the_way_is_the_same()
-> anyhow::Result<()> {
    let cluster = cluster(&[]).await?;
    let mut world = World::with_roles(cluster, ROLES).await?;
    goes_the_whole_way(&mut world).await?;
    let origins = world.source.query_one("SELECT count(*) FROM pg_replication_origin", &[]).await?;
    assert_eq!(origins.get::<_, i64>(0), 0);
    Ok(())
}

#[tokio::test]
async fn where_triggers_fire_those_that_would_change_the_copy_are_refused_by_name()
-> anyhow::Result<()> {
    let cluster = cluster(&[]).await?;
    let mut world = World::with_roles(cluster, ROLES).await?;
    let touch = |condition: &str| {
        format!(
            "CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql
                 AS $$ BEGIN NEW.title := 'touched'; RETURN NEW; END $$;
             CREATE OR REPLACE TRIGGER touch BEFORE INSERT OR UPDATE ON tickets
                 FOR EACH ROW {condition} EXECUTE FUNCTION touch()"
        )
    };
    world.target.batch_execute(&touch("")).await?;
    world
        .target
        .batch_execute(
            "ALTER TABLE articles ADD CONSTRAINT ours FOREIGN KEY (ticket_id)
                 REFERENCES tickets ON DELETE CASCADE",
        )
        .await?;
    world.run().await?;
    world.client().start(world.stream(StreamKind::Forward)).await?;
    let failed = world.wait_for_state(StreamKind::Forward, "failed").await?;
    assert!(failed.reason.contains("trigger touch fires"), "{}", failed.reason);
    assert!(failed.reason.contains("foreign key ours"), "{}", failed.reason);
    world.target.batch_execute("ALTER TABLE articles DROP CONSTRAINT ours").await?;
    let spared = touch("WHEN (session_user <> 'ficus_applier')");
    world.target.batch_execute(&spared).await?;
    world.source.batch_execute("INSERT INTO ticket (tn, title) VALUES ('1', 'mine')").await?;
    world.client().resume(world.stream(StreamKind::Forward)).await?;
    world.wait_for_state(StreamKind::Forward, "streaming").await?;
    world.barrier(StreamKind::Forward).await?;
    world.assert_equal().await?;
    world.stop().await
}
