//! Decides about a server: version, settings, room for slots, and who would have to be waited for.

use std::time::Duration;

use super::{CheckFinding, Place, catalog::Server};

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
}

/// Everything that is wrong with a server's settings, and what is going on there.
pub(super) fn settings(place: Place<'_>, server: &Server, need: &Need) -> Vec<CheckFinding> {
    let mut findings = Vec::new();
    findings.extend(version(place, server));
    if !need.slots.is_empty() {
        findings.extend(wal_level(place, server));
        findings.extend(slots(place, server, need));
        findings.extend(senders(place, server, need));
        findings.extend(slot_wal_keep(place, server));
    }
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

fn slot_wal_keep(place: Place<'_>, server: &Server) -> Option<CheckFinding> {
    (server.slot_wal_keep_mb < 0).then(|| {
        CheckFinding::warning(
            place,
            "max_slot_wal_keep_size",
            format!(
                "{}: max_slot_wal_keep_size is -1, a slot that nobody reads keeps WAL until the disk is full",
                place.at
            ),
        )
        .remedy(
            "set a limit below the free disk space, then SELECT pg_reload_conf(); \
             a stream that falls behind it has to be copied again",
        )
        .sql("ALTER SYSTEM SET max_slot_wal_keep_size = '20GB';")
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
