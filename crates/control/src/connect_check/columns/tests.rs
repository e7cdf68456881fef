//! Columns that do not fit, over catalogs made by hand.

use super::*;
use crate::connect_check::catalog::sample::{SOURCE, TARGET, mapping, table};

fn pair<'a>(mapping: &'a TableMapping, source: &'a Table, target: &'a Table) -> Pair<'a> {
    Pair { mapping, source, target, moves: true, at_source: SOURCE, at_target: TARGET }
}

fn evidence(pair: &Pair<'_>) -> Vec<String> {
    check(pair).into_iter().map(|finding| finding.evidence).collect()
}

#[test]
fn names_that_do_not_exist_are_found_on_the_side_they_belong_to() {
    let (source, target) = (table("public.a", &["id!"]), table("public.b", &["id!", "sum="]));
    let mut mapping = mapping(&source, &target);
    mapping.columns.insert("colour".to_owned(), "color".to_owned());
    mapping.set.insert("sum".to_owned(), "id + 1".to_owned());
    let findings = check(&pair(&mapping, &source, &target));
    let seen: Vec<_> = findings.iter().map(|f| (f.side, f.evidence.as_str())).collect();
    assert_eq!(
        seen,
        [
            ("source", "public.a.colour does not exist, and the mapping names it"),
            ("target", "public.b.color does not exist, and the mapping names it"),
            (
                "target",
                "public.b.sum is generated and can not be written, and the mapping gives it a value"
            ),
        ]
    );
}

#[test]
fn a_column_that_moves_nowhere_is_an_error_for_a_table_and_none_for_a_reference() {
    let (source, target) =
        (table("public.a", &["id!", "pw", "Made", "sum="]), table("public.b", &["id!", "made_at"]));
    let mut mapping = mapping(&source, &target);
    mapping.set.insert("made_at".to_owned(), "\"Made\" AT TIME ZONE 'UTC'".to_owned());
    let moving = pair(&mapping, &source, &target);
    assert_eq!(evidence(&moving), ["public.a.pw has no counterpart in public.b"]);
    assert!(evidence(&Pair { moves: false, ..moving }).is_empty());
}

#[test]
fn a_column_that_needs_a_value_and_gets_none_is_an_error_in_both_directions() {
    let (source, target) =
        (table("public.a", &["id!", "flag!"]), table("public.b", &["id!", "tenant!"]));
    let mut mapping = mapping(&source, &target);
    mapping.omit.push("flag".to_owned());
    assert_eq!(
        evidence(&pair(&mapping, &source, &target)),
        [
            "public.a.flag may not be null, and a row that public.b adds would bring no value for it",
            "public.b.tenant may not be null, and nothing in public.a gives it a value",
        ]
    );
    mapping.reverse.insert("flag".to_owned(), "1".to_owned());
    mapping.set.insert("tenant".to_owned(), "1".to_owned());
    assert!(evidence(&pair(&mapping, &source, &target)).is_empty());
}

#[test]
fn columns_may_swap_their_names() {
    let (source, target) = (
        table("public.a", &["history_type_id", "type_id"]),
        table("public.b", &["type_id", "ticket_type_id"]),
    );
    let mut mapping = mapping(&source, &target);
    mapping.columns.insert("history_type_id".to_owned(), "type_id".to_owned());
    mapping.columns.insert("type_id".to_owned(), "ticket_type_id".to_owned());
    let pair = pair(&mapping, &source, &target);
    assert_eq!(pair.source_of("type_id").as_deref(), Some("history_type_id"));
    assert_eq!(pair.target_of("type_id").as_deref(), Some("ticket_type_id"));
    assert!(evidence(&pair).is_empty());
}
