//! Server settings that are too low, over values made by hand.

use super::*;
use crate::connect_check::catalog::{OpenTransaction, Slot, sample::SOURCE};

fn good() -> Server {
    Server {
        version: 150_004,
        wal_level: "logical".to_owned(),
        slots_max: 10,
        senders_max: 10,
        slot_wal_keep_mb: 1000,
        encoding: "UTF8".to_owned(),
        database: "main".to_owned(),
        ..Server::default()
    }
}

fn need() -> Need {
    let slots = ["ficus_tickets_forward", "ficus_tickets_reference"].map(str::to_owned).into();
    Need { slots, hold: Some(Duration::from_secs(10)), wal_budget: 500 << 20 }
}

fn checks(server: &Server) -> Vec<&'static str> {
    settings(SOURCE, server, &need()).iter().map(|finding| finding.check).collect()
}

#[test]
fn a_server_that_is_ready_has_no_finding() {
    assert!(checks(&good()).is_empty());
}

#[test]
fn an_old_server_is_refused() {
    let findings = settings(SOURCE, &Server { version: 140_011, ..good() }, &need());
    assert_eq!(findings.len(), 1);
    assert!(findings[0].is_error() && findings[0].evidence.ends_with("PostgreSQL 14"));
}

#[test]
fn slots_that_exist_already_are_not_needed_again() {
    let slot = |name: &str| Slot { name: name.to_owned(), active: true };
    let taken = vec![slot("other"), slot("ficus_tickets_forward"), slot("ficus_tickets_reference")];
    let server = Server { slots_max: 3, senders: 3, senders_max: 3, slots: taken, ..good() };
    assert!(checks(&server).is_empty());
    let server = Server { slots_max: 2, slots: vec![slot("other")], ..good() };
    let findings = settings(SOURCE, &server, &need());
    assert_eq!(findings[0].sql, "ALTER SYSTEM SET max_replication_slots = 3;");
}

#[test]
fn a_server_that_only_has_a_side_without_streams_may_stay_without_logical_wal() {
    let server = Server { wal_level: "replica".to_owned(), ..good() };
    assert!(settings(SOURCE, &server, &Need::default()).is_empty());
}

#[test]
fn a_transaction_is_long_when_it_outlasts_the_shortest_hold() {
    let transaction = |seconds| OpenTransaction {
        pid: 1,
        user: "monolith".to_owned(),
        application: "report".to_owned(),
        age: Duration::from_secs(seconds),
    };
    let server = Server { transactions: vec![transaction(9), transaction(11)], ..good() };
    let findings = settings(SOURCE, &server, &need());
    assert_eq!(findings.len(), 1);
    assert!(!findings[0].is_error() && findings[0].evidence.contains("11 s"));
}

#[test]
fn a_server_that_gives_slots_up_before_the_budget_or_never_is_told_a_limit() {
    for (limit, part) in [(-1, "disk is full"), (499, "less than wal_budget (500 MB)")] {
        let findings = settings(SOURCE, &Server { slot_wal_keep_mb: limit, ..good() }, &need());
        assert_eq!(findings.len(), 1);
        assert!(findings[0].evidence.contains(part), "{}", findings[0].evidence);
        assert_eq!(findings[0].sql, "ALTER SYSTEM SET max_slot_wal_keep_size = '1000MB';");
    }
    assert!(checks(&Server { slot_wal_keep_mb: 500, ..good() }).is_empty());
}

#[test]
fn a_disk_with_less_room_than_the_budget_is_warned_about_and_an_unknown_one_is_not() {
    assert_eq!(checks(&Server { free_disk: Some(499 << 20), ..good() }), ["free_disk"]);
    assert!(checks(&Server { free_disk: Some(500 << 20), ..good() }).is_empty());
}

#[test]
fn a_standby_and_a_database_without_encoding_are_refused() {
    let standby = settings(SOURCE, &Server { in_recovery: true, ..good() }, &need());
    assert!(standby.iter().any(|finding| finding.check == "standby" && finding.is_error()));
    let ascii = Server { encoding: "SQL_ASCII".to_owned(), ..good() };
    assert!(settings(SOURCE, &ascii, &need())[0].is_error());
}

#[test]
fn a_collation_that_changed_under_the_database_and_running_index_builds_are_warned_about() {
    let drift = Some(("2.36".to_owned(), "2.40".to_owned()));
    let findings = settings(SOURCE, &Server { collation_drift: drift, ..good() }, &need());
    assert_eq!(
        findings[0].sql,
        "REINDEX DATABASE main;\nALTER DATABASE main REFRESH COLLATION VERSION;"
    );
    let building = Server { index_builds: vec!["ticket".to_owned()], ..good() };
    assert_eq!(checks(&building), ["index_builds"]);
}
