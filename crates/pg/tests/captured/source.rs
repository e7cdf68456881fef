//! A server whose log holds every kind of change, and what its plugin says about them.

use pg::pgoutput::{DecodeContext, Decoded, Message, decode};
use testkit::{Cluster, tokio_postgres::Client};
use tokio::sync::OnceCell;

const TABLES: &str = r#"
    CREATE TYPE mood AS ENUM ('sad', 'content');
    CREATE TYPE pair AS (a int, b text);
    CREATE TABLE "Odd ""Name" (
        id bigint PRIMARY KEY, "tïtle" varchar(50), price numeric(10,2), at timestamptz, day date,
        span interval, doc jsonb, raw bytea, tags text[], feeling mood, couple pair, range int4range,
        ratio double precision, flag boolean, uid uuid, address inet, wide text);
    ALTER TABLE "Odd ""Name" ALTER wide SET STORAGE EXTERNAL;
    CREATE TABLE whole (a int, b text);
    ALTER TABLE whole REPLICA IDENTITY FULL;
    CREATE TABLE by_index (a int NOT NULL, b int NOT NULL, c text);
    CREATE UNIQUE INDEX by_index_key ON by_index (b, a);
    ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_key;
    CREATE TABLE without (a int);
    ALTER TABLE without REPLICA IDENTITY NOTHING;
    CREATE TABLE parent (id serial PRIMARY KEY);
    CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent);
    CREATE TABLE big (id bigserial PRIMARY KEY, body text);
    CREATE PUBLICATION everything FOR ALL TABLES;
    SELECT pg_replication_origin_create('elsewhere');"#;

/// A slot is not made in a transaction that has written.
const SLOTS: [&str; 2] = [
    "SELECT pg_create_logical_replication_slot('plain', 'pgoutput')",
    "SELECT pg_create_logical_replication_slot('two_phase', 'pgoutput', false, true)",
];

/// One transaction each.
const CHANGES: [&str; 10] = [
    r#"INSERT INTO "Odd ""Name" VALUES
        (1, 'é', 12.30, '2026-01-02 03:04:05.678+00', 'infinity', '1 mon -2 days 00:00:03', '{"a":[1,null]}',
         '\x00ff', '{a,NULL,"b c"}', 'sad', '(1,"x y")', '[1,5)', 'NaN', true,
         '00000000-0000-0000-0000-000000000001', '10.0.0.0/8', repeat('wide', 4000)),
        (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
        (3, '', 0, '-infinity', '0044-03-15 BC', '0', 'null', '', '{}', 'content', '(,)', 'empty', '-0', false,
         NULL, '::1', '')"#,
    r#"UPDATE "Odd ""Name" SET "tïtle" = 'unchanged wide' WHERE id = 1;
       UPDATE "Odd ""Name" SET wide = repeat('other', 3000) WHERE id = 1"#,
    r#"UPDATE "Odd ""Name" SET id = id + 100; DELETE FROM "Odd ""Name" WHERE id = 102"#,
    "INSERT INTO whole VALUES (1, 'a'), (2, NULL); UPDATE whole SET a = a + 1; DELETE FROM whole",
    "INSERT INTO by_index VALUES (1, 2, 'x'); UPDATE by_index SET c = 'y'; UPDATE by_index SET b = 3;
     DELETE FROM by_index; INSERT INTO without VALUES (1)",
    "INSERT INTO parent DEFAULT VALUES; INSERT INTO child VALUES (1, 1); TRUNCATE parent, whole RESTART IDENTITY CASCADE",
    "SELECT pg_logical_emit_message(true, 'a prefix', 'in the transaction');
     SELECT pg_logical_emit_message(false, '', 'at once'); TRUNCATE by_index",
    "ALTER TABLE whole ADD COLUMN c numeric DEFAULT 7; INSERT INTO whole VALUES (5, 'after')",
    "SELECT pg_replication_origin_session_setup('elsewhere');
     SELECT pg_replication_origin_xact_setup('0/ABCDEF', '2026-01-01 00:00:00+00');
     INSERT INTO whole VALUES (6, 'from elsewhere')",
    "SELECT pg_replication_origin_session_reset()",
];

/// Too big for the server's memory: with `streaming` they come in pieces before they end.
const BIG: [&str; 7] = [
    "BEGIN; INSERT INTO big (body) SELECT repeat('a', 200) FROM generate_series(1, 500);
     SAVEPOINT one; INSERT INTO big (body) SELECT repeat('b', 200) FROM generate_series(1, 500);
     SELECT pg_logical_emit_message(false, 'beside', 'a stream'); ROLLBACK TO one;
     SAVEPOINT two; UPDATE big SET body = 'changed' WHERE id % 2 = 0; RELEASE two;
     INSERT INTO whole VALUES (7, 'in a stream'); SELECT pg_logical_emit_message(true, 'in', 'a stream');
     TRUNCATE child; COMMIT",
    "BEGIN; INSERT INTO big (body) SELECT repeat('c', 200) FROM generate_series(1, 500); ROLLBACK",
    "BEGIN; INSERT INTO whole VALUES (8, 'prepared'); PREPARE TRANSACTION 'small one'",
    "COMMIT PREPARED 'small one'",
    "BEGIN; INSERT INTO whole VALUES (9, 'given up'); PREPARE TRANSACTION 'given up'",
    "ROLLBACK PREPARED 'given up'",
    "BEGIN; INSERT INTO big (body) SELECT repeat('d', 200) FROM generate_series(1, 500);
     PREPARE TRANSACTION 'big one'",
];

/// The messages of one way to ask the plugin, as the server sent them.
pub(crate) struct Capture {
    pub(crate) version: u32,
    pub(crate) options: String,
    pub(crate) messages: Vec<Vec<u8>>,
}

/// One capture for each version of the protocol and form of the values that the server has.
pub(crate) async fn captures() -> anyhow::Result<&'static [Capture]> {
    static CAPTURES: OnceCell<Vec<Capture>> = OnceCell::const_new();
    CAPTURES.get_or_try_init(capture_all).await.map(Vec::as_slice)
}

async fn capture_all() -> anyhow::Result<Vec<Capture>> {
    let cluster = Cluster::builder().setting("logical_decoding_work_mem = 64kB").start().await?;
    let client = cluster.connect("postgres").await?;
    client.batch_execute(TABLES).await?;
    for change in SLOTS.into_iter().chain(CHANGES).chain(BIG) {
        client.batch_execute(change).await?;
    }
    client.batch_execute("COMMIT PREPARED 'big one'").await?;
    let mut captures = Vec::new();
    for binary in ["false", "true"] {
        captures.push(capture(&client, 1, "plain", &["binary", binary]).await?);
        let streaming = ["streaming", "on", "binary", binary];
        captures.push(capture(&client, 2, "plain", &streaming).await?);
        let two_phase = ["two_phase", "on", "streaming", "on", "binary", binary];
        captures.push(capture(&client, 3, "two_phase", &two_phase).await?);
        if cluster.major() >= 16 {
            let parallel = ["two_phase", "on", "streaming", "parallel", "binary", binary];
            captures.push(capture(&client, 4, "two_phase", &parallel).await?);
        }
    }
    Ok(captures)
}

async fn capture(
    client: &Client,
    version: u32,
    slot: &str,
    options: &[&str],
) -> anyhow::Result<Capture> {
    let number = version.to_string();
    let mut asked =
        vec!["proto_version", &number, "publication_names", "everything", "messages", "true"];
    asked.extend(options);
    let sql = "SELECT data FROM pg_logical_slot_peek_binary_changes($1, NULL, NULL, VARIADIC $2)";
    let rows = client.query(sql, &[&slot, &asked]).await?;
    let messages = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    Ok(Capture { version, options: options.join(" "), messages })
}

/// Decodes as the replicator does: what came before decides whether a message is inside a stream.
pub(crate) fn decode_all(messages: &[Vec<u8>]) -> anyhow::Result<Vec<(DecodeContext, Decoded)>> {
    let mut context = DecodeContext::default();
    let mut all = Vec::new();
    for bytes in messages {
        let decoded = decode(bytes.clone().into(), context)?;
        let before = context;
        if matches!(decoded.message, Message::StreamStart(_) | Message::StreamStop) {
            context.in_stream = matches!(decoded.message, Message::StreamStart(_));
        }
        all.push((before, decoded));
    }
    Ok(all)
}
