//! Keys that identify a row, and those that do not, over catalogs made by hand.

use super::*;
use crate::connect_check::catalog::sample::{SOURCE, TARGET, mapping, owned, table};

fn mend_of(table: &Table, others: Option<&[&str]>) -> Option<Mend> {
    match of(table, others.map(owned)) {
        Identity::Unusable(mend) => Some(mend),
        Identity::Usable(_) | Identity::Deferred => None,
    }
}

#[test]
fn a_primary_key_identifies_rows_unless_it_was_switched_off() {
    let mut keyed = table("public.a", &["id!"]).primary(&["id"]);
    assert_eq!(of(&keyed, None), Identity::Usable(owned(&["id"])));
    keyed.identity = 'n';
    let mend = mend_of(&keyed, None).unwrap();
    assert_eq!(
        finding(SOURCE, &keyed, &mend, None).sql,
        "ALTER TABLE public.a REPLICA IDENTITY DEFAULT;"
    );
}

#[test]
fn a_unique_index_over_columns_that_are_not_null_is_proposed_and_one_over_others_is_not() {
    let flags = table("public.ticket_flag", &["ticket_id!", "key!", "note"])
        .unique("by_note", &["ticket_id", "note"])
        .unique("Per User", &["ticket_id", "key"]);
    let mend = mend_of(&flags, Some(&["ticket_id"])).unwrap();
    assert_eq!(
        finding(SOURCE, &flags, &mend, None).sql,
        "ALTER TABLE public.ticket_flag REPLICA IDENTITY USING INDEX \"Per User\";"
    );
}

#[test]
fn a_table_without_any_key_gets_the_one_of_the_other_side() {
    let bare = table("public.group_user", &["user_id!", "group_id!", "user"]);
    let mend = mend_of(&bare, Some(&["user_id", "group_id"])).unwrap();
    assert_eq!(
        finding(SOURCE, &bare, &mend, None).sql,
        "ALTER TABLE public.group_user ADD PRIMARY KEY (user_id, group_id);"
    );
    let blocked = finding(SOURCE, &bare, &mend, Some("some of its rows share these values"));
    assert!(blocked.sql.is_empty() && blocked.remedy.contains("HAVING count(*) > 1"));
    assert_eq!(mend_of(&bare, None), Some(Mend::Unknown));
}

#[test]
fn whole_rows_identify_when_the_other_side_has_a_key_to_find_them_by() {
    let mut full = table("public.a", &["id!"]);
    full.identity = 'f';
    assert_eq!(of(&full, Some(owned(&["id"]))), Identity::Usable(owned(&["id"])));
    assert_eq!(mend_of(&full, None), Some(Mend::Unknown));
}

#[test]
fn a_deferrable_key_is_left_to_its_own_finding() {
    let deferred = table("public.a", &["id!"]).deferred("a_id", &["id"]);
    assert_eq!(of(&deferred, Some(owned(&["id"]))), Identity::Deferred);
}

#[test]
fn a_key_must_be_a_key_where_it_is_written() {
    let source = table("public.a", &["id!", "tn!"]).primary(&["id"]);
    let without = table("public.b", &["id!", "number!"]);
    let other = table("public.b", &["id!", "number!"]).primary(&["number"]);
    let mut mapping = mapping(&source, &without);
    mapping.columns.insert("tn".to_owned(), "number".to_owned());
    let sql = |target: &Table| {
        let pair = Pair {
            mapping: &mapping,
            source: &source,
            target,
            moves: true,
            at_source: SOURCE,
            at_target: TARGET,
        };
        reaches_the_other_side(&pair, &owned(&["id"]), false).map(|finding| finding.sql)
    };
    assert_eq!(sql(&without).as_deref(), Some("ALTER TABLE public.b ADD PRIMARY KEY (id);"));
    assert_eq!(sql(&other).as_deref(), Some("CREATE UNIQUE INDEX ON public.b (id);"));
    assert_eq!(sql(&other.unique("b_id", &["id"])), None);
}

#[test]
fn a_key_that_is_computed_on_the_way_is_none() {
    let source = table("public.a", &["id!"]).primary(&["id"]);
    let target = table("public.b", &["id!"]).primary(&["id"]);
    let mut mapping = mapping(&source, &target);
    mapping.reverse.insert("id".to_owned(), "id - 1".to_owned());
    let pair = Pair {
        mapping: &mapping,
        source: &source,
        target: &target,
        moves: true,
        at_source: SOURCE,
        at_target: TARGET,
    };
    let back = reaches_the_other_side(&pair, &owned(&["id"]), true).unwrap();
    assert_eq!((back.side, back.check), ("target", "key_mapping"));
    assert_eq!(reaches_the_other_side(&pair, &owned(&["id"]), false), None);
}
