//! The session that writes replicated rows: past the fence, without triggers, marked with the
//! stream's origin.

use std::collections::HashMap;

use bytes::BytesMut;
use cutover::Side;
use postgres_protocol::types::{ArrayDimension, array_to_sql};
use tokio_postgres::{
    Client, Statement,
    types::{IsNull, ToSql, Type, to_sql_checked},
};

use crate::{
    StreamError,
    change::{Datum, Key, Row},
    mapping::sql::{Param, RowsStatement},
    session,
};

/// A session of one stream in the database it writes to.
pub(crate) struct ApplySession {
    pub(crate) client: Client,
    pub(crate) side: Side,
    statements: HashMap<String, Statement>,
}

/// The values of one column, for a `text[]` parameter.
#[derive(Debug)]
struct TextArray<'a>(Vec<Option<&'a [u8]>>);

impl ApplySession {
    /// Connects, and marks everything that the session writes with the origin.
    ///
    /// # Errors
    /// Transient while an earlier session of the stream still holds the origin.
    pub(crate) async fn open(url: &str, side: Side, origin: &str) -> Result<Self, StreamError> {
        let client = session::open(url, side, origin).await?;
        client
            .batch_execute("SET session_replication_role = replica; SET synchronous_commit = on")
            .await
            .map_err(StreamError::database("become a replication session", side))?;
        client
            .execute(
                "SELECT pg_replication_origin_create($1)
                 WHERE pg_replication_origin_oid($1) IS NULL",
                &[&origin],
            )
            .await
            .map_err(StreamError::database("create the replication origin", side))?;
        client
            .execute("SELECT pg_replication_origin_session_setup($1)", &[&origin])
            .await
            .map_err(StreamError::database("take the replication origin", side))?;
        Ok(Self { client, side, statements: HashMap::new() })
    }

    /// Runs a statement without parameters or rows.
    ///
    /// # Errors
    /// What the database said.
    pub(crate) async fn run(&self, sql: &str) -> Result<(), StreamError> {
        self.client
            .batch_execute(sql)
            .await
            .map_err(StreamError::database("control the transaction", self.side))
    }

    /// Runs a statement over rows; answers how many rows it affected.
    ///
    /// # Errors
    /// What the database said.
    pub(crate) async fn execute(
        &mut self,
        statement: &RowsStatement,
        rows: &[Row],
        old_keys: &[Key],
    ) -> Result<u64, tokio_postgres::Error> {
        let prepared = match self.statements.get(&statement.sql) {
            Some(prepared) => prepared.clone(),
            None => {
                let types = vec![Type::TEXT_ARRAY; statement.params.len()];
                let prepared = self.client.prepare_typed(&statement.sql, &types).await?;
                self.statements.insert(statement.sql.clone(), prepared.clone());
                prepared
            }
        };
        let arrays: Vec<TextArray<'_>> = statement
            .params
            .iter()
            .map(|param| match param {
                Param::Column(column) => {
                    TextArray(rows.iter().map(|row| row.0.get(*column)?.text()).collect())
                }
                Param::OldKey(place) => TextArray(
                    old_keys.iter().map(|key| key.0.get(*place).map(AsRef::as_ref)).collect(),
                ),
            })
            .collect();
        let params: Vec<&(dyn ToSql + Sync)> =
            arrays.iter().map(|array| array as &(dyn ToSql + Sync)).collect();
        self.client.execute(&prepared, &params).await
    }
}

impl std::fmt::Debug for ApplySession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApplySession").field("side", &self.side).finish_non_exhaustive()
    }
}

impl ToSql for TextArray<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        let dimension = ArrayDimension { len: i32::try_from(self.0.len())?, lower_bound: 1 };
        let write = |value: &Option<&[u8]>, out: &mut BytesMut| match value {
            Some(text) => {
                out.extend_from_slice(text);
                Ok(postgres_protocol::IsNull::No)
            }
            None => Ok(postgres_protocol::IsNull::Yes),
        };
        array_to_sql(Some(dimension), Type::TEXT.oid(), self.0.iter(), write, out)?;
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TEXT_ARRAY
    }

    to_sql_checked!();
}

/// One row as the statements take it.
pub(crate) fn only(row: Row) -> [Row; 1] {
    [row]
}

/// Values of a row read back as text.
pub(crate) fn datum(text: Option<String>) -> Datum {
    text.map_or(Datum::Null, |text| Datum::Text(text.into_bytes().into()))
}
