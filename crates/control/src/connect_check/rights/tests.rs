//! Rights that are missing, over catalogs made by hand.

use super::*;
use crate::connect_check::catalog::{Role, sample::SOURCE};

fn owner() -> Role {
    Role { name: "owner".to_owned(), logs_in: true, ..Role::default() }
}

fn applier() -> Role {
    Role { name: APPLIER_ROLE.to_owned(), logs_in: true, replicates: true, ..Role::default() }
}

fn good() -> Rights {
    Rights {
        database: "monolith".to_owned(),
        owner: owner(),
        applier: Some(applier()),
        owner_may_create: true,
        skips_triggers: true,
        takes_origins: true,
        sees_sessions: true,
    }
}

fn failed(user: &str) -> Login {
    Login::Failed { user: user.to_owned(), why: "role does not exist".to_owned() }
}

fn sql_of(rights: &Rights, version: i32, login: &Login) -> Vec<String> {
    judge(SOURCE, version, rights, Some(login)).into_iter().map(|finding| finding.sql).collect()
}

#[test]
fn roles_that_are_ready_have_no_finding() {
    assert!(judge(SOURCE, 150_000, &good(), Some(&Login::Role(applier()))).is_empty());
}

#[test]
fn a_missing_applier_is_left_to_an_owner_that_may_create_it() {
    let create = ["CREATE ROLE ficus_applier LOGIN REPLICATION;"];
    let superuser = Role { superuser: true, name: "postgres".to_owned(), ..owner() };
    let rights = Rights { applier: None, owner: superuser.clone(), ..good() };
    assert!(sql_of(&rights, 150_000, &Login::Role(superuser)).is_empty());
    // the URL needs the role before start could create it
    assert_eq!(sql_of(&rights, 150_000, &failed(APPLIER_ROLE)), create);

    let delegate = Role { creates_roles: true, replicates: true, ..owner() };
    let rights = Rights { applier: None, owner: delegate, ..good() };
    let login = Login::Role(Role { superuser: true, ..owner() });
    assert!(sql_of(&rights, 160_000, &login).is_empty());
    assert_eq!(sql_of(&rights, 150_000, &login), create);
}

#[test]
fn an_applier_without_login_or_replication_is_given_them() {
    let rights = Rights { applier: Some(Role { logs_in: false, ..applier() }), ..good() };
    assert_eq!(
        sql_of(&rights, 150_000, &failed(APPLIER_ROLE)),
        ["ALTER ROLE ficus_applier LOGIN;"]
    );
    let login = Login::Role(Role { replicates: false, ..applier() });
    assert_eq!(sql_of(&good(), 150_000, &login), ["ALTER ROLE ficus_applier REPLICATION;"]);
}

#[test]
fn a_session_that_the_fence_would_refuse_is_an_error() {
    let login = Login::Role(Role { replicates: true, ..owner() });
    let findings = judge(SOURCE, 150_000, &good(), Some(&login));
    assert_eq!(findings[0].check, "applier_session");
}

#[test]
fn what_only_a_superuser_can_grant_is_a_warning_that_says_what_is_done_without_it() {
    let rights = Rights { owner_may_create: false, ..good() };
    let sql = sql_of(&rights, 150_000, &Login::Role(applier()));
    assert_eq!(sql, ["GRANT CREATE ON DATABASE monolith TO owner;"]);
    let lacking =
        Rights { skips_triggers: false, takes_origins: false, sees_sessions: false, ..good() };
    let findings = judge(SOURCE, 150_000, &lacking, Some(&Login::Role(applier())));
    assert!(findings.iter().all(|finding| !finding.is_error()));
    let sql: Vec<&str> = findings.iter().map(|finding| finding.sql.as_str()).collect();
    let stats = "GRANT pg_read_all_stats TO ficus_applier;";
    assert_eq!(sql, [ORIGIN_GRANTS, TRIGGER_GRANT, stats]);
    let superuser = Role { superuser: true, ..owner() };
    let rights = Rights { owner: superuser, ..lacking };
    assert!(sql_of(&rights, 150_000, &Login::Role(applier())).is_empty());
}
