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
        ..Server::default()
    }
}

fn need() -> Need {
    let slots = ["ficus_tickets_forward", "ficus_tickets_reference"].map(str::to_owned).into();
    Need { slots, hold: Some(Duration::from_secs(10)) }
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
