//! Types that do not travel well, over tables made by hand.

use super::*;
use crate::connect_check::catalog::{
    Collation,
    sample::{SOURCE, TARGET, mapping, table},
};

fn found(source: &Table, target: &Table, moves: bool) -> Vec<CheckFinding> {
    let mapping = mapping(source, target);
    let pair =
        Pair { mapping: &mapping, source, target, moves, at_source: SOURCE, at_target: TARGET };
    check(&pair)
}

#[test]
fn ordinary_types_have_no_finding() {
    let both = table("public.a", &["id!", "x"]).primary(&["id"]);
    assert!(found(&both, &both, true).is_empty());
}

#[test]
fn numbers_of_objects_and_money_are_warned_about_where_they_are_copied() {
    for (kind, part) in
        [("oid", "large objects"), ("regclass", "numbers"), ("money", "lc_monetary")]
    {
        let source = table("public.a", &["id!", "x"]).typed("x", kind, &[]);
        let target = table("public.a", &["id!", "x"]);
        let findings = found(&source, &target, true);
        assert!(findings[0].evidence.contains(part), "{findings:?}");
        assert!(found(&source, &table("public.a", &["id!"]), true).is_empty());
    }
}

#[test]
fn an_enum_must_know_what_arrives_on_each_way() {
    let source = table("public.a", &["id!", "x"]).typed("x", "state", &["new", "it's"]);
    let target = table("public.a", &["id!", "x"]).typed("x", "status", &["new", "gone"]);
    let checks = |moves| -> Vec<_> {
        let errors = found(&source, &target, moves).into_iter().filter(CheckFinding::is_error);
        errors.map(|finding| (finding.side, finding.sql)).collect()
    };
    let forward = ("target", "ALTER TYPE status ADD VALUE 'it''s';".to_owned());
    let back = ("source", "ALTER TYPE state ADD VALUE 'gone';".to_owned());
    assert_eq!(checks(true), [forward.clone(), back]);
    assert_eq!(checks(false), [forward]);
    let text = table("public.a", &["id!", "x"]).typed("x", "text", &[]);
    let checks: Vec<_> = found(&source, &text, true).into_iter().map(|each| each.check).collect();
    assert_eq!(checks, ["text_types"]);
}

#[test]
fn collations_matter_in_keys_only() {
    let collation = Collation {
        name: "loose".to_owned(),
        deterministic: false,
        drift: Some(("1".to_owned(), "2".to_owned())),
    };
    let mut keyed = table("public.a", &["id!"]).primary(&["id"]);
    keyed.columns[0].collation = Some(collation.clone());
    let plain = table("public.a", &["id!"]).primary(&["id"]);
    let checks: Vec<_> = found(&keyed, &plain, true).into_iter().map(|each| each.check).collect();
    assert_eq!(checks, ["collation", "collation_version"]);
    let mut other = table("public.a", &["id!", "x"]).primary(&["id"]);
    other.columns[1].collation = Some(collation);
    assert!(found(&other, &other, true).is_empty());
}
