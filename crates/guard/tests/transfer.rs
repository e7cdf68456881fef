//! The guard functions against a real PostgreSQL: a cut and its way back, and what each refuses.

use std::time::Duration;

use cutover::{Epoch, GuardState, Side};
use guard::{GuardClient, GuardError, Install, SequenceColumn, install, sequence_columns};
use testkit::Cluster;

const CAPABILITY: &str = "tickets";
const TTL: Duration = Duration::from_secs(5);
const LOCK: Duration = Duration::from_millis(500);
const MARGIN: Duration = Duration::from_millis(500);

struct Sides {
    cluster: &'static Cluster,
    source_db: String,
    target_db: String,
    source: GuardClient,
    target: GuardClient,
}

async fn sides(name: &str) -> anyhow::Result<Sides> {
    sides_with(name, "CREATE TABLE ticket (id bigserial PRIMARY KEY, title text)").await
}

async fn sides_with(name: &str, tables: &str) -> anyhow::Result<Sides> {
    let cluster = Cluster::shared().await?;
    let (source_db, target_db) = (format!("{name}_source"), format!("{name}_target"));
    for (database, side) in [(&source_db, Side::Source), (&target_db, Side::Target)] {
        cluster.create_database(database).await?;
        cluster.execute(database, tables).await?;
        let table: pg::TableName = "public.ticket".parse()?;
        let plan = Install {
            capability: CAPABILITY.to_owned(),
            side,
            tables: vec![table.clone()],
            references: Vec::new(),
            sequences: vec![SequenceColumn {
                name: "public.ticket.id".to_owned(),
                table,
                column: "id".to_owned(),
            }],
        };
        let mut owner = cluster.connect(database).await?;
        install(&mut owner, &plan).await?;
        install(&mut owner, &plan).await?; // idempotent
    }
    attach(cluster, &target_db, "forward", "apply").await?;
    attach(cluster, &source_db, "reverse", "stopped").await?;
    Ok(Sides {
        cluster,
        source: GuardClient::connect(&cluster.url(&source_db), "test").await?,
        target: GuardClient::connect(&cluster.url(&target_db), "test").await?,
        source_db,
        target_db,
    })
}

async fn attach(cluster: &Cluster, database: &str, kind: &str, mode: &str) -> anyhow::Result<()> {
    cluster
        .execute(
            database,
            &format!(
                "INSERT INTO ficus.apply (stream, capability, kind, mode, lsn, slot, peer_system_id, peer_timeline)
                 VALUES ('{CAPABILITY}:{kind}', '{CAPABILITY}', '{kind}', '{mode}', '0/1', 's', 'x', 1)"
            ),
        )
        .await
}

impl Sides {
    /// What the replicator does when the barrier has arrived.
    async fn apply_barrier(&self, database: &str, epoch: u64, last: i64) -> anyhow::Result<()> {
        self.cluster
            .execute(
                database,
                &format!(
                    "UPDATE ficus.apply SET barrier_seen = {epoch},
                     barrier_sequences = '{{\"public.ticket.id\": {last}}}' WHERE mode = 'apply'"
                ),
            )
            .await
    }

    async fn write(&self, database: &str) -> Result<i64, String> {
        let client = self.cluster.connect(database).await.map_err(|error| error.to_string())?;
        client
            .query_one("INSERT INTO ticket (title) VALUES ('x') RETURNING id", &[])
            .await
            .map(|row| row.get(0))
            .map_err(|error| error.code().map_or_else(String::new, |c| c.code().to_owned()))
    }

    async fn cut_over(&self) -> anyhow::Result<()> {
        self.source.fence(CAPABILITY, Epoch(1), TTL, LOCK).await?;
        self.apply_barrier(&self.target_db, 2, 41).await?;
        self.target.prepare(CAPABILITY, Epoch(2), 1000).await?;
        self.source.decide(CAPABILITY, Epoch(2), Epoch(2), MARGIN).await?;
        self.target.open(CAPABILITY, Epoch(2), Epoch(2)).await?;
        Ok(())
    }
}

#[tokio::test]
async fn a_cut_moves_the_writes_and_the_sequences_and_a_rollback_moves_them_back() {
    let sides = sides("cut").await.unwrap();
    assert_eq!(sides.write(&sides.target_db).await, Err("FC001".to_owned()));
    assert_eq!(sides.write(&sides.source_db).await, Ok(1));
    sides.cut_over().await.unwrap();
    assert_eq!(sides.write(&sides.source_db).await, Err("FC001".to_owned()));
    assert_eq!(sides.write(&sides.target_db).await, Ok(1042));

    let fenced = sides.target.fence(CAPABILITY, Epoch(2), TTL, LOCK).await.unwrap();
    assert_eq!((fenced.state, fenced.epoch), (GuardState::Fenced, Epoch(3)));
    sides.apply_barrier(&sides.source_db, 3, 1042).await.unwrap();
    sides.source.prepare(CAPABILITY, Epoch(3), 1000).await.unwrap();
    sides.target.decide(CAPABILITY, Epoch(3), Epoch(3), MARGIN).await.unwrap();
    sides.source.open(CAPABILITY, Epoch(3), Epoch(3)).await.unwrap();
    assert_eq!(sides.write(&sides.source_db).await, Ok(2043));
    assert_eq!(sides.write(&sides.target_db).await, Err("FC001".to_owned()));
}

#[tokio::test]
async fn a_sequence_that_only_a_default_names_moves_like_one_its_column_owns() {
    let by_hand = r#"CREATE SEQUENCE "Numbers"; CREATE TABLE ticket (
        id bigint PRIMARY KEY DEFAULT nextval('"Numbers"'), title text DEFAULT 'none')"#;
    let sides = sides_with("by_hand", by_hand).await.unwrap();
    let source = sides.cluster.connect(&sides.source_db).await.unwrap();
    let table = "public.ticket".parse().unwrap();
    assert_eq!(sequence_columns(&source, &table).await.unwrap(), ["id"]);
    let missing = "public.missing".parse().unwrap();
    assert!(sequence_columns(&source, &missing).await.unwrap().is_empty());
    sides.cut_over().await.unwrap();
    assert_eq!(sides.write(&sides.target_db).await, Ok(1042));
}

#[tokio::test]
async fn nothing_is_prepared_before_its_barrier_was_applied() {
    let sides = sides("barrier").await.unwrap();
    sides.source.fence(CAPABILITY, Epoch(1), TTL, LOCK).await.unwrap();
    let refused = sides.target.prepare(CAPABILITY, Epoch(2), 1000).await;
    assert!(matches!(refused, Err(GuardError::Refused(_))), "{refused:?}");
}

#[tokio::test]
async fn nothing_is_decided_without_a_prepared_new_owner_nor_opened_without_a_decision() {
    let sides = sides("decide").await.unwrap();
    sides.source.fence(CAPABILITY, Epoch(1), TTL, LOCK).await.unwrap();
    let early = sides.source.decide(CAPABILITY, Epoch(2), Epoch::NONE, MARGIN).await;
    assert!(matches!(early, Err(GuardError::Refused(_))), "{early:?}");
    sides.apply_barrier(&sides.target_db, 2, 1).await.unwrap();
    sides.target.prepare(CAPABILITY, Epoch(2), 1000).await.unwrap();
    let early = sides.target.open(CAPABILITY, Epoch(2), Epoch(1)).await;
    assert!(matches!(early, Err(GuardError::Refused(_))), "{early:?}");
}

#[tokio::test]
async fn an_expired_fence_opens_the_old_owner_and_can_no_longer_be_decided() {
    let sides = sides("expire").await.unwrap();
    let short = Duration::from_millis(600);
    sides.source.fence(CAPABILITY, Epoch(1), short, LOCK).await.unwrap();
    let early = sides.source.expire(CAPABILITY, Epoch(2), false).await;
    assert!(matches!(early, Err(GuardError::Refused(_))), "{early:?}");
    sides.apply_barrier(&sides.target_db, 2, 1).await.unwrap();
    sides.target.prepare(CAPABILITY, Epoch(2), 1000).await.unwrap();
    let open = testkit::wait_until(Duration::from_secs(5), || async {
        Ok(sides.source.expire(CAPABILITY, Epoch(2), false).await.ok())
    })
    .await
    .unwrap();
    assert_eq!((open.state, open.epoch), (GuardState::Open, Epoch(3)));
    let late = sides.source.decide(CAPABILITY, Epoch(2), Epoch(2), MARGIN).await;
    assert!(matches!(late, Err(GuardError::Refused(_))), "{late:?}");
    let no_proof = sides.target.unprepare(CAPABILITY, Epoch(2), Epoch(2)).await;
    assert!(matches!(no_proof, Err(GuardError::Refused(_))), "{no_proof:?}");
    sides.target.unprepare(CAPABILITY, Epoch(2), Epoch(3)).await.unwrap();
    assert!(sides.write(&sides.source_db).await.is_ok());
    let inbound = sides.target.view().await.unwrap().pop().unwrap().inbound.unwrap();
    assert!(inbound.applies && inbound.barrier_seen == Epoch::NONE);
}

#[tokio::test]
async fn every_effect_may_be_replayed() {
    let sides = sides("replay").await.unwrap();
    for _ in 0..2 {
        sides.source.fence(CAPABILITY, Epoch(1), TTL, LOCK).await.unwrap();
    }
    sides.apply_barrier(&sides.target_db, 2, 7).await.unwrap();
    for _ in 0..2 {
        sides.target.prepare(CAPABILITY, Epoch(2), 1000).await.unwrap();
    }
    for _ in 0..2 {
        sides.source.decide(CAPABILITY, Epoch(2), Epoch(2), MARGIN).await.unwrap();
    }
    for _ in 0..2 {
        sides.target.open(CAPABILITY, Epoch(2), Epoch(2)).await.unwrap();
    }
    assert_eq!(sides.write(&sides.target_db).await, Ok(1008));
}

#[tokio::test]
async fn a_fence_that_meets_a_long_writer_gives_up_and_changes_nothing() {
    let sides = sides("busy").await.unwrap();
    let mut writer = sides.cluster.connect(&sides.source_db).await.unwrap();
    let tx = writer.transaction().await.unwrap();
    tx.execute("INSERT INTO ticket (title) VALUES ('open')", &[]).await.unwrap();
    let busy = sides.source.fence(CAPABILITY, Epoch(1), TTL, Duration::from_millis(100)).await;
    assert!(matches!(busy, Err(GuardError::LockTimeout(_))), "{busy:?}");
    tx.commit().await.unwrap();
    assert!(sides.write(&sides.source_db).await.is_ok());
}

#[tokio::test]
async fn the_applier_can_neither_switch_the_triggers_nor_write_the_guard_rows_itself() {
    let sides = sides("rights").await.unwrap();
    for attempt in [
        "SELECT ficus.set_triggers('tickets', false)",
        "UPDATE ficus.guard SET state = 'OPEN'",
        "DELETE FROM ficus.guard_table",
        "ALTER TABLE ticket DISABLE TRIGGER ficus_guard",
    ] {
        let refused = sides.target.sql().batch_execute(attempt).await;
        let code = refused.err().and_then(|error| error.code().cloned());
        assert_eq!(
            code,
            Some(tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE),
            "{attempt}"
        );
    }
}
