//! Which tables the monolith has, read from its database: those whose rows something identifies, and those
//! that are left out because nothing does.

use anyhow::Context;
use testkit::tokio_postgres::Client;

/// Ordinary and partitioned tables outside of the system's schemas and ours.
const TABLES: &str = "
    SELECT format('%I.%I', n.nspname, c.relname), CASE c.relreplident
        WHEN 'd' THEN EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
        WHEN 'i' THEN EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisreplident)
        ELSE c.relreplident = 'f' END
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence = 'p'
        AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'ficus')
    ORDER BY 1";

/// The monolith's tables, as quoted names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tables {
    pub(super) identified: Vec<String>,
    pub(super) left_out: Vec<String>,
}

/// Reads them.
pub(super) async fn tables(client: &Client) -> anyhow::Result<Tables> {
    let mut tables = Tables::default();
    for row in client.query(TABLES, &[]).await.context("read the monolith's tables")? {
        let (name, is_identified): (String, bool) = (row.try_get(0)?, row.try_get(1)?);
        if is_identified {
            tables.identified.push(name);
        } else {
            tables.left_out.push(name);
        }
    }
    Ok(tables)
}

/// How many tables of the list were written to since the statistics of this database were begun.
pub(super) async fn written(client: &Client, tables: &[String]) -> anyhow::Result<u64> {
    let sql = "SELECT count(*) FROM pg_stat_user_tables
        WHERE n_tup_ins + n_tup_upd + n_tup_del > 0
            AND format('%I.%I', schemaname, relname) = ANY($1)";
    let row = client.query_one(sql, &[&tables]).await.context("read the tables' statistics")?;
    Ok(u64::try_from(row.try_get::<_, i64>(0)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::Cluster;

    #[tokio::test]
    async fn a_table_without_key_is_left_out_and_named() {
        let cluster = Cluster::shared().await.expect("a cluster");
        cluster.create_database("identities").await.expect("a database");
        let tables_sql = "CREATE TABLE keyed (id int PRIMARY KEY); CREATE TABLE bare (id int);
            CREATE TABLE whole (id int); ALTER TABLE whole REPLICA IDENTITY FULL;
            CREATE TABLE indexed (id int NOT NULL UNIQUE);
            ALTER TABLE indexed REPLICA IDENTITY USING INDEX indexed_id_key;
            CREATE TABLE muted (id int PRIMARY KEY); ALTER TABLE muted REPLICA IDENTITY NOTHING";
        cluster.execute("identities", tables_sql).await.expect("tables");
        let client = cluster.connect("identities").await.expect("a client");
        let found = tables(&client).await.expect("the catalog");
        assert_eq!(found.identified, ["public.indexed", "public.keyed", "public.whole"]);
        assert_eq!(found.left_out, ["public.bare", "public.muted"]);
    }
}
