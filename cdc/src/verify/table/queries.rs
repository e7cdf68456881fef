//! The queries that compare one table.

use cutover::Side;
use tokio_postgres::{Client, Row, types::ToSql};

use super::{Digest, Hashes, KeyRange, VerifiedTable, text};
use crate::{StreamError, change::Key, dirty::LeadRange};

impl VerifiedTable {
    /// How many rows the planner believes there are.
    pub(in crate::verify) async fn rows_estimated(
        &self,
        client: &Client,
    ) -> Result<u64, StreamError> {
        let row = client
            .query_one(
                "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = $1::text::regclass",
                &[&self.plan.read.quoted()],
            )
            .await
            .map_err(StreamError::database("estimate the rows to verify", Side::Source))?;
        Ok(u64::try_from(row.get::<_, i64>(0)).unwrap_or(0))
    }

    /// The key of the source's row `rows` further on in a range; `None` when there are fewer.
    pub(in crate::verify) async fn boundary(
        &self,
        client: &Client,
        range: &KeyRange,
        rows: u32,
    ) -> Result<Option<Key>, StreamError> {
        let mut values = Vec::new();
        let condition = self.condition(Side::Source, range, &mut values);
        let order: Vec<String> = self.ordered_key(Side::Source);
        let sql = format!(
            "SELECT {} FROM {} WHERE {condition} ORDER BY {} OFFSET {} LIMIT 1",
            self.key_texts(Side::Source),
            self.from(Side::Source),
            order.join(", "),
            rows.saturating_sub(1)
        );
        let row = query(client, Side::Source, &sql, &values).await?;
        Ok(row.first().map(|row| self.key_of(row)))
    }

    pub(in crate::verify) async fn digest(
        &self,
        client: &Client,
        side: Side,
        range: &KeyRange,
    ) -> Result<Digest, StreamError> {
        let mut values = Vec::new();
        let condition = self.condition(side, range, &mut values);
        let sql = format!(
            "SELECT count(*), coalesce(sum(h), 0)::text FROM
                 (SELECT {} AS h FROM {} WHERE {condition}) AS rows",
            self.hash(side),
            self.from(side)
        );
        let rows = query(client, side, &sql, &values).await?;
        let row = rows.first().ok_or(StreamError::Worker)?;
        Ok(digest_of(row, 0))
    }

    /// The rows of a range by their keys, at most so many.
    pub(in crate::verify) async fn list(
        &self,
        client: &Client,
        side: Side,
        range: &KeyRange,
        rows_max: u32,
    ) -> Result<Hashes, StreamError> {
        let mut values = Vec::new();
        let condition = self.condition(side, range, &mut values);
        let sql = format!(
            "SELECT {}, {} FROM {} WHERE {condition} ORDER BY {} LIMIT {rows_max}",
            self.key_texts(side),
            self.hash(side),
            self.from(side),
            self.ordered_key(side).join(", ")
        );
        let rows = query(client, side, &sql, &values).await?;
        Ok(self.hashes(&rows))
    }

    pub(in crate::verify) async fn by_keys(
        &self,
        client: &Client,
        side: Side,
        keys: &[Key],
    ) -> Result<Hashes, StreamError> {
        let (among, values) = self.among(side, keys);
        let params: Vec<&(dyn ToSql + Sync)> =
            values.iter().map(|each| each as &(dyn ToSql + Sync)).collect();
        let (key, hash) = (self.key_texts(side), self.hash(side));
        let rows = client
            .query(&format!("SELECT {key}, {hash} {among}"), &params)
            .await
            .map_err(StreamError::database("compare rows", side))?;
        Ok(self.hashes(&rows))
    }

    /// Keeps a row from being changed until the end of the transaction.
    pub(in crate::verify) async fn hold(
        &self,
        client: &Client,
        side: Side,
        key: &Key,
    ) -> Result<(), StreamError> {
        let mut terms = Vec::new();
        let mut values = Vec::new();
        for (place, (column, key_type)) in self.key_columns(side).into_iter().enumerate() {
            values.extend(text(key, place));
            terms.push(format!("{column} = ${}::text::{key_type}", values.len()));
        }
        let (from, condition) = (self.from(side), terms.join(" AND "));
        let sql = format!("SELECT FROM {from} WHERE {condition} FOR SHARE");
        query(client, side, &sql, &values).await.map(drop)
    }

    /// The digests of several ranges, in their order.
    pub(in crate::verify) async fn digests(
        &self,
        client: &Client,
        side: Side,
        ranges: &[KeyRange],
    ) -> Result<Vec<Digest>, StreamError> {
        let mut values = Vec::new();
        let selects: Vec<String> = ranges
            .iter()
            .enumerate()
            .map(|(place, range)| {
                let condition = self.condition(side, range, &mut values);
                let (hash, from) = (self.hash(side), self.from(side));
                format!(
                    "(SELECT {place} AS place, count(*), coalesce(sum({hash}), 0)::text FROM {from}
                      WHERE {condition})"
                )
            })
            .collect();
        let sql = format!("{} ORDER BY place", selects.join(" UNION ALL "));
        let rows = query(client, side, &sql, &values).await?;
        Ok(rows.iter().map(|row| digest_of(row, 1)).collect())
    }

    /// The digest of the rows of many ranges of the lead column together.
    pub(in crate::verify) async fn digest_of_ranges(
        &self,
        client: &Client,
        side: Side,
        ranges: &[LeadRange],
    ) -> Result<Digest, StreamError> {
        let (lead, cast) = self.lead(side);
        let sql = format!(
            "SELECT coalesce(sum(d.rows), 0)::bigint, coalesce(sum(d.hash), 0)::text
             FROM unnest($1::text[], $2::text[]) AS r(first, last) CROSS JOIN LATERAL (
                 SELECT count(*) AS rows, sum({}) AS hash FROM {} WHERE {}
                 AND {lead} >= r.first::{cast} AND {lead} <= r.last::{cast}) AS d",
            self.hash(side),
            self.from(side),
            self.filter(side)
        );
        let firsts: Vec<&str> = ranges.iter().map(|range| range.first.as_str()).collect();
        let lasts: Vec<&str> = ranges.iter().map(|range| range.last.as_str()).collect();
        let row = client
            .query_one(&sql, &[&firsts, &lasts])
            .await
            .map_err(StreamError::database("compare ranges of rows", side))?;
        Ok(digest_of(&row, 0))
    }

    /// The key of every so manieth row of a range.
    pub(in crate::verify) async fn boundaries(
        &self,
        client: &Client,
        side: Side,
        range: &KeyRange,
        every: u64,
    ) -> Result<Vec<Key>, StreamError> {
        let mut values = Vec::new();
        let condition = self.condition(side, range, &mut values);
        let names: Vec<String> =
            (0..self.plan.key.len()).map(|place| format!("k{place}")).collect();
        let named: Vec<String> = self
            .key_columns(side)
            .into_iter()
            .zip(&names)
            .map(|((column, _), name)| format!("{column}::text AS {name}"))
            .collect();
        let sql = format!(
            "SELECT {} FROM (SELECT {}, row_number() OVER (ORDER BY {}) AS number FROM {}
                 WHERE {condition}) AS rows WHERE number % {every} = 0 ORDER BY number",
            names.join(", "),
            named.join(", "),
            self.ordered_key(side).join(", "),
            self.from(side)
        );
        let rows = query(client, side, &sql, &values).await?;
        Ok(rows.iter().map(|row| self.key_of(row)).collect())
    }
}

fn digest_of(row: &Row, place: usize) -> Digest {
    Digest { rows: u64::try_from(row.get::<_, i64>(place)).unwrap_or(0), hash: row.get(place + 1) }
}

async fn query(
    client: &Client,
    side: Side,
    sql: &str,
    values: &[String],
) -> Result<Vec<Row>, StreamError> {
    let params: Vec<&(dyn ToSql + Sync)> =
        values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
    client.query(sql, &params).await.map_err(StreamError::database("compare rows", side))
}
