//! Which sequences feed a table's columns: those a column owns (`serial`, identity), and those that
//! only its default names, as in schemas that create their sequences by hand.

use pg::TableName;
use tokio_postgres::{Client, Transaction};

use crate::GuardError;

/// A column that may be fed by a sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceColumn {
    /// The pair's name on both sides: the source's `schema.table.column`.
    pub name: String,
    /// This side's table.
    pub table: TableName,
    /// This side's column.
    pub column: String,
}

/// Columns of the table `$1` and the sequence of each, as a quoted name. An expression that names several
/// sequences has the first one in the order of their creation.
const FED_COLUMNS: &str = "
    SELECT a.attname::text AS column, coalesce(pg_get_serial_sequence($1, a.attname), (
        SELECT format('%I.%I', n.nspname, s.relname) FROM pg_attrdef e
        JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = e.oid
            AND d.refclassid = 'pg_class'::regclass
        JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S'
        JOIN pg_namespace n ON n.oid = s.relnamespace
        WHERE e.adrelid = a.attrelid AND e.adnum = a.attnum ORDER BY s.oid LIMIT 1)) AS sequence
    FROM pg_attribute a
    WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped";

/// The columns of a table that a sequence feeds, in their order; none when there is no such table.
///
/// # Errors
/// [`GuardError::Database`] with the server's message.
pub async fn sequence_columns(
    client: &Client,
    table: &TableName,
) -> Result<Vec<String>, GuardError> {
    let sql = format!("{FED_COLUMNS} ORDER BY a.attnum");
    let mut columns = Vec::new();
    for row in client.query(&sql, &[&table.quoted()]).await? {
        if row.try_get::<_, Option<String>>("sequence")?.is_some() {
            columns.push(row.try_get("column")?);
        }
    }
    Ok(columns)
}

/// Remembers the column's sequence; a column without one is skipped.
pub(crate) async fn register(
    tx: &Transaction<'_>,
    capability: &str,
    column: &SequenceColumn,
) -> Result<(), GuardError> {
    let sql = format!(
        "INSERT INTO ficus.guard_sequence
         SELECT $2, $3, f.sequence FROM ({FED_COLUMNS}) f
         WHERE f.column = $4 AND f.sequence IS NOT NULL ON CONFLICT DO NOTHING"
    );
    tx.execute(&sql, &[&column.table.quoted(), &capability, &column.name, &column.column]).await?;
    Ok(())
}
