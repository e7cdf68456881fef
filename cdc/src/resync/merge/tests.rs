//! A table is made equal to its stage, by a real server.

use pg::TableName;
use testkit::{Cluster, tokio_postgres::Client};

use super::Merge;
use crate::mapping::{Assignment, Expression, KeyColumn, ReadColumn, TablePlan, Value};

/// `id` and `name` as they are, `doc` as it is, `upper` computed; rows with the name `no` stay away.
fn plan() -> TablePlan {
    let table = TableName::new("public", "t");
    let mut plan = TablePlan::unresolved(table.clone(), table.clone(), table);
    let types = [("id", "bigint"), ("name", "text"), ("doc", "json")];
    plan.columns = types
        .map(|(name, sql)| ReadColumn {
            name: name.to_owned(),
            cast: sql.to_owned(),
            type_oid: 25,
            builtin: true,
            binary: None,
        })
        .into();
    plan.key = vec![KeyColumn {
        read: 0,
        write: "id".to_owned(),
        write_type: "bigint".to_owned(),
        collatable: false,
    }];
    let assignment = |column: &str, sql: &str, value| Assignment {
        write_binary: None,
        column: column.to_owned(),
        write_type: sql.to_owned(),
        declared_type: sql.to_owned(),
        write_type_oid: 25,
        value,
        insert_only: false,
    };
    let mut assignments: Vec<Assignment> = types
        .into_iter()
        .enumerate()
        .map(|(index, (name, sql))| assignment(name, sql, Value::Column(index)))
        .collect();
    let upper = Expression { text: "upper(name)".to_owned(), uses: vec![1] };
    assignments.push(assignment("upper", "text", Value::Sql(upper)));
    plan.assignments = assignments;
    plan.filter = Some(Expression { text: "name <> 'no'".to_owned(), uses: vec![1] });
    plan
}

async fn tables(name: &'static str) -> anyhow::Result<Client> {
    let cluster = Cluster::shared().await?;
    cluster.create_database(name).await?;
    let client = cluster.connect(name).await?;
    client
        .batch_execute(
            "CREATE TABLE t (id bigint PRIMARY KEY, name text UNIQUE, doc json, upper text, own text DEFAULT 'new');
             CREATE TABLE stage (id bigint PRIMARY KEY, name text, doc json, \" chunk\" integer)",
        )
        .await?;
    Ok(client)
}

async fn rows(client: &Client) -> anyhow::Result<Vec<String>> {
    let sql = "SELECT concat_ws(' ', id, name, doc, upper, own) FROM t ORDER BY id";
    Ok(client.query(sql, &[]).await?.iter().map(|row| row.get(0)).collect())
}

#[tokio::test]
async fn rows_come_go_and_change_and_the_columns_of_the_service_stay() -> anyhow::Result<()> {
    let client = tables("merge").await?;
    client
        .batch_execute(
            "INSERT INTO t VALUES (1, 'same', '{}', 'SAME', 'mine'), (2, 'old', '{}', 'OLD', 'mine'),
                 (3, 'gone', '{}', 'GONE', 'mine'), (4, 'seen', '{}', 'SEEN', 'mine');
             INSERT INTO stage VALUES (1, 'same', '{}', 0), (2, 'changed', '[1]', 0), (4, 'no', '{}', 0), (5, 'fresh', NULL, 1)",
        )
        .await?;
    let merge = Merge::new(&plan(), "stage");
    let update = merge.update.clone().expect("columns beside the key are written");
    assert_eq!(client.execute(&merge.delete, &[]).await?, 2);
    assert_eq!(client.execute(&update, &[]).await?, 1, "equal rows are left alone");
    assert_eq!(client.execute(&merge.insert, &[]).await?, 1);
    let expected = ["1 same {} SAME mine", "2 changed [1] CHANGED mine", "5 fresh FRESH new"];
    assert_eq!(rows(&client).await?, expected);
    assert_eq!(client.execute(&update, &[]).await?, 0);
    assert_eq!(client.execute(&merge.insert, &[]).await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_unique_value_that_changed_hands_needs_the_table_filled_anew() -> anyhow::Result<()> {
    let client = tables("merge_swap").await?;
    client
        .batch_execute(
            "INSERT INTO t VALUES (1, 'a', '{}', 'A', 'mine'), (2, 'b', '{}', 'B', 'mine');
             INSERT INTO stage VALUES (1, 'b', '{}', 0), (2, 'a', '{}', 0)",
        )
        .await?;
    let merge = Merge::new(&plan(), "stage");
    let refused = client.execute(merge.update.as_deref().expect("it updates"), &[]).await;
    assert_eq!(
        refused.expect_err("it swaps").code().map(tokio_postgres::error::SqlState::code),
        Some("23505")
    );
    client.execute(&merge.empty, &[]).await?;
    client.execute(&merge.refill, &[]).await?;
    assert_eq!(rows(&client).await?, ["1 b {} B new", "2 a {} A new"]);
    Ok(())
}
