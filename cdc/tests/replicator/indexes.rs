//! Secondary indexes while tables are copied, and what becomes of them when the copy does not end.

use cutover::StreamKind;
use testkit::{tokio_postgres::Client, wait_until};

use crate::world::{BOUND, World, mapping, texts};

/// A table that is worth it: 12 MiB.
const SOURCE: &str = "
    CREATE TABLE big (id bigint PRIMARY KEY, kind integer, t text, code text);
    CREATE TABLE last (id bigint PRIMARY KEY);
    ALTER TABLE big ALTER t SET STORAGE PLAIN;
    INSERT INTO big SELECT n, n % 7, repeat('x', 1000), 'c' || n FROM generate_series(1, 11000) n;
    INSERT INTO last VALUES (1);";

const TARGET: &str = "
    CREATE TABLE big (id bigint PRIMARY KEY, kind integer, t text, code text UNIQUE);
    CREATE UNIQUE INDEX \"The key\" ON big (id);
    CREATE INDEX big_kind ON big (kind) INCLUDE (id) WHERE kind > 1;
    CREATE INDEX \"Odd \"\"name\" ON big USING btree (lower(code) COLLATE \"C\" text_pattern_ops DESC)
        WITH (fillfactor = 70);
    CREATE UNIQUE INDEX big_both ON big (kind, id);
    CREATE INDEX commented ON big (kind); COMMENT ON INDEX commented IS 'stays';
    CREATE TABLE last (id bigint PRIMARY KEY);";

const DEFINITIONS: &str = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'";
const LISTED: &str = "SELECT name FROM ficus.copy_index";

async fn world() -> anyhow::Result<World> {
    let tables = ["big", "last"].map(|name| mapping(name, name)).to_vec();
    let mut world = World::of(SOURCE, TARGET, tables).await?;
    world.run().await?;
    Ok(world)
}

/// Starts a copy that cannot end as long as the answered session holds its lock.
async fn begin(world: &World) -> anyhow::Result<Client> {
    let holder = world.connect_target().await?;
    holder.batch_execute("BEGIN; LOCK TABLE last IN EXCLUSIVE MODE").await?;
    world.client().start(world.stream(StreamKind::Forward)).await?;
    wait_until(BOUND, || async {
        let count: i64 = world.target.query_one("SELECT count(*) FROM big", &[]).await?.get(0);
        Ok((count == 11_000).then_some(()))
    })
    .await?;
    Ok(holder)
}

async fn state_of_big(world: &World) -> anyhow::Result<String> {
    let status = world.status(StreamKind::Forward).await?;
    let tables = status.map(|status| status.tables).unwrap_or_default();
    Ok(tables.into_iter().find(|t| t.source == "public.big").map(|t| t.state).unwrap_or_default())
}

#[tokio::test]
async fn indexes_that_nothing_needs_are_built_after_the_rows_and_are_the_same_again()
-> anyhow::Result<()> {
    let mut world = world().await?;
    let before = texts(&world.target, DEFINITIONS).await?;
    let holder = begin(&world).await?;
    let listed = texts(&world.target, LISTED).await?;
    let expected = [r#"("public.""Odd """"name""")"#, "(public.big_both)", "(public.big_kind)"];
    assert_eq!(listed, expected, "not the key, no constraint's, not what has a comment");
    assert_eq!(texts(&world.target, DEFINITIONS).await?.len(), before.len() - expected.len());
    assert_eq!(state_of_big(&world).await?, "copying", "without its indexes it is not ready");
    let status = world.status(StreamKind::Forward).await?.expect("it copies");
    let copy = status.copy.expect("it copies");
    assert!(copy.rows >= 11_000 && copy.bytes > 11_000_000, "{copy:?}");
    holder.batch_execute("ROLLBACK").await?;
    let status = world.wait_for_state(StreamKind::Forward, "streaming").await?;
    assert_eq!((status.indexes_left, status.copy), (0, None));
    assert_eq!(state_of_big(&world).await?, "ready");
    assert_eq!(texts(&world.target, DEFINITIONS).await?, before);
    assert!(texts(&world.target, LISTED).await?.is_empty());
    let analyzed = "SELECT 1 FROM pg_stats WHERE tablename = 'big' AND attname = 'kind'";
    assert_eq!(texts(&world.target, analyzed).await?.len(), 1, "statistics are there");
    world.end().await
}

#[tokio::test]
async fn a_crash_in_the_copy_ends_with_all_indexes() -> anyhow::Result<()> {
    let mut world = world().await?;
    let before = texts(&world.target, DEFINITIONS).await?;
    let holder = begin(&world).await?;
    world.crash().await?;
    // The second copy finds less to take away than it has to give back.
    world.source.batch_execute("DELETE FROM big WHERE id > 5").await?;
    world.source.batch_execute("VACUUM FULL big").await?;
    holder.batch_execute("ROLLBACK").await?;
    world.run().await?;
    world.wait_for_state(StreamKind::Forward, "streaming").await?;
    assert_eq!(texts(&world.target, DEFINITIONS).await?, before);
    assert!(texts(&world.target, LISTED).await?.is_empty());
    world.end().await
}

#[tokio::test]
async fn a_crash_while_indexes_are_built_does_not_cost_the_copy() -> anyhow::Result<()> {
    let mut world = world().await?;
    let before = texts(&world.target, DEFINITIONS).await?;
    let holder = begin(&world).await?;
    // Rows may be added under this lock, indexes not.
    let builder = world.connect_target().await?;
    builder.batch_execute("BEGIN; LOCK TABLE big IN ROW EXCLUSIVE MODE").await?;
    holder.batch_execute("ROLLBACK").await?;
    wait_until(BOUND, || async { Ok((state_of_big(&world).await? == "indexing").then_some(())) })
        .await?;
    let status = world.status(StreamKind::Forward).await?.expect("it builds");
    assert_eq!((status.state.as_str(), status.indexes_left), ("copying", 3));
    let written = "SELECT DISTINCT xmin FROM big";
    let by = texts(&world.target, written).await?;
    world.crash().await?;
    builder.batch_execute("ROLLBACK").await?;
    world.run().await?;
    world.wait_for_state(StreamKind::Forward, "streaming").await?;
    assert_eq!(texts(&world.target, written).await?, by, "they were not copied again");
    assert_eq!(texts(&world.target, DEFINITIONS).await?, before);
    assert!(texts(&world.target, LISTED).await?.is_empty());
    world.end().await
}

#[tokio::test]
async fn a_stream_that_is_dropped_in_its_copy_gives_the_indexes_back() -> anyhow::Result<()> {
    let mut world = world().await?;
    let before = texts(&world.target, DEFINITIONS).await?;
    let holder = begin(&world).await?;
    world.client().drop(world.stream(StreamKind::Forward)).await?;
    holder.batch_execute("ROLLBACK").await?;
    assert_eq!(texts(&world.target, DEFINITIONS).await?, before);
    assert!(texts(&world.target, LISTED).await?.is_empty());
    world.end().await
}

#[tokio::test]
async fn an_index_that_the_rows_do_not_allow_is_named_and_can_be_given_up() -> anyhow::Result<()> {
    let tables = ["big", "last"].map(|name| mapping(name, name)).to_vec();
    let target = format!("{TARGET} CREATE UNIQUE INDEX too_strict ON big (kind);");
    let mut world = World::of(SOURCE, &target, tables).await?;
    world.run().await?;
    world.client().start(world.stream(StreamKind::Forward)).await?;
    let status = world.wait_for_state(StreamKind::Forward, "failed").await?;
    assert!(
        status.reason.contains("index public.too_strict can not be built"),
        "{}",
        status.reason
    );
    let give_up = "DELETE FROM ficus.copy_index WHERE name = 'public.too_strict'";
    assert!(status.reason.contains(give_up), "{}", status.reason);
    world.target.batch_execute(give_up).await?;
    world.client().resume(world.stream(StreamKind::Forward)).await?;
    world.wait_for_state(StreamKind::Forward, "streaming").await?;
    assert!(texts(&world.target, LISTED).await?.is_empty());
    world.end().await
}
