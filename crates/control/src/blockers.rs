//! Who holds the locks that a fence waits for.

use cutover::Side;

use crate::sides::{SideError, Sides};

const BLOCKERS: &str = "
    SELECT a.pid, coalesce(a.usename, '')::text, coalesce(a.application_name, '')::text,
        coalesce(extract(epoch FROM clock_timestamp() - a.xact_start), 0)::float8,
        coalesce(a.state, '')::text
    FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    JOIN ficus.guard_table g ON g.capability = $1 AND to_regclass(g.relation)::oid = l.relation
    WHERE l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND l.mode NOT IN ('AccessShareLock', 'RowShareLock') AND a.pid <> pg_backend_pid()
    GROUP BY 1, 2, 3, 4, 5 ORDER BY 4 DESC LIMIT 5";

/// One line for people; never the reason of a failure of its own.
pub(crate) async fn blockers(sides: &Sides, side: Side, capability: &str) -> String {
    match holders(sides, side, capability).await {
        Ok(found) if found.is_empty() => "nobody holds the locks any more".to_owned(),
        Ok(found) => found.join(", "),
        Err(error) => format!("the holders of the locks could not be read: {error}"),
    }
}

async fn holders(sides: &Sides, side: Side, capability: &str) -> Result<Vec<String>, SideError> {
    let client = sides.separate(side).await?;
    let query = async { Ok(client.sql().query(BLOCKERS, &[&capability]).await?) };
    let rows = sides.call(side, query).await?;
    Ok(rows
        .iter()
        .map(|row| {
            let (pid, user, application): (i32, String, String) =
                (row.get(0), row.get(1), row.get(2));
            let (seconds, state): (f64, String) = (row.get(3), row.get(4));
            format!("pid {pid} ({user} {application}, {state} for {seconds:.1} s)")
        })
        .collect())
}
