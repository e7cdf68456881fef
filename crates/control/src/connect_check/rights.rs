//! Decides about roles: whether the owner can install the guards, and the replicator copy and stream.

use guard::APPLIER_ROLE;

use super::{
    CheckFinding, Place,
    catalog::{Login, Rights, ident},
    login::{Failed, can_not_log_in},
};

/// From this version on a role that creates roles may hand on the attributes it has itself.
const VERSION_DELEGATES: i32 = 160_000;

/// What only a superuser may grant.
const TRIGGER_GRANT: &str = "GRANT SET ON PARAMETER session_replication_role TO ficus_applier;";
const ORIGIN_GRANTS: &str =
    "GRANT EXECUTE ON FUNCTION pg_replication_origin_create(text), pg_replication_origin_drop(text),
  pg_replication_origin_oid(text), pg_replication_origin_session_setup(text),
  pg_replication_origin_session_reset(), pg_replication_origin_session_is_setup(),
  pg_replication_origin_xact_setup(pg_lsn, timestamptz), pg_replication_origin_session_progress(boolean),
  pg_replication_origin_progress(text, boolean) TO ficus_applier;";

/// Everything the roles of one database lack.
pub(super) fn judge(
    place: Place<'_>,
    version: i32,
    rights: &Rights,
    login: Option<&Login>,
) -> Vec<CheckFinding> {
    let mut findings = Vec::new();
    if let Some(missing) = applier_role(place, version, rights, login) {
        // it explains the failed login as well
        findings.push(missing);
    } else if let Some(login) = login {
        findings.extend(log_in(place, rights, login));
    }
    findings.extend(owner_may_create(place, rights));
    if rights.applier.is_some() && !rights.owner.superuser {
        findings.extend(fallbacks(place, rights));
    }
    findings
}

/// `start` creates the role when the owner may; a URL that logs in as it needs it before.
fn applier_role(
    place: Place<'_>,
    version: i32,
    rights: &Rights,
    login: Option<&Login>,
) -> Option<CheckFinding> {
    if rights.applier.is_some() {
        return None;
    }
    let owner = &rights.owner;
    let may_create = owner.superuser
        || (version >= VERSION_DELEGATES && owner.creates_roles && owner.replicates);
    let logs_in_as_it = matches!(login, Some(Login::Failed { user, .. }) if user == APPLIER_ROLE);
    if may_create && !logs_in_as_it {
        return None;
    }
    let why = if logs_in_as_it {
        format!("{}.database logs in as it", place.at)
    } else {
        format!("{} may not create it", owner.name)
    };
    Some(
        CheckFinding::error(
            place,
            "applier_role",
            format!("{}: there is no role {APPLIER_ROLE}, and {why}", place.at),
        )
        .remedy("create it as a superuser, with the password that `database` holds")
        .sql(format!("CREATE ROLE {APPLIER_ROLE} LOGIN REPLICATION;")),
    )
}

fn log_in(place: Place<'_>, rights: &Rights, login: &Login) -> Vec<CheckFinding> {
    let mut findings = Vec::new();
    match login {
        Login::Failed { user, why } => {
            let failed = Failed { user: user.clone(), why: why.clone() };
            let finding = can_not_log_in(place, "database", &failed);
            let no_login = rights.applier.as_ref().is_some_and(|role| !role.logs_in);
            let sql = if no_login && user == APPLIER_ROLE {
                format!("ALTER ROLE {APPLIER_ROLE} LOGIN;")
            } else {
                String::new()
            };
            findings.push(finding.sql(sql));
        }
        Login::Role(role) if role.superuser => {}
        Login::Role(role) => {
            if role.name != APPLIER_ROLE {
                findings.push(
                    CheckFinding::error(
                        place,
                        "applier_session",
                        format!(
                            "{}.database logs in as {}, whose writes the fence would refuse",
                            place.at, role.name
                        ),
                    )
                    .remedy(format!(
                        "log in as {APPLIER_ROLE}, or as a superuser that may become it"
                    )),
                );
            }
            if !role.replicates {
                findings.push(
                    CheckFinding::error(
                        place,
                        "replication",
                        format!("{}: role {} lacks REPLICATION", place.at, role.name),
                    )
                    .remedy("give it the attribute, as a superuser")
                    .sql(format!("ALTER ROLE {} REPLICATION;", ident(&role.name))),
                );
            }
        }
    }
    findings
}

fn owner_may_create(place: Place<'_>, rights: &Rights) -> Option<CheckFinding> {
    (!rights.owner_may_create).then(|| {
        let (database, owner) = (&rights.database, &rights.owner.name);
        CheckFinding::error(
            place,
            "create_right",
            format!(
                "{}: {owner} may not create a schema and publications in database {database}",
                place.at
            ),
        )
        .remedy("grant it the right, as the database's owner")
        .sql(format!("GRANT CREATE ON DATABASE {} TO {};", ident(database), ident(owner)))
    })
}

/// What is done in other ways without the rights that only a superuser may grant. `start` grants them
/// itself when the owner is one.
fn fallbacks(place: Place<'_>, rights: &Rights) -> Vec<CheckFinding> {
    let at = place.at;
    let warning = |check, lacks: &str, instead: &str, sql: &str| {
        let evidence = format!("{at}: {APPLIER_ROLE} may not {lacks}: {instead}");
        CheckFinding::warning(place, check, evidence)
            .remedy("grant it as a superuser, or leave it so; see docs/privileges.md")
            .sql(sql)
    };
    let mut findings = Vec::new();
    if !rights.takes_origins {
        findings.push(warning(
            "replication_origin",
            "use replication origins",
            "each transaction that is applied will be marked by a message instead, for about 100 \
             bytes of WAL, and the stream of the other direction receives it to leave it out",
            ORIGIN_GRANTS,
        ));
    }
    if !rights.skips_triggers {
        findings.push(warning(
            "session_replication_role",
            "set session_replication_role",
            "triggers fire and foreign keys are checked for every row that is applied; those that \
             change rows are refused",
            TRIGGER_GRANT,
        ));
    }
    if !rights.sees_sessions {
        findings.push(warning(
            "read_all_stats",
            "see what other sessions do",
            "whether a transaction would make the fence wait is not known, and a cutover is refused",
            "GRANT pg_read_all_stats TO ficus_applier;",
        ));
    }
    findings
}

#[cfg(test)]
mod tests;
