//! Copy, stream, and the moment between the two.

use cutover::StreamKind;

use crate::world::World;

#[tokio::test]
async fn rows_written_while_the_copy_runs_arrive_once_and_both_sides_are_equal()
-> anyhow::Result<()> {
    let mut world = World::new().await?;
    world
        .source
        .batch_execute(
            "INSERT INTO ticket (tn, title, body, price)
                 SELECT 'old' || n, 'title ' || n, repeat('x', n % 100), n / 7.0
                 FROM generate_series(1, 20000) n;
             INSERT INTO article (ticket_id, subject, flags)
                 SELECT n, 'subject ' || n, decode(md5(n::text), 'hex') FROM generate_series(1, 20000) n;
             INSERT INTO flag SELECT n, CASE n % 3 WHEN 0 THEN 'private' ELSE 'seen' END, 'v'
                 FROM generate_series(1, 3000) n",
        )
        .await?;
    world.run().await?;
    let writer = world.cluster.connect(&format!("{}_source", world.name)).await?;
    let (done, mut is_done) = tokio::sync::watch::channel(false);
    let writing = tokio::spawn(async move {
        let mut number = 0;
        while !*is_done.borrow_and_update() {
            number += 1;
            writer
                .batch_execute(&format!(
                    "BEGIN;
                     INSERT INTO ticket (tn, title, body) VALUES ('new{number}', NULL, 'ü{number}');
                     UPDATE ticket SET title = 'changed {number}' WHERE id = {number};
                     DELETE FROM article WHERE id = {number};
                     UPDATE flag SET name = CASE name WHEN 'private' THEN 'seen' ELSE 'private' END
                         WHERE ticket_id = {number};
                     COMMIT"
                ))
                .await?;
        }
        anyhow::Ok(number)
    });
    world.start(StreamKind::Forward).await?;
    world.barrier(StreamKind::Forward).await?;
    done.send(true)?;
    let written = writing.await??;
    assert!(written > 1, "the writer was at work meanwhile");
    world.barrier(StreamKind::Forward).await?;
    let rows = world.assert_equal().await?;
    assert!(rows > 40_000, "{rows} rows are compared");
    world.stop().await
}
