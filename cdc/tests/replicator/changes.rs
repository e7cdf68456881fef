//! Single changes that are easy to get wrong.

use cutover::StreamKind;

use crate::world::World;

async fn streaming(sql: &str) -> anyhow::Result<World> {
    let mut world = World::new().await?;
    world.source.batch_execute(sql).await?;
    world.run().await?;
    world.start(StreamKind::Forward).await?;
    Ok(world)
}

async fn check(before: &str, change: &str) -> anyhow::Result<World> {
    let mut world = streaming(before).await?;
    world.source.batch_execute(change).await?;
    world.barrier(StreamKind::Forward).await?;
    world.assert_equal().await?;
    let status = world.status(StreamKind::Forward).await?.expect("it runs");
    assert_eq!((status.state.as_str(), status.conflicts), ("streaming", 0), "{}", status.reason);
    world.end().await?;
    Ok(world)
}

#[tokio::test]
async fn a_large_value_that_an_update_leaves_alone_survives_on_the_other_side() -> anyhow::Result<()>
{
    let world = check(
        "INSERT INTO ticket (tn, title, body) SELECT n::text, 't', repeat('long ', 5000) || n
             FROM generate_series(1, 5) n",
        "UPDATE ticket SET price = 7 WHERE id < 3; UPDATE ticket SET title = 'u' WHERE id = 2;
         UPDATE ticket SET title = NULL, queue_id = 9 WHERE id = 4;
         UPDATE ticket SET id = 50 WHERE id = 5",
    )
    .await?;
    let row = world.target.query_one("SELECT min(length(body)) FROM tickets", &[]).await?;
    assert_eq!(row.get::<_, i32>(0), 25_001);
    Ok(())
}

#[tokio::test]
async fn changed_keys_deletes_and_inserts_in_one_transaction_end_as_on_the_source()
-> anyhow::Result<()> {
    check(
        "INSERT INTO ticket (tn, title, body) SELECT n::text, 't' || n, 'b' FROM generate_series(1, 9) n",
        "BEGIN;
         UPDATE ticket SET id = 100 WHERE id = 1;
         INSERT INTO ticket (id, tn, title) VALUES (1, 'x', 'after the move');
         DELETE FROM ticket WHERE id = 2;
         INSERT INTO ticket (id, tn, title) VALUES (2, 'y', 'again');
         UPDATE ticket SET title = 'and changed' WHERE id = 2;
         INSERT INTO ticket (id, tn) VALUES (200, 'gone');
         DELETE FROM ticket WHERE id = 200;
         UPDATE ticket SET id = id + 1000 WHERE id BETWEEN 3 AND 5;
         UPDATE ticket SET title = 'changed' WHERE id > 3;
         COMMIT",
    )
    .await
    .map(drop)
}

#[tokio::test]
async fn values_of_a_unique_column_may_change_hands_in_one_transaction() -> anyhow::Result<()> {
    check(
        "INSERT INTO ticket (tn) VALUES ('1'), ('2'), ('3')",
        "BEGIN;
         UPDATE ticket SET tn = 'aside' WHERE id = 1;
         UPDATE ticket SET tn = '1' WHERE id = 2;
         UPDATE ticket SET tn = '2' WHERE id = 1;
         DELETE FROM ticket WHERE id = 3;
         INSERT INTO ticket (tn) VALUES ('3');
         COMMIT",
    )
    .await
    .map(drop)
}

#[tokio::test]
async fn rows_come_into_a_filter_and_leave_it() -> anyhow::Result<()> {
    check(
        "INSERT INTO flag VALUES (1, 'seen', 'a'), (2, 'private', 'b'), (3, 'private', 'c')",
        "UPDATE flag SET name = 'private' WHERE ticket_id = 1;
         UPDATE flag SET name = 'shown' WHERE ticket_id = 2;
         UPDATE flag SET value = 'hidden still' WHERE ticket_id = 3;
         INSERT INTO flag VALUES (4, 'private', 'd'), (5, 'seen', 'e');
         UPDATE flag SET value = 'changed' WHERE ticket_id = 5;
         DELETE FROM flag WHERE ticket_id = 3",
    )
    .await
    .map(drop)
}

#[tokio::test]
async fn truncated_tables_are_truncated_in_order_with_the_changes_around_them() -> anyhow::Result<()>
{
    check(
        "INSERT INTO article (ticket_id, subject) SELECT n, 's' FROM generate_series(1, 10) n",
        "BEGIN; INSERT INTO article (ticket_id) VALUES (11); TRUNCATE article, flag;
         INSERT INTO article (ticket_id) VALUES (12); COMMIT",
    )
    .await
    .map(drop)
}

#[tokio::test]
async fn a_transaction_larger_than_a_batch_arrives_whole() -> anyhow::Result<()> {
    check(
        "INSERT INTO article (ticket_id, subject) SELECT n, 's' FROM generate_series(1, 12000) n",
        "BEGIN; UPDATE article SET subject = 'all';
         INSERT INTO ticket (tn, body) SELECT n::text, repeat('b', 3000) FROM generate_series(1, 6000) n;
         DELETE FROM article WHERE id % 5 = 0; COMMIT",
    )
    .await
    .map(drop)
}

#[tokio::test]
async fn special_values_pass_unharmed() -> anyhow::Result<()> {
    check(
        "INSERT INTO ticket (tn, title, body, price) VALUES ('{}', '', E'tab\\t\\\\N\\n\"q\"', 'NaN')",
        "INSERT INTO ticket (tn, title, body, price, create_time) VALUES
             ('NULL', NULL, E'{\"a,b\"}\\\\', -0.01, 'infinity'), ('ünï', '\\N', '', NULL, '0099-01-01 BC');
         INSERT INTO article (ticket_id, subject, flags) VALUES (1, E'\\r\\n', '\\x00ff27'), (2, NULL, '')",
    )
    .await
    .map(drop)
}
