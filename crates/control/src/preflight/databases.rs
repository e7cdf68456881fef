//! What in the old owner's database would make the fence wait, or the way back impossible.

use std::sync::Arc;

use cutover::Direction;
use tokio_postgres::{Client, Row};

use super::Findings;
use crate::{core::Core, sides::SideError};

const LONG_TRANSACTIONS: &str = "
    SELECT pid, coalesce(usename, '')::text, coalesce(application_name, '')::text,
        extract(epoch FROM clock_timestamp() - xact_start)::float8
    FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend'
        AND pid <> pg_backend_pid() AND xact_start < clock_timestamp() - interval '30 seconds'
    ORDER BY xact_start LIMIT 5";

/// Without it the transactions of other roles have no beginning.
const SEES_OTHERS: &str = "SELECT pg_has_role('pg_read_all_stats', 'USAGE')";

const PREPARED_TRANSACTIONS: &str = "
    SELECT gid::text FROM pg_prepared_xacts WHERE database = current_database() LIMIT 5";

const SLOT: &str = "
    SELECT coalesce(wal_status, 'unknown')::text, active
    FROM pg_replication_slots WHERE slot_name = $1";

/// Adds the findings about the database that gives the writes up.
pub(super) async fn look(
    core: &Arc<Core>,
    capability: &str,
    direction: Direction,
    findings: &mut Findings,
) {
    let Some(sides) = core.sides(capability) else { return };
    let side = direction.old_owner();
    let slot = direction.draining_stream().slot(capability);
    let looked = async {
        let client = sides.client(side).await?;
        let sql = client.sql();
        let queries = async {
            Ok((
                sql.query_one(SEES_OTHERS, &[]).await?.get::<_, bool>(0),
                sql.query(LONG_TRANSACTIONS, &[]).await?,
                sql.query(PREPARED_TRANSACTIONS, &[]).await?,
                slot_status(sql, &slot).await?,
            ))
        };
        sides.call(side, queries).await
    };
    let (sees, long, prepared, status): (bool, Vec<Row>, Vec<Row>, Option<String>) =
        match looked.await {
            Ok(seen) => seen,
            Err(error) => {
                unreadable(&error, findings);
                return;
            }
        };
    if sees {
        long_transactions(&long, findings);
    } else {
        findings.refused(
            "long_transactions",
            "the transactions of other roles can not be seen",
            "run, in the old owner's database: GRANT pg_read_all_stats TO ficus_applier",
        );
    }
    prepared_transactions(&prepared, findings);
    slot_finding(&slot, status.as_deref(), findings);
}

async fn slot_status(sql: &Client, slot: &str) -> Result<Option<String>, tokio_postgres::Error> {
    Ok(sql.query_opt(SLOT, &[&slot]).await?.map(|row| row.get(0)))
}

fn unreadable(error: &SideError, findings: &mut Findings) {
    findings.refused(
        "database",
        format!("could not be examined: {error}"),
        "make the database reachable for Ficus",
    );
}

fn long_transactions(rows: &[Row], findings: &mut Findings) {
    if rows.is_empty() {
        findings.passed("long_transactions", "none older than 30 s");
        return;
    }
    let named: Vec<String> = rows
        .iter()
        .map(|row| {
            let (pid, user): (i32, String) = (row.get(0), row.get(1));
            let (application, seconds): (String, f64) = (row.get(2), row.get(3));
            format!("pid {pid} ({user} {application}) for {seconds:.0} s")
        })
        .collect();
    findings.refused(
        "long_transactions",
        named.join(", "),
        "wait for them or end them: the fence would wait for their locks",
    );
}

fn prepared_transactions(rows: &[Row], findings: &mut Findings) {
    if rows.is_empty() {
        findings.passed("prepared_transactions", "none");
        return;
    }
    let named: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    findings.refused(
        "prepared_transactions",
        named.join(", "),
        "COMMIT PREPARED or ROLLBACK PREPARED each of them",
    );
}

fn slot_finding(slot: &str, status: Option<&str>, findings: &mut Findings) {
    match status {
        Some(status @ ("reserved" | "extended")) => {
            findings.passed("slot", format!("{slot} is {status}"));
        }
        Some(other) => findings.refused(
            "slot",
            format!("{slot} is {other}: WAL it needs is being removed"),
            "copy again from the start; raise max_slot_wal_keep_size first",
        ),
        None => findings.refused(
            "slot",
            format!("there is no slot {slot}"),
            "start the stream: ficus start",
        ),
    }
}
