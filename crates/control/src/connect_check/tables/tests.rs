//! Tables that can not be moved, over catalogs made by hand.

use super::*;
use crate::connect_check::catalog::{ForeignKey, sample::SOURCE, sample::TARGET, sample::table};

fn around(applier: Option<&Role>) -> Around<'_> {
    Around { applier, arrives: Arrives::Always, owner: "owner", fires_triggers: false }
}

fn only(table: &Table, applier: Option<&Role>) -> CheckFinding {
    let mut findings = check(TARGET, table, around(applier));
    assert_eq!(findings.len(), 1, "{findings:?}");
    findings.pop().unwrap()
}

#[test]
fn only_tables_with_rows_of_their_own_can_move() {
    for kind in ['f', 'v', 'm'] {
        let mut other = table("public.a", &["id!"]);
        other.kind = kind;
        assert_eq!(only(&other, None).check, "table_kind");
    }
    let mut unlogged = table("public.a", &["id!"]);
    unlogged.unlogged = true;
    assert_eq!(only(&unlogged, None).sql, "ALTER TABLE public.a SET LOGGED;");
    let mut child = table("public.a", &["id!"]);
    child.relatives.push("public.parent".to_owned());
    assert!(only(&child, None).is_error());
}

#[test]
fn row_security_matters_until_the_applier_passes_it() {
    let mut secured = table("public.a", &["id!"]);
    secured.row_security = true;
    assert_eq!(only(&secured, Some(&Role::default())).sql, "ALTER ROLE ficus_applier BYPASSRLS;");
    let passes = Role { bypasses_rls: true, ..Role::default() };
    assert!(check(TARGET, &secured, around(Some(&passes))).is_empty());
}

#[test]
fn a_deferrable_constraint_is_made_anew_without_its_deferral() {
    let deferred = table("public.a", &["id!"]).deferred("a_id", &["id"]);
    assert_eq!(
        only(&deferred, None).sql,
        "ALTER TABLE public.a DROP CONSTRAINT a_id, ADD CONSTRAINT a_id UNIQUE (id);"
    );
}

#[test]
fn triggers_are_told_apart_by_whether_they_fire_for_applied_rows() {
    let mut watched = table("public.a", &["id!"]);
    let trigger = |enabled| Trigger { name: "audit".to_owned(), enabled, spares_applier: false };
    watched.triggers = vec![trigger('O'), trigger('A'), trigger('D')];
    let seen: Vec<_> =
        check(TARGET, &watched, around(None)).into_iter().map(|f| f.evidence).collect();
    assert_eq!(
        seen,
        [
            "trigger audit of public.a does not fire for rows that Ficus applies",
            "trigger audit of public.a fires for all rows that Ficus applies",
        ]
    );
    let read_only = Around { arrives: Arrives::Never, ..around(None) };
    assert!(check(SOURCE, &watched, read_only).is_empty());
    let back = Around { arrives: Arrives::Back, ..around(None) };
    let sql: Vec<_> = check(SOURCE, &watched, back).into_iter().map(|f| f.sql).collect();
    let expected = [
        "ALTER TABLE public.a ENABLE ALWAYS TRIGGER audit;",
        "ALTER TABLE public.a ENABLE TRIGGER audit;",
    ];
    assert_eq!(sql, expected);
}

#[test]
fn partitions_outside_the_log_and_broken_indexes_are_found() {
    let mut odd = table("public.a", &["id!"]);
    odd.odd_partitions.push("a_far".to_owned());
    assert!(only(&odd, None).is_error());
    let mut broken = table("public.a", &["id!"]);
    broken.invalid_indexes.push("a_id".to_owned());
    assert_eq!(only(&broken, None).sql, "DROP INDEX CONCURRENTLY a_id;");
}

#[test]
fn where_triggers_fire_only_those_that_spare_the_applier_may_stay_and_no_key_may_change_rows() {
    let firing = |arrives| Around { arrives, fires_triggers: true, ..around(None) };
    let mut watched = table("public.a", &["id!"]);
    let trigger =
        |enabled, spares_applier| Trigger { name: "audit".to_owned(), enabled, spares_applier };
    watched.triggers = vec![trigger('O', true), trigger('D', false), trigger('R', false)];
    assert!(check(SOURCE, &watched, firing(Arrives::Back)).is_empty());
    watched.triggers = vec![trigger('O', false)];
    let key = |action: &str| ForeignKey {
        name: "a_b".to_owned(),
        from: TableName::new("public", "a"),
        to: TableName::new("public", "b"),
        action: action.to_owned(),
    };
    watched.foreign_keys = vec![key(""), key("CASCADE")];
    let checks = |place, arrives| -> Vec<_> {
        check(place, &watched, firing(arrives)).into_iter().map(|f| f.check).collect()
    };
    assert_eq!(checks(SOURCE, Arrives::Back), ["trigger_fires", "foreign_key_checked"]);
    assert_eq!(
        checks(TARGET, Arrives::Always),
        ["trigger_fires", "foreign_key_checked", "foreign_key_checked"]
    );
}

#[test]
fn sessions_of_owners_and_superusers_are_warned_about_and_others_are_not() {
    let session = |user: &str, superuser| Session {
        user: user.to_owned(),
        superuser,
        applications: vec!["app".to_owned()],
    };
    let all = [session("owner", false), session("postgres", true), session("monolith", false)];
    let found = sessions(SOURCE, &BTreeSet::from(["owner"]), &all);
    let seen: Vec<_> = found.iter().map(|f| (f.check, f.is_error())).collect();
    assert_eq!(seen, [("owner_sessions", false), ("superuser_sessions", false)]);
}

#[test]
fn foreign_keys_are_warned_about_only_when_they_cross_the_border() {
    let key = |from: &str, to: &str| ForeignKey {
        name: "fk".to_owned(),
        from: from.parse().unwrap(),
        to: to.parse().unwrap(),
        action: "CASCADE".to_owned(),
    };
    let mut ticket = table("public.ticket", &["id!"]);
    ticket.foreign_keys = vec![
        key("public.article", "public.ticket"),
        key("public.ticket", "public.queue"),
        key("public.link", "public.ticket"),
    ];
    let found = crossing_foreign_keys(SOURCE, &[ticket, table("public.article", &["id!"])]);
    let seen: Vec<_> = found.iter().map(|f| f.evidence.as_str()).collect();
    assert_eq!(
        seen,
        [
            "foreign key fk leads from public.ticket to public.queue, and only one of them moves; \
             ON … CASCADE writes into it, which the fence refuses",
            "foreign key fk leads from public.link to public.ticket, and only one of them moves",
        ]
    );
}
