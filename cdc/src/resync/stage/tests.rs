//! The SQL of a stage, run by a real server.

use bytes::Bytes;
use cutover::StreamKind;
use pg::TableName;
use testkit::Cluster;

use super::{KeyOnSource, Stage, StageColumn, key_on_source, stage_name};
use crate::{
    mapping::{KeyColumn, TablePlan},
    resync::{
        decode::StageKey,
        write::{TextArray, params},
    },
    spec::StreamSpec,
};

fn key(values: &[&str]) -> StageKey {
    values.iter().map(|value| Bytes::copy_from_slice(value.as_bytes())).collect()
}

fn value(key: &StageKey, at: usize) -> Option<&[u8]> {
    key.get(at).map(Bytes::as_ref)
}

fn stage(name: &str, key_columns: Vec<KeyOnSource>) -> Stage {
    let columns = ["id", "name"].map(|name| StageColumn {
        name: name.to_owned(),
        quoted: format!("\"{name}\""),
        cast: if name == "id" { "bigint" } else { "text" }.to_owned(),
        builtin: true,
    });
    Stage {
        name: format!("public.stage_{name}"),
        read: format!("public.{name}"),
        columns: columns.into(),
        key: vec![0, 1],
        key_columns,
    }
}

#[tokio::test]
async fn the_chunk_of_a_key_is_the_one_that_reads_it_whatever_the_collation() -> anyhow::Result<()>
{
    let cluster = Cluster::shared().await?;
    cluster.create_database("stage").await?;
    let rows = "CREATE COLLATION swedish (provider = icu, locale = 'sv');
        CREATE TABLE t (id bigint, name varchar(9) COLLATE swedish, PRIMARY KEY (id, name));
        INSERT INTO t SELECT n % 4, w || n FROM generate_series(1, 40) n, unnest(array['a', 'B', 'ö', 'z']) w";
    cluster.execute("stage", rows).await?;
    let client = cluster.connect("stage").await?;
    client.batch_execute("SET search_path = pg_catalog").await?;
    let spec = StreamSpec::for_test("stage", StreamKind::Forward, &cluster.url("stage"));
    let mut plan = TablePlan::unresolved(
        TableName::new("public", "t"),
        TableName::new("public", "t"),
        TableName::new("public", "t"),
    );
    for (read, name) in ["id", "name"].into_iter().enumerate() {
        plan.columns.push(crate::mapping::ReadColumn {
            name: name.to_owned(),
            cast: "text".to_owned(),
            type_oid: 25,
            builtin: true,
            binary: None,
        });
        let column = KeyColumn {
            read,
            write: name.to_owned(),
            write_type: "text".to_owned(),
            collatable: true,
        };
        plan.key.push(column);
    }
    let stage = stage("t", key_on_source(&client, &spec, &plan).await?);
    assert_eq!(stage.key_columns[1].collation.as_deref(), Some("public.swedish"));
    let (mut bounds, mut chunk_of) = (Vec::<StageKey>::new(), Vec::new());
    loop {
        let row = client.query_opt(&stage.boundary(bounds.last(), 7), &[]).await?;
        let up_to = row.map(|row| key(&[row.get(0), row.get(1)]));
        let copy = stage.rows(bounds.len(), bounds.last(), up_to.as_ref());
        let select = copy.split("COPY (").nth(1).and_then(|rest| rest.split(") TO STDOUT").next());
        for row in client.query(select.expect("it copies a query"), &[]).await? {
            let id: i64 = row.get(0);
            chunk_of.push((key(&[&id.to_string(), row.get(1)]), row.get::<_, i32>(2)));
        }
        match up_to {
            Some(up_to) => bounds.push(up_to),
            None => break,
        }
    }
    assert_eq!((chunk_of.len(), bounds.len()), (160, 22));
    let keys: Vec<StageKey> = chunk_of.iter().map(|(key, _)| key.clone()).collect();
    let mut arrays = TextArray::columns(2, &keys, value);
    arrays.extend(TextArray::columns(2, &bounds, value));
    let found = client.query(&stage.chunk_of_keys(), &params(&arrays)).await?;
    for ((key, chunk), found) in chunk_of.iter().zip(&found) {
        assert_eq!(*chunk, found.get::<_, i32>(0), "{key:?}");
    }
    // Before there are bounds everything is in the first chunk.
    let mut arrays = TextArray::columns(2, &keys, value);
    arrays.extend(TextArray::columns(2, &[], value));
    let found = client.query(&stage.chunk_of_keys(), &params(&arrays)).await?;
    assert!(found.iter().all(|row| row.get::<_, i32>(0) == 0));
    Ok(())
}

#[tokio::test]
async fn rows_are_put_read_and_removed_by_key() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    cluster.create_database("stage_rows").await?;
    let client = cluster.connect("stage_rows").await?;
    let stage = stage("rows", Vec::new());
    client.batch_execute(&stage.create()).await?;
    client.batch_execute(&stage.create()).await?;
    let put = async |rows: &[StageKey], chunks: Vec<i32>| {
        let arrays = TextArray::columns(2, rows, value);
        let mut params = params(&arrays);
        params.push(&chunks);
        client.execute(&stage.put(), &params).await
    };
    put(&[key(&["1", "a"]), key(&["2", "b"]), key(&["3", "c"])], vec![0, 0, 1]).await?;
    put(&[key(&["2", "b"])], vec![1]).await?;
    client.execute(&stage.empty(), &[&vec![1]]).await?;
    let keys = [key(&["1", "a"]), key(&["2", "b"]), key(&["3", "c"])];
    let arrays = TextArray::columns(2, &keys, value);
    let left = client.query(&stage.by_keys(), &params(&arrays)).await?;
    assert_eq!(left.iter().map(|row| row.get(1)).collect::<Vec<String>>(), ["a"]);
    assert_eq!(client.execute(&stage.delete(), &params(&arrays)).await?, 1);
    Ok(())
}

#[test]
fn stages_of_different_streams_and_tables_have_different_names() {
    let spec = |kind| StreamSpec::for_test("tickets", kind, "postgres://x");
    let (forward, reference) = (spec(StreamKind::Forward), spec(StreamKind::Reference));
    assert_eq!(stage_name(&forward, "public.t"), stage_name(&forward, "public.t"));
    assert_ne!(stage_name(&forward, "public.t"), stage_name(&reference, "public.t"));
    assert_ne!(stage_name(&forward, "public.t"), stage_name(&forward, "public.u"));
}
