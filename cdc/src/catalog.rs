//! What the catalogs of the two databases say about a table. Reads only.

use pg::TableName;
use tokio_postgres::{Client, Row};

/// Type numbers below this are built in: the same in every server.
const FIRST_USER_OID: u32 = 16_384;
const TEXT_OID: u32 = 25;

/// A table as one database sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) name: TableName,
    /// In the order of the catalog, without dropped columns.
    pub(crate) columns: Vec<Column>,
    /// What identifies a row in the write-ahead log.
    pub(crate) identity: Identity,
    /// The columns of each unique index that covers all rows at once, primary key first.
    pub(crate) unique: Vec<Vec<String>>,
    /// The planner's guess for the size it has now; 0 when there is none.
    pub(crate) rows_estimated: u64,
    /// Whether other tables inherit from it; partitions do not count.
    pub(crate) has_heirs: bool,
}

/// Where rows of a table lie: the table itself, or one of its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) name: TableName,
    /// Blocks of rows.
    pub(crate) pages: u64,
    /// On disk, with values that lie outside their rows, without indexes.
    pub(crate) bytes: u64,
    /// Whether it may be read by itself and in ranges of blocks.
    pub(crate) has_ranges: bool,
}

/// One column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// The type without its modifier, qualified, ready to cast to.
    pub(crate) type_sql: String,
    /// The type as it was declared, with length or precision.
    pub(crate) declared_sql: String,
    pub(crate) type_oid: u32,
    pub(crate) type_kind: TypeKind,
    pub(crate) type_modifier: i32,
    pub(crate) not_null: bool,
    /// A default or an identity sequence.
    pub(crate) has_default: bool,
    /// Computed from other columns: neither published nor written.
    pub(crate) generated: bool,
    /// `GENERATED ALWAYS AS IDENTITY`: takes a given value when a row is added, never when it changes.
    pub(crate) always_identity: bool,
    pub(crate) collatable: bool,
}

/// What sort of type a column has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TypeKind {
    Enum,
    /// Over the type with this name and number.
    Domain {
        base_sql: String,
        base_oid: u32,
    },
    Other,
}

/// `REPLICA IDENTITY`, resolved to columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// These columns.
    Columns(Vec<String>),
    /// All columns.
    Full,
    /// None: the source refuses updates and deletes of a published table.
    None,
}

impl Table {
    pub(crate) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Whether a unique index has exactly these columns.
    pub(crate) fn is_unique(&self, columns: &[&str]) -> bool {
        self.unique.iter().any(|index| {
            index.len() == columns.len()
                && index.iter().all(|name| columns.contains(&name.as_str()))
        })
    }
}

impl Column {
    /// Whether the type has the same meaning and binary form in every server.
    pub(crate) const fn is_builtin(&self) -> bool {
        self.type_oid < FIRST_USER_OID
    }

    /// How a value in binary form can be declared in another server: name and number of the type.
    /// `None` where the binary form means something else there, or nothing.
    pub(crate) fn binary_type(&self) -> Option<(String, u32)> {
        match &self.type_kind {
            // The binary form of an enum's value is its label.
            TypeKind::Enum => Some(("text".to_owned(), TEXT_OID)),
            TypeKind::Domain { base_sql, base_oid } => {
                is_portable(*base_oid).then(|| (base_sql.clone(), *base_oid))
            }
            TypeKind::Other => {
                is_portable(self.type_oid).then(|| (self.type_sql.clone(), self.type_oid))
            }
        }
    }
}

/// Whether the binary form of a type means the same in every server. Aliases of object numbers mean
/// something else, access lists have no binary form, and what is not built in may be anything.
const fn is_portable(type_oid: u32) -> bool {
    let is_object_number = matches!(type_oid, 24 | 2202..=2206 | 3734 | 3769 | 4089 | 4096 | 4191);
    let is_array_of_them =
        matches!(type_oid, 1008 | 2207..=2211 | 3735 | 3770 | 4090 | 4097 | 4192);
    let is_access_list = matches!(type_oid, 1033 | 1034);
    type_oid < FIRST_USER_OID && !is_object_number && !is_array_of_them && !is_access_list
}

/// Reads a table's description; `None` when there is no such table. The connection's search path
/// must be `pg_catalog`, so that names of types come qualified.
///
/// # Errors
/// What the database said.
pub(crate) async fn read_table(
    client: &Client,
    name: &TableName,
) -> Result<Option<Table>, tokio_postgres::Error> {
    let header = client
        .query_opt(
            "SELECT c.oid, c.relreplident::text,
                 c.relkind = 'r' AND EXISTS (SELECT 1 FROM pg_inherits WHERE inhparent = c.oid),
                 CASE WHEN c.relkind = 'r' AND c.relpages > 0
                     THEN pg_relation_size(c.oid) / current_setting('block_size')::float8 / c.relpages
                     ELSE 1 END * greatest(c.reltuples, 0)
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')",
            &[&name.schema, &name.name],
        )
        .await?;
    let Some(header) = header else { return Ok(None) };
    let oid: u32 = header.get(0);
    let columns = client
        .query(
            "SELECT a.attname::text, format_type(a.atttypid, -1), a.atttypid, a.atttypmod, a.attnotnull,
                 a.atthasdef OR a.attidentity <> '', a.attgenerated <> '', a.attcollation <> 0,
                 format_type(a.atttypid, a.atttypmod), t.typtype::text, t.typbasetype,
                 format_type(nullif(t.typbasetype, 0), -1), a.attidentity = 'a'
             FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
             WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
            &[&oid],
        )
        .await?;
    let indexes = client
        .query(
            "SELECT i.indisprimary, i.indisreplident,
                 ARRAY(SELECT a.attname::text FROM unnest(i.indkey::smallint[]) WITH ORDINALITY k(n, place)
                     JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.n
                     WHERE k.place <= i.indnkeyatts ORDER BY k.place)
             FROM pg_index i
             WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indimmediate
                 AND i.indpred IS NULL AND i.indexprs IS NULL
             ORDER BY i.indisprimary DESC, i.indexrelid",
            &[&oid],
        )
        .await?;
    let setting: String = header.get(1);
    Ok(Some(Table {
        name: name.clone(),
        columns: columns.iter().map(column).collect(),
        identity: identity(&setting, &indexes),
        unique: indexes.iter().map(|row| row.get(2)).collect(),
        rows_estimated: rounded(header.get(3)),
        has_heirs: header.get(2),
    }))
}

/// Where the rows of a table lie; nothing for a partitioned table without partitions. The table must
/// exist.
///
/// # Errors
/// What the database said.
pub(crate) async fn read_parts(
    client: &Client,
    name: &TableName,
) -> Result<Vec<Part>, tokio_postgres::Error> {
    let rows = client
        .query(
            "SELECT n.nspname::text, c.relname::text,
                 pg_relation_size(c.oid) / current_setting('block_size')::bigint,
                 pg_table_size(c.oid), c.relkind = 'r' AND has_table_privilege(c.oid, 'SELECT')
                     AND has_schema_privilege(n.oid, 'USAGE')
             FROM (SELECT relid::oid AS oid FROM pg_partition_tree($1::text::regclass) WHERE isleaf
                 UNION SELECT $1::text::regclass::oid) part
             JOIN pg_class c ON c.oid = part.oid AND c.relkind <> 'p'
             JOIN pg_namespace n ON n.oid = c.relnamespace
             ORDER BY 1, 2",
            &[&name.quoted()],
        )
        .await?;
    let part = |row: &Row| Part {
        name: TableName::new(row.get::<_, String>(0), row.get::<_, String>(1)),
        pages: unsigned(row.get(2)),
        bytes: unsigned(row.get(3)),
        has_ranges: row.get(4),
    };
    Ok(rows.iter().map(part).collect())
}

/// The tables a publication covers; `None` when there is no such publication.
///
/// # Errors
/// What the database said.
pub(crate) async fn published_tables(
    client: &Client,
    publication: &str,
) -> Result<Option<Vec<TableName>>, tokio_postgres::Error> {
    let exists = client
        .query_opt("SELECT 1 FROM pg_publication WHERE pubname = $1", &[&publication])
        .await?;
    if exists.is_none() {
        return Ok(None);
    }
    let rows = client
        .query(
            "SELECT schemaname::text, tablename::text FROM pg_publication_tables WHERE pubname = $1",
            &[&publication],
        )
        .await?;
    let name = |row: &Row| TableName::new(row.get::<_, String>(0), row.get::<_, String>(1));
    Ok(Some(rows.iter().map(name).collect()))
}

fn column(row: &Row) -> Column {
    Column {
        name: row.get(0),
        type_sql: row.get(1),
        declared_sql: row.get(8),
        type_oid: row.get(2),
        type_kind: type_kind(row),
        type_modifier: row.get(3),
        not_null: row.get(4),
        has_default: row.get(5),
        generated: row.get(6),
        always_identity: row.get(12),
        collatable: row.get(7),
    }
}

fn type_kind(row: &Row) -> TypeKind {
    match (row.get::<_, &str>(9), row.get::<_, Option<String>>(11)) {
        ("e", _) => TypeKind::Enum,
        ("d", Some(base_sql)) => TypeKind::Domain { base_sql, base_oid: row.get(10) },
        _ => TypeKind::Other,
    }
}

fn identity(setting: &str, indexes: &[Row]) -> Identity {
    let flag = match setting {
        "f" => return Identity::Full,
        "d" => 0,
        "i" => 1,
        _ => return Identity::None,
    };
    let chosen = indexes.iter().find(|row| row.get::<_, bool>(flag));
    chosen.map_or(Identity::None, |row| Identity::Columns(row.get(2)))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate of rows, never negative and far below the limit"
)]
const fn rounded(estimate: f64) -> u64 {
    estimate as u64
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
