//! Tables and types of every kind: copied, then followed, and compared as text by queries that know
//! nothing of the mapping.

use cutover::StreamKind;
use routes::TableMapping;

use crate::world::{World, mapping, texts};

/// The same on both sides; numbers of their types differ.
const TYPES: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'ok', 'very \"glad\"');
    CREATE DOMAIN short AS varchar(10) CHECK (value <> '');
    CREATE DOMAIN shorter AS short CHECK (length(value) < 9);
    CREATE DOMAIN percent AS smallint CHECK (value BETWEEN 0 AND 100);
    CREATE TYPE pair AS (a integer, b text);
    CREATE TYPE span AS RANGE (subtype = float8);";

/// Types whose values are the same bytes in both databases.
const PLAIN: &str = "
    CREATE TABLE plain (
        id bigint PRIMARY KEY, b boolean, i2 smallint, i4 integer, i8 bigint, f4 real,
        f8 double precision, n numeric, n2 numeric(12, 4), m money, c char(5), c1 \"char\",
        v varchar(20), t text, nm name, by bytea, bi bit(5), vb bit varying, d date, tm time,
        tmz timetz, ts timestamp, tsz timestamptz, ts0 timestamp(0), iv interval, u uuid, j json,
        jb jsonb, jp jsonpath, x xml, ip inet, net cidr, ma macaddr, m8 macaddr8, pt point, ln line,
        ls lseg, bx box, pa path, po polygon, ci circle, tv tsvector, tq tsquery, lsn pg_lsn, ox oid,
        sn pg_snapshot, xi xid8, r4 int4range, r8 int8range, nr numrange, dr daterange, tr tsrange,
        tzr tstzrange, mr int4multirange, nmr nummultirange, tmr tstzmultirange, ia integer[],
        ta text[], na numeric[], ba bytea[], ja jsonb[], tsa timestamptz[], mood mood, sh short,
        shr shorter, pc percent);";

const PLAIN_ROWS: &str = r#"
    INSERT INTO plain (id) VALUES (0);
    INSERT INTO plain VALUES (1, true, 1, 1, 1, 1.5, 0.1, 12345.6789, 1.5, 12.34, 'abc', 'x', 'v ',
        E'tab\t\\ "q" ''s'' ünï €', 'name', '\x00ff27', '10101', '101', '2026-11-25', '10:11:12.5',
        '10:11:12+02', '2026-11-25 10:11:12.123456', '2026-11-25 10:11:12.123456+05:30',
        '2026-11-25 10:11:12', '1 year 2 mons 3 days 04:05:06.789',
        'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{ "a" :  1, "a": 2 }', '{"a": 1, "b": [null, 1e3]}',
        '$.a[*] ? (@ > 1)', '<a b="c">d</a>', '192.168.0.1/24', '10.0.0.0/8', '08:00:2b:01:02:03',
        '08:00:2b:01:02:03:04:05', '(1,2)', '{1,2,3}', '[(1,2),(3,4)]', '(3,4),(1,2)', '[(1,2),(3,4)]',
        '((1,2),(3,4),(5,6))', '<(1,2),3>', 'fat:2A cat:3 sat', 'fat & (cat | !rat:A*)', '16/B374D848',
        4294967295, '10:20:10,14,15', '18446744073709551615', '[1,5)', '(1,)', '[1.5,2.5]',
        '[2026-01-01,2026-02-01)', '[2026-01-01,infinity]', '(,2026-01-01 00:00+00)', '{[1,3),[5,9)}',
        '{[1.5,2.5],(7,)}', '{[2026-01-01 00:00+00,2026-02-01 00:00+00)}', '{1,NULL,3}',
        '{"a,b","NULL",NULL,"","\"\\"}', '{1.5,NaN}', '{"\\x00","\\x"}', '{"{\"a\": 1}"}',
        '{infinity,2026-01-01 00:00+00}', 'very "glad"', 'ten chars!', 'shorter', 100);
    INSERT INTO plain (id, b, i2, i4, i8, f4, f8, n, n2, m, c, v, t, by, bi, vb, d, tm, tmz, ts, tsz, iv,
        j, jb, x, ip, tv, r4, mr, ia, ta, mood, sh, shr, pc) VALUES
        (2, false, -32768, -2147483648, -9223372036854775808, 'NaN', '-Infinity', 'NaN', -99999999.9999,
        '-92233720368547758.08', '', '', '', '', '00000', '', '-infinity', '24:00:00',
        '00:00:00-15:59', 'infinity', '4713-01-01 00:00:00+00 BC', '-178000000 years', '[]', 'null', '',
        '::1', '', 'empty', '{}', '{}', '{}', 'sad', 'x', 'y', 0),
        (3, true, 32767, 2147483647, 9223372036854775807, '3.4028235e38', '1.7976931348623157e308',
        ('1' || repeat('0', 1000) || '.' || repeat('7', 1000))::numeric, 0, 0, 'ü', repeat('ü', 20),
        repeat('long text ', 100000), decode(repeat('00ff27', 200000), 'hex'), '11111',
        repeat('01', 500)::varbit, '5874897-12-31', '23:59:59.999999', '23:59:59.999999+15:59',
        '294276-12-31 23:59:59.999999', '-infinity', '1 mon -1 days +00:00:00.000001', '"\u00fc"',
        jsonb_build_object('big', repeat('x', 50000)), '<a/><b/>', 'ffff::/16', 'a:1,2,3', '[,]',
        '{(,1),[3,)}', '[0:2]={1,2,3}', '{{a,b},{c,NULL}}', 'ok', 'y', 'z', 1),
        (4, NULL, NULL, NULL, NULL, '-0', '5e-324', 'Infinity', NULL, NULL, NULL, NULL, E'\\N', NULL,
        NULL, NULL, NULL, NULL, NULL, NULL, NULL, '178000000 years 11 mons', NULL, NULL, NULL, NULL,
        NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
    INSERT INTO plain (id, n) VALUES (5, '-Infinity'), (6, 1e-1000), (7, 0.00), (8, 1e131071)"#;

/// Types that go as text: numbers of one database are in their bytes.
const RICH: &str = "
    CREATE TABLE rich (
        id bigint PRIMARY KEY, moods mood[], p pair, ps pair[], sp span, spm span_multirange, pcs percent[],
        rg regclass, rt regtype, rc regconfig, ac aclitem, acs aclitem[], t text, by bytea);";

const RICH_ROWS: &str = r#"
    INSERT INTO rich (id) VALUES (0);
    INSERT INTO rich VALUES
        (1, '{ok,"very \"glad\""}', '(1,"a,""b\\ ")', '{"(1,x)","(,\"\")",NULL}', '[1.5,Infinity]',
        '{[0.1,0.2),(3,)}', '{1,100}', 'pg_class', 'integer', 'english', '=r/postgres',
        '{postgres=arwdDxt/postgres}', E'\\N\t\\.\n', '\x5c2e0a'),
        (2, '{}', '(,)', '{}', 'empty', '{}', '{}', 'pg_catalog.pg_type', 'mood', 'simple', NULL, '{}', E'\r\n', ''),
        (3, '{NULL}', NULL, NULL, '(,)', NULL, NULL, NULL, NULL, 'german', NULL, NULL, '\.', NULL)"#;

const PLACES: &str = r#"
    CREATE SCHEMA "My Schema";
    CREATE TABLE "My Schema"."Order ""Lines""" (
        "Id" bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "select" text, gone integer,
        "Größe" numeric NOT NULL DEFAULT 1, "double" numeric GENERATED ALWAYS AS ("Größe" * 2) STORED,
        also_gone text, "a b" integer GENERATED BY DEFAULT AS IDENTITY);
    ALTER TABLE "My Schema"."Order ""Lines""" DROP gone, DROP also_gone;"#;

fn same(names: &[&str]) -> Vec<TableMapping> {
    names.iter().map(|name| mapping(name, name)).collect()
}

/// Copies, then writes the changes, and compares each of the tables after both.
async fn copy_and_follow(world: &mut World, changes: &str, compare: &[&str]) -> anyhow::Result<()> {
    world.run().await?;
    world.start(StreamKind::Forward).await?;
    compare_all(world, "after the copy", compare).await?;
    world.source.batch_execute(changes).await?;
    world.barrier(StreamKind::Forward).await?;
    compare_all(world, "after the changes", compare).await?;
    world.end().await
}

async fn compare_all(world: &World, when: &str, queries: &[&str]) -> anyhow::Result<()> {
    for query in queries {
        let source = texts(&world.source, query).await?;
        let target = texts(&world.target, query).await?;
        assert!(!source.is_empty(), "{when}: nothing to compare in {query}");
        for (source, target) in source.iter().zip(&target) {
            assert_eq!(source, target, "{when}: {query}");
        }
        assert_eq!(source.len(), target.len(), "{when}: {query}");
    }
    Ok(())
}

/// Inserts every row again under another key, gives each the values of another one, and removes some.
fn changes_of(table: &str) -> String {
    format!(
        "CREATE TEMP TABLE old AS SELECT * FROM {table};
         UPDATE old SET id = id + 100;
         INSERT INTO {table} SELECT * FROM old;
         DO $$ BEGIN EXECUTE (SELECT format('UPDATE {table} a SET (%1$s) = (SELECT %1$s FROM old
                 WHERE old.id = 100 + (a.id + 1) %% (SELECT count(*) FROM old)) WHERE id < 100 AND id <> 4',
             string_agg(quote_ident(attname), ', ')) FROM pg_attribute
             WHERE attrelid = '{table}'::regclass AND attnum > 1); END $$;
         DELETE FROM {table} WHERE id = 102;
         DROP TABLE old"
    )
}

#[tokio::test]
async fn every_built_in_type_is_copied_and_followed_to_the_last_digit() -> anyhow::Result<()> {
    let sql = format!("{TYPES}{PLAIN}");
    let mut world = World::of(&sql, &sql, same(&["plain"])).await?;
    world.source.batch_execute(PLAIN_ROWS).await?;
    copy_and_follow(&mut world, &changes_of("plain"), &["SELECT * FROM plain"]).await
}

#[tokio::test]
async fn types_that_one_database_made_are_copied_and_followed_by_their_names() -> anyhow::Result<()>
{
    let sql = format!("{TYPES}{RICH}");
    let mut world = World::of(&sql, &sql, same(&["rich"])).await?;
    world.source.batch_execute(RICH_ROWS).await?;
    copy_and_follow(&mut world, &changes_of("rich"), &["SELECT * FROM rich"]).await
}

#[tokio::test]
async fn odd_names_identities_generated_and_dropped_columns_are_copied_and_followed()
-> anyhow::Result<()> {
    let name = pg::TableName::new("My Schema", "Order \"Lines\"");
    let odd = TableMapping { source: name.clone(), target: name, ..mapping("", "") };
    let mut world = World::of(PLACES, PLACES, vec![odd]).await?;
    let insert = r#"INSERT INTO "My Schema"."Order ""Lines""" ("select", "Größe")
        SELECT 'row ' || n, n / 3.0 FROM generate_series(1, 100) n"#;
    world.source.batch_execute(insert).await?;
    let changes = format!(
        r#"{insert};
           UPDATE "My Schema"."Order ""Lines""" SET "Größe" = -1, "a b" = 7 WHERE "Id" % 3 = 0;
           DELETE FROM "My Schema"."Order ""Lines""" WHERE "Id" % 7 = 0"#
    );
    copy_and_follow(&mut world, &changes, &[r#"SELECT * FROM "My Schema"."Order ""Lines""""#]).await
}

#[tokio::test]
async fn partitioned_tables_are_copied_partition_by_partition_and_followed_as_one()
-> anyhow::Result<()> {
    let partitioned = |name: &str, split: i64| {
        format!(
            "CREATE TABLE {name} (id bigint, kind text, note text, PRIMARY KEY (id, kind))
                 PARTITION BY LIST (kind);
             CREATE TABLE {name}_a PARTITION OF {name} FOR VALUES IN ('a') PARTITION BY RANGE (id);
             CREATE TABLE {name}_a1 PARTITION OF {name}_a FOR VALUES FROM (0) TO ({split});
             CREATE TABLE {name}_a2 PARTITION OF {name}_a FOR VALUES FROM ({split}) TO (1000000);
             CREATE TABLE {name}_rest PARTITION OF {name} DEFAULT;"
        )
    };
    let plain = |name: &str| {
        format!("CREATE TABLE {name} (note text, id bigint, kind text, PRIMARY KEY (kind, id));")
    };
    let source = [partitioned("split", 500), partitioned("joined", 500), plain("cut")].concat();
    let target = [partitioned("split", 90), plain("joined"), partitioned("cut", 700)].concat();
    let names = ["split", "joined", "cut"];
    let mut world = World::of(&source, &target, same(&names)).await?;
    let mut changes = String::new();
    for name in names {
        let rows = format!(
            "INSERT INTO {name} (id, kind, note) SELECT n, substr('abc', n % 3 + 1, 1), 'note ' || n
             FROM generate_series(1, 999) n;"
        );
        world.source.batch_execute(&rows).await?;
        changes += &format!(
            "INSERT INTO {name} (id, kind, note) VALUES (5000, 'a', 'new'), (5000, 'z', NULL);
             UPDATE {name} SET note = 'changed' WHERE id % 5 = 0;
             UPDATE {name} SET kind = 'c' WHERE kind = 'a' AND id % 4 = 0;
             DELETE FROM {name} WHERE id % 11 = 0;"
        );
    }
    // Made after the guards: nobody was allowed to read it by itself.
    let late = "CREATE TABLE joined_late PARTITION OF joined FOR VALUES IN ('late');
        INSERT INTO joined VALUES (1, 'late', 'the only one')";
    world.source.batch_execute(late).await?;
    let queries = names.map(|name| format!("SELECT id, kind, note FROM {name}"));
    let queries: Vec<&str> = queries.iter().map(String::as_str).collect();
    copy_and_follow(&mut world, &changes, &queries).await
}

#[tokio::test]
async fn a_value_of_100_mb_is_copied() -> anyhow::Result<()> {
    let sql = "CREATE TABLE large (id bigint PRIMARY KEY, value bytea);
        ALTER TABLE large ALTER value SET STORAGE EXTERNAL;";
    let mut world = World::of(sql, sql, same(&["large"])).await?;
    let rows = "INSERT INTO large SELECT n, decode(repeat(md5(n::text), 3276800 * n), 'hex')
        FROM generate_series(1, 2) n";
    world.source.batch_execute(rows).await?;
    let query = "SELECT id, length(value), md5(value) FROM large";
    copy_and_follow(&mut world, "DELETE FROM large WHERE id = 1", &[query]).await
}

#[tokio::test]
async fn what_cannot_be_carried_is_refused_before_a_row_moves() -> anyhow::Result<()> {
    let plain = "CREATE TABLE parent (id bigint PRIMARY KEY, t text);
        CREATE TABLE made (id bigint PRIMARY KEY, t text);";
    let source = "CREATE TABLE parent (id bigint PRIMARY KEY, t text);
        CREATE TABLE heir (more text) INHERITS (parent);
        CREATE TABLE made (id bigint PRIMARY KEY, t text GENERATED ALWAYS AS (id::text) STORED);";
    let mut world = World::of(source, plain, same(&["parent", "made"])).await?;
    world.run().await?;
    let refused = world.client().start(world.stream(StreamKind::Forward)).await;
    let message = refused.expect_err("they do not fit").message().to_owned();
    for part in ["public.parent: other tables inherit", "public.made.t: the source generates it"] {
        assert!(message.contains(part), "{part} in {message}");
    }
    world.end().await
}

#[tokio::test]
async fn rows_that_do_not_fit_stop_the_copy_with_the_name_of_their_table() -> anyhow::Result<()> {
    let source = "CREATE TABLE strict (id bigint PRIMARY KEY, t text);";
    let target = "CREATE TABLE strict (id bigint PRIMARY KEY, t text CHECK (t <> 'bad'));";
    let mut world = World::of(source, target, same(&["strict"])).await?;
    let rows = "INSERT INTO strict SELECT n, CASE n WHEN 5 THEN 'bad' ELSE repeat('x', 1000) END
        FROM generate_series(1, 20000) n";
    world.source.batch_execute(rows).await?;
    world.run().await?;
    world.client().start(world.stream(StreamKind::Forward)).await?;
    let status = world.wait_for_state(StreamKind::Forward, "failed").await?;
    assert!(status.reason.contains("public.strict"), "{}", status.reason);
    assert!(status.reason.contains("violates check constraint"), "{}", status.reason);
    world.end().await
}
