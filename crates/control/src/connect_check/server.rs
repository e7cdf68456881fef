//! Decides about a server: version, settings, room for slots, and who would have to be waited for.

use std::time::Duration;

use super::{
    CheckFinding, Place,
    catalog::{Server, ident},
};

/// Oldest version with row filters in publications and rights on parameters.
const VERSION_MIN: i32 = 150_000;

/// Without a fence of our own to measure by: what a new slot may wait for.
const HOLD_DEFAULT: Duration = Duration::from_secs(10);

/// What the configuration needs of one server.
#[derive(Clone, Debug, Default)]
pub(super) struct Need {
    /// Names of the slots that will be created on it.
    pub(super) slots: Vec<String>,
    /// The shortest hold of the capabilities that touch it.
    pub(super) hold: Option<Duration>,
    /// Log that it may keep for one of them, bytes.
    pub(super) wal_budget: u64,
}

/// Everything that is wrong with a server's settings, and what is going on there.
pub(super) fn settings(place: Place<'_>, server: &Server, need: &Need) -> Vec<CheckFinding> {
    let mut findings = Vec::new();
    findings.extend(version(place, server));
    findings.extend(standby(place, server));
    findings.extend(encoding(place, server));
    findings.extend(collation(place, server));
    if !need.slots.is_empty() {
        findings.extend(wal_level(place, server));
        findings.extend(slots(place, server, need));
        findings.extend(senders(place, server, need));
        findings.extend(slot_wal_keep(place, server, need));
        findings.extend(free_disk(place, server, need));
    }
    findings.extend(index_builds(place, server));
    findings.extend(prepared(place, server));
    findings.extend(long_transactions(place, server, need));
    findings
}

fn version(place: Place<'_>, server: &Server) -> Option<CheckFinding> {
    (server.version < VERSION_MIN).then(|| {
        CheckFinding::error(
            place,
            "version",
            format!("{}: the server is PostgreSQL {}", place.at, server.version / 10_000),
        )
        .remedy("upgrade it to PostgreSQL 15 or later")
    })
}

fn wal_level(place: Place<'_>, server: &Server) -> Option<CheckFinding> {
    (server.wal_level != "logical").then(|| {
        CheckFinding::error(
            place,
            "wal_level",
            format!("{}: wal_level is {}", place.at, server.wal_level),
        )
        .remedy("set it to logical, then restart the server")
        .sql("ALTER SYSTEM SET wal_level = logical;")
    })
}

fn slots(place: Place<'_>, server: &Server, need: &Need) -> Option<CheckFinding> {
    let missing = need.slots.iter().filter(|name| !server.slots.iter().any(|s| s.name == **name));
    let wanted = count(server.slots.len()) + count(missing.count());
    (wanted > server.slots_max).then(|| {
        CheckFinding::error(
            place,
            "max_replication_slots",
            format!(
                "{}: {} of {} replication slots are used, and Ficus needs {wanted} in all",
                place.at,
                server.slots.len(),
                server.slots_max,
            ),
        )
        .remedy("raise max_replication_slots, then restart the server; or drop slots nobody uses")
        .sql(format!("ALTER SYSTEM SET max_replication_slots = {wanted};"))
    })
}

fn senders(place: Place<'_>, server: &Server, need: &Need) -> Option<CheckFinding> {
    let streaming = |name: &&String| server.slots.iter().any(|s| s.name == **name && s.active);
    let missing = need.slots.iter().filter(|name| !streaming(name)).count();
    let wanted = server.senders + count(missing);
    (wanted > server.senders_max).then(|| {
        CheckFinding::error(
            place,
            "max_wal_senders",
            format!(
                "{}: {} of {} WAL senders are used, and Ficus needs {wanted} in all",
                place.at, server.senders, server.senders_max,
            ),
        )
        .remedy("raise max_wal_senders, then restart the server")
        .sql(format!("ALTER SYSTEM SET max_wal_senders = {wanted};"))
    })
}

fn standby(place: Place<'_>, server: &Server) -> Option<CheckFinding> {
    server.in_recovery.then(|| {
        CheckFinding::error(
            place,
            "standby",
            format!("{}: the server is a standby: it takes no writes", place.at),
        )
        .remedy("let the URL lead to the primary")
    })
}

/// Both sides exchange texts as UTF-8; a database without an encoding does not know what its texts are.
fn encoding(place: Place<'_>, server: &Server) -> Option<CheckFinding> {
    (server.encoding == "SQL_ASCII").then(|| {
        CheckFinding::error(
            place,
            "encoding",
            format!(
                "{}: the database's encoding is SQL_ASCII: its texts may be anything",
                place.at
            ),
        )
        .remedy("dump it and load it into a database with the encoding that its texts have")
    })
}

fn collation(place: Place<'_>, server: &Server) -> Option<CheckFinding> {
    let (made, now) = server.collation_drift.as_ref()?;
    let database = ident(&server.database);
    Some(
        CheckFinding::warning(
            place,
            "collation_version",
            format!(
                "{}: the database's collation has version {made}, the machine's is {now}: indexes over \
                 texts may miss rows",
                place.at
            ),
        )
        .remedy("build the indexes anew, then say that it is done")
        .sql(format!(
            "REINDEX DATABASE {database};\nALTER DATABASE {database} REFRESH COLLATION VERSION;"
        )),
    )
}

fn slot_wal_keep(place: Place<'_>, server: &Server, need: &Need) -> Option<CheckFinding> {
    const MIB: u64 = 1 << 20;
    let budget_mb = need.wal_budget.div_ceil(MIB);
    let sql = format!("ALTER SYSTEM SET max_slot_wal_keep_size = '{}MB';", 2 * budget_mb);
    let Ok(kept_mb) = u64::try_from(server.slot_wal_keep_mb) else {
        let evidence = format!(
            "{}: max_slot_wal_keep_size is -1: while no replicator runs, a slot keeps WAL until the \
             disk is full",
            place.at
        );
        return Some(
            CheckFinding::warning(place, "max_slot_wal_keep_size", evidence)
                .remedy(
                    "set a limit above wal_budget and below the free disk space, then SELECT \
                     pg_reload_conf(); a stream that falls behind it has to be copied again",
                )
                .sql(sql),
        );
    };
    (kept_mb < budget_mb).then(|| {
        CheckFinding::warning(
            place,
            "max_slot_wal_keep_size",
            format!(
                "{}: max_slot_wal_keep_size is {kept_mb} MB, less than wal_budget ({budget_mb} MB): the \
                 server gives slots up before Ficus raises its last alarm",
                place.at
            ),
        )
        .remedy("raise it, then SELECT pg_reload_conf(); or lower cdc.wal_budget")
        .sql(sql)
    })
}

fn free_disk(place: Place<'_>, server: &Server, need: &Need) -> Option<CheckFinding> {
    let free = server.free_disk?;
    (free < need.wal_budget).then(|| {
        CheckFinding::warning(
            place,
            "free_disk",
            format!(
                "{}: the log's disk has {} MB free, less than wal_budget ({} MB)",
                place.at,
                free >> 20,
                need.wal_budget >> 20
            ),
        )
        .remedy("make room, or lower cdc.wal_budget: the disk would be full before a stream is given up")
    })
}

fn index_builds(place: Place<'_>, server: &Server) -> Option<CheckFinding> {
    (!server.index_builds.is_empty()).then(|| {
        CheckFinding::warning(
            place,
            "index_builds",
            format!("{}: an index is being built on {}", place.at, server.index_builds.join(", ")),
        )
        .remedy("wait for it: a new slot and a fence wait for its transactions and locks")
    })
}

fn prepared(place: Place<'_>, server: &Server) -> Vec<CheckFinding> {
    let one = |transaction: &super::catalog::Prepared| {
        CheckFinding::warning(
            place,
            "prepared_transactions",
            format!(
                "{}: transaction {:?} of database {} was prepared {} s ago and not ended",
                place.at,
                transaction.name,
                transaction.database,
                transaction.age.as_secs(),
            ),
        )
        .remedy(
            "let its owner commit or roll it back; a new slot and a fence wait for it without end",
        )
    };
    server.prepared.iter().map(one).collect()
}

fn long_transactions(place: Place<'_>, server: &Server, need: &Need) -> Vec<CheckFinding> {
    let limit = need.hold.unwrap_or(HOLD_DEFAULT);
    let one = |transaction: &super::catalog::OpenTransaction| {
        CheckFinding::warning(
            place,
            "long_transactions",
            format!(
                "{}: process {} ({}, {:?}) is in a transaction for {} s",
                place.at,
                transaction.pid,
                transaction.user,
                transaction.application,
                transaction.age.as_secs(),
            ),
        )
        .remedy(format!(
            "let it end; a new slot waits for it, and a cutover is undone when a writer outlasts \
             the fence's {} s",
            limit.as_secs(),
        ))
    };
    server.transactions.iter().filter(|transaction| transaction.age > limit).map(one).collect()
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
