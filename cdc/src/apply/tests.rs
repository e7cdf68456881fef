//! What a batch of changes becomes, before any database sees it.

use std::{borrow::Cow, sync::Arc};

use cutover::{Side, StreamKind};
use pg::{
    Lsn, TableName,
    pgoutput::{Tuple, TupleValue},
};
use testkit::Cluster;

use super::{
    Applier,
    net::{NetRows, Step, Tables, merged, ordered},
};
use crate::{
    StreamError,
    change::{Change, Row},
    mapping::{Assignment, Format, KeyColumn, ReadColumn, Strictness, TablePlan, Value},
    spec::StreamSpec,
};

/// Two columns, `id` and `body`, as they are.
fn plan(name: &str) -> TablePlan {
    let names = ["id", "body"];
    TablePlan {
        source: TableName::new("public", name),
        read: TableName::new("public", name),
        write: TableName::new("public", name),
        columns: names
            .map(|name| ReadColumn {
                name: name.to_owned(),
                cast: "text".to_owned(),
                type_oid: 25,
                builtin: true,
                binary: None,
            })
            .into(),
        key: vec![KeyColumn {
            read: 0,
            write: "id".to_owned(),
            write_type: "text".to_owned(),
            collatable: true,
        }],
        assignments: [0, 1]
            .map(|index| Assignment {
                column: names[index].to_owned(),
                write_type: "text".to_owned(),
                declared_type: "text".to_owned(),
                write_type_oid: 25,
                write_binary: None,
                value: Value::Column(index),
                insert_only: false,
            })
            .into(),
        filter: None,
        left_home: None,
        strictness: Strictness::EveryColumn,
    }
}

const UNSENT: TupleValue<'static> = TupleValue::UnchangedToast;

fn text(value: &'static str) -> TupleValue<'static> {
    TupleValue::Text(value.as_bytes())
}

fn row(id: &'static str, body: TupleValue<'static>) -> Row {
    Row(Tuple::from_values([text(id), body]))
}

fn rows_of<'a>(rows: impl IntoIterator<Item = Row>) -> Vec<Cow<'a, Row>> {
    rows.into_iter().map(Cow::Owned).collect()
}

fn insert(id: &'static str, body: &'static str) -> Change {
    Change::Insert { table: 0, new: row(id, text(body)) }
}

fn update(id: &'static str, body: TupleValue<'static>) -> Change {
    Change::Update { table: 0, old: None, new: row(id, body) }
}

fn rekey(from: &'static str, to: &'static str) -> Change {
    Change::Update { table: 0, old: Some(row(from, UNSENT)), new: row(to, text("b")) }
}

fn delete(id: &'static str) -> Change {
    Change::Delete { table: 0, old: row(id, UNSENT) }
}

fn tables() -> Tables {
    Tables::new(Arc::new([plan("t")]))
}

/// The net rows of changes that need one step.
fn net<'a>(changes: &'a [Change], tables: &'a Tables) -> NetRows<'a> {
    match merged(changes, tables).as_slice() {
        [] => NetRows::default(),
        [Step::Rows { table: 0, net }] => net.clone(),
        other => panic!("one step is enough: {other:?}"),
    }
}

#[test]
fn a_row_that_came_and_went_leaves_nothing_to_do() {
    let tables = tables();
    let changes = [insert("1", "a"), update("1", text("b")), delete("1")];
    assert_eq!(net(&changes, &tables), NetRows::default());
    let changes = [insert("1", "a"), delete("1"), insert("1", "c")];
    let again = net(&changes, &tables);
    assert_eq!(again.inserts, rows_of([row("1", text("c"))]));
    assert!(again.deletes.is_empty());
}

#[test]
fn updates_of_a_row_become_one_and_keep_values_known_from_earlier() {
    let (tables, changes) = (tables(), [update("1", text("long")), update("1", UNSENT)]);
    let net = net(&changes, &tables);
    assert_eq!(net.updates, [(vec![0, 1], rows_of([row("1", text("long"))]))]);
}

#[test]
fn updates_are_grouped_by_what_is_known_of_the_row() {
    let null = TupleValue::Null;
    let changes = [update("1", UNSENT), update("2", text("b")), update("3", null)];
    let tables = tables();
    let net = net(&changes, &tables);
    let expected = [
        (vec![0], rows_of([row("1", UNSENT)])),
        (vec![0, 1], rows_of([row("2", text("b")), row("3", null)])),
    ];
    assert_eq!(net.updates, expected);
}

#[test]
fn the_rows_of_a_statement_come_in_the_order_of_their_keys() {
    let (tables, changes) = (tables(), [insert("3", "c"), insert("1", "a"), insert("2", "b")]);
    let expected = [row("1", text("a")), row("2", text("b")), row("3", text("c"))];
    assert_eq!(net(&changes, &tables).inserts, rows_of(expected));
}

#[test]
fn a_row_deleted_and_added_again_starts_anew() {
    let (tables, changes) = (tables(), [delete("1"), insert("1", "a"), update("1", text("b"))]);
    let net = net(&changes, &tables);
    assert_eq!(net.deletes.len(), 1);
    assert_eq!(net.inserts, rows_of([row("1", text("b"))]));
    assert!(net.updates.is_empty());
}

#[test]
fn changed_keys_and_truncation_cut_the_run_and_stay_in_their_place() {
    let changes = [
        insert("1", "a"),
        rekey("1", "2"),
        insert("1", "c"),
        Change::Truncate { tables: vec![0] },
        insert("3", "d"),
    ];
    let tables = tables();
    let steps = merged(&changes, &tables);
    let kinds: Vec<&str> = steps
        .iter()
        .map(|step| match step {
            Step::Rows { .. } => "rows",
            Step::Rekey { .. } => "rekey",
            Step::Truncate { .. } => "truncate",
        })
        .collect();
    assert_eq!(kinds, ["rows", "rekey", "rows", "truncate", "rows"]);
}

#[test]
fn changes_that_do_not_follow_from_each_other_are_left_for_the_database_to_refuse() {
    let tables = tables();
    assert_eq!(merged(&[insert("1", "a"), insert("1", "b")], &tables).len(), 2);
    assert_eq!(merged(&[delete("1"), update("1", text("b"))], &tables).len(), 2);
}

#[test]
fn in_order_every_change_is_a_step_of_its_own() {
    let changes = [insert("1", "a"), update("1", text("b")), rekey("1", "2"), delete("2")];
    assert_eq!(ordered(&changes, &tables()).len(), 4);
}

/// A target database with the table `t` and the row of a stream at position 1.
async fn target(name: &'static str) -> anyhow::Result<(Arc<StreamSpec>, Arc<[TablePlan]>)> {
    let cluster = Cluster::shared().await?;
    cluster.create_database(name).await?;
    cluster.execute(name, "CREATE TABLE t (id text PRIMARY KEY, body text)").await?;
    let install = guard::Install {
        capability: name.to_owned(),
        side: Side::Target,
        tables: vec![TableName::new("public", "t")],
        references: Vec::new(),
        sequences: Vec::new(),
    };
    guard::install(&mut cluster.connect(name).await?, &install).await?;
    let spec = StreamSpec::for_test(name, StreamKind::Forward, &cluster.url(name));
    let row = format!(
        "INSERT INTO ficus.apply (stream, capability, kind, mode, lsn, slot, peer_system_id,
             peer_timeline, copied) VALUES ('{}', '{name}', 'forward', 'apply', '0/1', 's', '1', 1, true)",
        spec.key()
    );
    cluster.execute(name, &row).await?;
    Ok((Arc::new(spec), Arc::new([plan("t")])))
}

async fn rows(name: &str) -> anyhow::Result<Vec<String>> {
    let client = Cluster::shared().await?.connect(name).await?;
    let rows = client.query("SELECT id || body FROM t ORDER BY 1", &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

#[tokio::test]
async fn an_applier_that_believes_in_an_old_position_or_epoch_writes_nothing() -> anyhow::Result<()>
{
    let (spec, plans) = target("zombie").await?;
    let mut applier = Applier::open(Arc::clone(&spec), Arc::clone(&plans), Format::Text).await?;
    applier.write(&[insert("1", "a")]).await?;
    // Another session moved the position and committed before this one could lock the row.
    let mut late = Applier { is_open: false, ..applier };
    late.session.run("ROLLBACK").await?;
    let cluster = Cluster::shared().await?;
    cluster.execute("zombie", "UPDATE ficus.apply SET lsn = '0/5'").await?;
    let refused = late.write(&[insert("1", "a")]).await;
    assert!(matches!(refused, Err(StreamError::Stale)), "{refused:?}");
    late.session.run("ROLLBACK").await?;
    cluster
        .execute("zombie", "UPDATE ficus.apply SET lsn = '0/1', epoch = 2, mode = 'stopped'")
        .await?;
    let refused = late.write(&[insert("1", "a")]).await;
    assert!(matches!(refused, Err(StreamError::Stale)), "{refused:?}");
    assert!(rows("zombie").await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn rows_and_position_are_committed_together_or_not_at_all() -> anyhow::Result<()> {
    let (spec, plans) = target("together").await?;
    let mut applier = Applier::open(Arc::clone(&spec), Arc::clone(&plans), Format::Text).await?;
    applier.write(&[insert("1", "a"), insert("2", "b")]).await?;
    drop(applier);
    assert!(rows("together").await?.is_empty());
    let mut applier = testkit::wait_until(std::time::Duration::from_secs(30), || async {
        // Until the server has noticed that the first session is gone it holds the origin.
        Ok(Applier::open(Arc::clone(&spec), Arc::clone(&plans), Format::Text).await.ok())
    })
    .await?;
    assert_eq!(applier.row().lsn, Lsn::new(1));
    applier.write(&[insert("1", "a"), insert("2", "b")]).await?;
    applier.commit(Lsn::new(9), None).await?;
    assert_eq!(rows("together").await?, ["1a", "2b"]);
    assert_eq!(Applier::row(&applier).lsn, Lsn::new(9));
    Ok(())
}
