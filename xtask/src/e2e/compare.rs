//! Whether two databases hold the same rows, found without any code of the replicator: the servers hash
//! the text of every row.

use anyhow::Context;
use testkit::tokio_postgres::Client;

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Compared {
    /// Rows of all tables on the source.
    pub(super) rows: u64,
    /// Tables that are not equal, with what each side has.
    pub(super) different: Vec<String>,
}

/// Compares tables of the same name; `tables` are quoted names.
pub(super) async fn compare(
    source: &Client,
    target: &Client,
    tables: &[String],
) -> anyhow::Result<Compared> {
    let mut compared = Compared::default();
    for table in tables {
        let (here, there) = (hash(source, table).await?, hash(target, table).await?);
        compared.rows += u64::try_from(here.0)?;
        if here != there {
            compared.different.push(format!(
                "{table}: source {} rows, hash {}; target {} rows, hash {}",
                here.0, here.1, there.0, there.1
            ));
        }
    }
    Ok(compared)
}

async fn hash(client: &Client, table: &str) -> anyhow::Result<(i64, String)> {
    let sql = format!(
        "SELECT count(*), coalesce(sum(hashtextextended(each::text, 0)::numeric), 0)::text
         FROM {table} AS each"
    );
    let row = client.query_one(&sql, &[]).await.with_context(|| format!("hash {table}"))?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::Cluster;

    #[tokio::test]
    async fn one_changed_value_and_one_missing_row_make_their_tables_different() {
        let cluster = Cluster::shared().await.expect("a cluster");
        for database in ["compare_source", "compare_target"] {
            cluster.create_database(database).await.expect("a database");
            let tables = "CREATE TABLE a (id int, note text); CREATE TABLE b (id int);
                CREATE TABLE c (id int);
                INSERT INTO a VALUES (1, NULL), (2, 'x'); INSERT INTO b VALUES (1), (2)";
            cluster.execute(database, tables).await.expect("three tables");
        }
        let source = cluster.connect("compare_source").await.expect("a client");
        let target = cluster.connect("compare_target").await.expect("a client");
        let tables = ["a", "b", "c"].map(str::to_owned);
        let equal = Compared { rows: 4, different: Vec::new() };
        assert_eq!(compare(&source, &target, &tables).await.expect("compared"), equal);
        let change = "UPDATE a SET note = '' WHERE id = 1; DELETE FROM b WHERE id = 2";
        target.batch_execute(change).await.expect("a change");
        let compared = compare(&source, &target, &tables).await.expect("compared");
        let named = compared.different.iter().filter_map(|line| line.split(':').next());
        assert_eq!(named.collect::<Vec<_>>(), ["a", "b"]);
    }
}
