//! Text arrays as parameters, without a copy of the values.

use bytes::BytesMut;
use postgres_protocol::types::{ArrayDimension, array_to_sql};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

/// The values of one column, for a `text[]` parameter.
#[derive(Debug)]
pub(super) struct TextArray<'a>(pub(super) Vec<Option<&'a [u8]>>);

impl<'a> TextArray<'a> {
    /// One array for each of `width` columns of rows.
    pub(super) fn columns<R>(
        width: usize,
        rows: &'a [R],
        value: impl Fn(&'a R, usize) -> Option<&'a [u8]>,
    ) -> Vec<Self> {
        (0..width).map(|at| Self(rows.iter().map(|row| value(row, at)).collect())).collect()
    }
}

/// Arrays as the driver takes parameters.
pub(super) fn params<'a>(arrays: &'a [TextArray<'_>]) -> Vec<&'a (dyn ToSql + Sync)> {
    arrays.iter().map(|array| array as &(dyn ToSql + Sync)).collect()
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
