//! The fence against the ways round it: every kind of statement, role and transaction that could slip
//! past a trigger.

use std::time::Duration;

use cutover::{Epoch, Side};
use guard::{GuardClient, Install, install};
use testkit::{
    Cluster,
    tokio_postgres::{Client, IsolationLevel, error::SqlState},
};

const CAPABILITY: &str = "tickets";
const TTL: Duration = Duration::from_secs(60);
const LOCK: Duration = Duration::from_secs(2);
const FENCED: &str = "FC001";

/// A table, a partitioned one and a function, used by a role that does not own them.
const TABLES: &str = "
    CREATE TABLE ticket (id bigserial PRIMARY KEY, title text);
    CREATE TABLE event (id int PRIMARY KEY) PARTITION BY RANGE (id);
    CREATE TABLE event_low PARTITION OF event FOR VALUES FROM (0) TO (100);
    GRANT ALL ON ticket, event, event_low TO monolith;
    GRANT USAGE ON SEQUENCE ticket_id_seq TO monolith;
    CREATE FUNCTION add_ticket() RETURNS void LANGUAGE sql SECURITY DEFINER
        AS $$ INSERT INTO ticket (title) VALUES ('through a function') $$;
    GRANT EXECUTE ON FUNCTION add_ticket() TO monolith;
    INSERT INTO ticket (title) VALUES ('old');";

struct Fixture {
    cluster: &'static Cluster,
    database: String,
    guard: GuardClient,
}

async fn fixture(database: &str) -> anyhow::Result<Fixture> {
    let cluster = Cluster::shared().await?;
    let create = "DO $$ BEGIN CREATE ROLE monolith LOGIN; EXCEPTION
        WHEN duplicate_object OR unique_violation THEN NULL; END $$";
    cluster.execute("postgres", create).await?;
    let create = "DO $$ BEGIN CREATE ROLE ficus_applier LOGIN REPLICATION; EXCEPTION
        WHEN duplicate_object OR unique_violation THEN NULL; END $$";
    cluster.execute("postgres", create).await?;
    cluster.create_database(database).await?;
    cluster.execute(database, TABLES).await?;
    let plan = Install {
        capability: CAPABILITY.to_owned(),
        side: Side::Source,
        tables: vec!["public.ticket".parse()?, "public.event".parse()?],
        references: Vec::new(),
        sequences: Vec::new(),
    };
    install(&mut cluster.connect(database).await?, &plan).await?;
    let guard = GuardClient::connect(&cluster.url(database), "test").await?;
    Ok(Fixture { cluster, database: database.to_owned(), guard })
}

impl Fixture {
    async fn fence(&self) -> anyhow::Result<()> {
        self.guard.fence(CAPABILITY, Epoch(1), TTL, LOCK).await?;
        Ok(())
    }

    async fn session(&self, role: &str) -> anyhow::Result<Client> {
        self.cluster.connect_as(role, &self.database).await
    }

    async fn tickets(&self) -> anyhow::Result<i64> {
        let client = self.session("postgres").await?;
        Ok(client.query_one("SELECT count(*) FROM ticket", &[]).await?.get(0))
    }
}

/// The SQLSTATE a statement ends with; `None` when it succeeds.
async fn refused(client: &Client, sql: &str) -> Option<String> {
    client.batch_execute(sql).await.err().map(|error| match error.code() {
        Some(code) => code.code().to_owned(),
        None => error.to_string(),
    })
}

#[tokio::test]
async fn a_fence_refuses_every_kind_of_write_of_an_application() -> anyhow::Result<()> {
    let fixture = fixture("fence_kinds").await?;
    let client = fixture.session("monolith").await?;
    assert_eq!(refused(&client, "INSERT INTO ticket (title) VALUES ('before')").await, None);
    fixture.fence().await?;
    for sql in [
        "INSERT INTO ticket (title) VALUES ('x')",
        "UPDATE ticket SET title = 'x'",
        "DELETE FROM ticket",
        "TRUNCATE ticket",
        "MERGE INTO ticket USING (SELECT 99 AS i) s ON ticket.id = s.i
            WHEN NOT MATCHED THEN INSERT (title) VALUES ('x')",
        "WITH gone AS (DELETE FROM ticket RETURNING id) SELECT count(*) FROM gone",
        "SELECT add_ticket()",
        "INSERT INTO event VALUES (1)",
        "INSERT INTO event_low VALUES (1)",
        "UPDATE ticket SET title = title WHERE false",
    ] {
        assert_eq!(refused(&client, sql).await.as_deref(), Some(FENCED), "{sql}");
    }
    let copied = match client.copy_in::<_, &'static [u8]>("COPY ticket (title) FROM STDIN").await {
        Ok(sink) => std::pin::pin!(sink).finish().await.map(drop),
        Err(error) => Err(error),
    };
    let error = copied.expect_err("COPY is a write, too");
    assert_eq!(error.code(), Some(&SqlState::from_code(FENCED)));
    assert_eq!(fixture.tickets().await?, 2, "the one there was and the one before the fence");
    Ok(())
}

#[tokio::test]
async fn neither_a_setting_nor_a_superuser_gets_round_a_fence() -> anyhow::Result<()> {
    let fixture = fixture("fence_roles").await?;
    fixture.fence().await?;
    let insert = "INSERT INTO ticket (title) VALUES ('x')";
    let application = fixture.session("monolith").await?;
    for sql in [
        "SET session_replication_role = replica",
        "ALTER TABLE ticket DISABLE TRIGGER ficus_guard",
        "SET SESSION AUTHORIZATION ficus_applier",
    ] {
        assert_eq!(refused(&application, sql).await.as_deref(), Some("42501"), "{sql}");
    }
    assert_eq!(refused(&application, insert).await.as_deref(), Some(FENCED));
    let superuser = fixture.session("postgres").await?;
    superuser.batch_execute("SET session_replication_role = replica").await?;
    assert_eq!(refused(&superuser, insert).await.as_deref(), Some(FENCED));
    superuser.batch_execute("SET ROLE ficus_applier").await?;
    assert_eq!(refused(&superuser, insert).await.as_deref(), Some(FENCED), "a role is no session");
    Ok(())
}

#[tokio::test]
async fn the_applier_passes_a_fence_also_in_the_replica_role() -> anyhow::Result<()> {
    let fixture = fixture("fence_applier").await?;
    fixture.fence().await?;
    let applier = fixture.guard.sql();
    for sql in [
        "INSERT INTO ticket VALUES (1000, 'applied')",
        "INSERT INTO event VALUES (1)",
        "SET session_replication_role = replica; INSERT INTO ticket VALUES (1001, 'applied')",
    ] {
        assert_eq!(refused(applier, sql).await, None, "{sql}");
    }
    assert_eq!(fixture.tickets().await?, 3);
    Ok(())
}

/// The snapshot shows the time before the fence; the trigger must be seen all the same.
async fn opened_before(database: &str, level: IsolationLevel, reads: bool) -> anyhow::Result<()> {
    let fixture = fixture(database).await?;
    let mut client = fixture.session("monolith").await?;
    let transaction = client.build_transaction().isolation_level(level).start().await?;
    let first = if reads { "SELECT count(*) FROM ticket" } else { "SELECT 1" };
    transaction.batch_execute(first).await?;
    fixture.fence().await?;
    let error = transaction.execute("INSERT INTO ticket (title) VALUES ('late')", &[]).await;
    let error = error.expect_err("the fence came first");
    assert_eq!(error.code(), Some(&SqlState::from_code(FENCED)), "{level:?}");
    transaction.rollback().await?;
    assert_eq!(fixture.tickets().await?, 1);
    Ok(())
}

#[tokio::test]
async fn a_repeatable_read_transaction_opened_before_the_fence_is_refused() -> anyhow::Result<()> {
    opened_before("fence_rr", IsolationLevel::RepeatableRead, false).await?;
    opened_before("fence_rr_read", IsolationLevel::RepeatableRead, true).await
}

#[tokio::test]
async fn a_serializable_transaction_opened_before_the_fence_is_refused() -> anyhow::Result<()> {
    opened_before("fence_ser", IsolationLevel::Serializable, false).await?;
    opened_before("fence_ser_read", IsolationLevel::Serializable, true).await
}

#[tokio::test]
async fn a_read_committed_transaction_opened_before_the_fence_is_refused() -> anyhow::Result<()> {
    opened_before("fence_rc", IsolationLevel::ReadCommitted, true).await
}

#[tokio::test]
async fn a_statement_prepared_before_the_fence_is_refused() -> anyhow::Result<()> {
    let fixture = fixture("fence_plan").await?;
    let client = fixture.session("monolith").await?;
    let insert = client.prepare("INSERT INTO ticket (title) VALUES ('planned')").await?;
    for _ in 0..6 {
        client.execute(&insert, &[]).await?;
    }
    fixture.fence().await?;
    let error = client.execute(&insert, &[]).await.expect_err("the plan is looked at again");
    assert_eq!(error.code(), Some(&SqlState::from_code(FENCED)));
    assert_eq!(fixture.tickets().await?, 7);
    Ok(())
}

#[tokio::test]
async fn a_fence_waits_for_a_writer_and_what_it_wrote_comes_first() -> anyhow::Result<()> {
    let fixture = fixture("fence_waits").await?;
    let mut client = fixture.session("monolith").await?;
    let transaction = client.transaction().await?;
    transaction.execute("INSERT INTO ticket (title) VALUES ('slow')", &[]).await?;
    let short = Duration::from_millis(100);
    let blocked = fixture.guard.fence(CAPABILITY, Epoch(1), TTL, short).await;
    assert!(matches!(blocked, Err(guard::GuardError::LockTimeout(_))), "{blocked:?}");
    transaction.commit().await?;
    fixture.fence().await?;
    assert_eq!(fixture.tickets().await?, 2);
    Ok(())
}

#[tokio::test]
async fn a_prepared_transaction_in_doubt_keeps_the_fence_from_standing() -> anyhow::Result<()> {
    let fixture = fixture("fence_doubt").await?;
    let client = fixture.session("monolith").await?;
    client
        .batch_execute(
            "BEGIN; INSERT INTO ticket (title) VALUES ('doubt'); PREPARE TRANSACTION 'fence_doubt'",
        )
        .await?;
    let short = Duration::from_millis(100);
    let blocked = fixture.guard.fence(CAPABILITY, Epoch(1), TTL, short).await;
    assert!(matches!(blocked, Err(guard::GuardError::LockTimeout(_))), "{blocked:?}");
    client.batch_execute("ROLLBACK PREPARED 'fence_doubt'").await?;
    fixture.fence().await?;
    Ok(())
}

#[tokio::test]
async fn an_expired_fence_lets_everybody_write_again() -> anyhow::Result<()> {
    let fixture = fixture("fence_expires").await?;
    fixture.fence().await?;
    let client = fixture.session("monolith").await?;
    let insert = "INSERT INTO ticket (title) VALUES ('again'); INSERT INTO event_low VALUES (2)";
    assert_eq!(refused(&client, insert).await.as_deref(), Some(FENCED));
    fixture.guard.expire(CAPABILITY, Epoch(2), true).await?;
    assert_eq!(refused(&client, insert).await, None);
    Ok(())
}
