//! How findings read, and which of them refuse a start.

use super::*;
use crate::connect_check::catalog::sample::SOURCE;

#[test]
fn a_finding_reads_as_evidence_then_remedy_then_sql() {
    let finding = CheckFinding::error(SOURCE, "wal_level", "wal_level is replica".to_owned())
        .remedy("set it, then restart")
        .sql("ALTER SYSTEM SET wal_level = logical;");
    assert_eq!(
        finding.to_string(),
        "error: source of tickets: wal_level is replica [wal_level]\n  \
         → set it, then restart\n    ALTER SYSTEM SET wal_level = logical;"
    );
}

#[test]
fn severities_are_written_in_lower_case() {
    let finding = CheckFinding::warning(SOURCE, "trigger", String::new());
    let json = serde_json::to_value(&finding).unwrap();
    assert_eq!(
        (json["severity"].as_str(), json["side"].as_str()),
        (Some("warning"), Some("source"))
    );
    assert!(!finding.is_error());
}

#[test]
fn errors_come_first_and_a_shared_source_table_is_reported_once() {
    let other = Place { capability: Some("users"), ..SOURCE };
    let findings = in_order(vec![
        CheckFinding::warning(SOURCE, "trigger", "t".to_owned()),
        CheckFinding::error(SOURCE, "replica_identity", "public.users".to_owned()),
        CheckFinding::error(other, "replica_identity", "public.users".to_owned()),
    ]);
    let severities: Vec<_> = findings.iter().map(|finding| finding.severity).collect();
    assert_eq!(severities, [Severity::Error, Severity::Warning]);
}
