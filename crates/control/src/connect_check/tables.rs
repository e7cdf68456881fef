//! Decides about one table by itself: its kind, who owns it, and what on it would get in the way.

use std::collections::BTreeSet;

use pg::TableName;

use super::{
    CheckFinding, Place,
    catalog::{Deferrable, Role, Session, Table, Trigger, ident},
};

/// What a table is judged against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around<'a> {
    /// `ficus_applier`, when there is one.
    pub(super) applier: Option<&'a Role>,
    /// When Ficus writes into it.
    pub(super) arrives: Arrives,
    /// The role that guards are installed as.
    pub(super) owner: &'a str,
    /// Triggers fire on what Ficus applies: it may not set `session_replication_role`.
    pub(super) fires_triggers: bool,
}

/// When Ficus writes into a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrives {
    /// From the start: a table of a service.
    Always,
    /// After the cutover, when rows come back from the service.
    Back,
    /// Never: the table is only read.
    Never,
}

/// Everything that is wrong with a table.
pub(super) fn check(place: Place<'_>, table: &Table, around: Around<'_>) -> Vec<CheckFinding> {
    if let Some(finding) = kind(place, table) {
        return vec![finding];
    }
    let mut findings = Vec::new();
    findings.extend(unlogged(place, table));
    findings.extend(relatives(place, table));
    findings.extend(ownership(place, table, around));
    findings.extend(row_security(place, table, around));
    findings.extend(table.deferrable.iter().map(|one| deferrable(place, table, one)));
    findings.extend(partitions(place, table));
    findings.extend(invalid_indexes(place, table));
    if around.arrives != Arrives::Never {
        if around.fires_triggers {
            findings.extend(table.triggers.iter().filter_map(|one| firing(place, table, one)));
            findings.extend(checked_keys(place, table, around.arrives));
        } else {
            let triggers = table.triggers.iter();
            findings.extend(triggers.filter_map(|one| trigger(place, table, one, around.arrives)));
        }
    }
    findings
}

/// The finding for a name behind which there is nothing.
pub(super) fn missing(place: Place<'_>, name: &TableName) -> CheckFinding {
    CheckFinding::error(place, "table", format!("{name} does not exist in {}'s database", place.at))
        .remedy(if place.side == "target" {
            "run the service's migrations, or correct the name in routes.toml"
        } else {
            "correct the name in routes.toml"
        })
}

fn kind(place: Place<'_>, table: &Table) -> Option<CheckFinding> {
    let what = match table.kind {
        'r' | 'p' => return None,
        'f' => "a foreign table: its rows are in no log of this server",
        'v' => "a view",
        _ => "a materialized view",
    };
    Some(
        CheckFinding::error(place, "table_kind", format!("{} is {what}", table.name))
            .remedy("map the table behind it, or leave it out"),
    )
}

fn unlogged(place: Place<'_>, table: &Table) -> Option<CheckFinding> {
    table.unlogged.then(|| {
        CheckFinding::error(
            place,
            "unlogged",
            format!("{} is unlogged: it is not streamed, and empty after a crash", table.name),
        )
        .remedy("make it a logged table; writers wait while it is written out")
        .sql(format!("ALTER TABLE {} SET LOGGED;", table.name))
    })
}

fn relatives(place: Place<'_>, table: &Table) -> Option<CheckFinding> {
    (!table.relatives.is_empty()).then(|| {
        CheckFinding::error(
            place,
            "inheritance",
            format!(
                "{} shares rows by inheritance with {}",
                table.name,
                table.relatives.join(", ")
            ),
        )
        .remedy(
            "turn them into one table or a partitioned table, or leave it out of the capability",
        )
    })
}

fn ownership(place: Place<'_>, table: &Table, around: Around<'_>) -> Option<CheckFinding> {
    (!table.is_ours).then(|| {
        CheckFinding::error(
            place,
            "owner",
            format!("{} belongs to {}, not to {}", table.name, table.owner, around.owner),
        )
        .remedy(format!(
            "let {}.owner_database log in as the owner, or make its role a member of it",
            place.at
        ))
        .sql(format!("GRANT {} TO {};", ident(&table.owner), ident(around.owner)))
    })
}

/// Row security is the application's protection, so it stays: the replicator is let past it.
fn row_security(place: Place<'_>, table: &Table, around: Around<'_>) -> Option<CheckFinding> {
    let passes = around.applier.is_some_and(|role| role.superuser || role.bypasses_rls);
    (table.row_security && !passes).then(|| {
        let applier = guard::APPLIER_ROLE;
        CheckFinding::error(
            place,
            "row_security",
            format!("{} has row level security, which would hide rows from {applier}", table.name),
        )
        .remedy("let the role past it, as a superuser")
        .sql(format!("ALTER ROLE {applier} BYPASSRLS;"))
    })
}

fn deferrable(place: Place<'_>, table: &Table, constraint: &Deferrable) -> CheckFinding {
    let name = ident(&constraint.name);
    let at_once =
        constraint.definition.replace(" INITIALLY DEFERRED", "").replace(" DEFERRABLE", "");
    CheckFinding::error(
        place,
        "deferrable",
        format!(
            "constraint {name} of {} is deferrable: it neither identifies rows nor settles conflicts",
            table.name
        ),
    )
    .remedy("make it checked at once; foreign keys that refer to it have to be made anew")
    .sql(format!(
        "ALTER TABLE {} DROP CONSTRAINT {name}, ADD CONSTRAINT {name} {at_once};",
        table.name
    ))
}

/// A trigger that fires on replicated rows would make the copy another one than the original.
fn firing(place: Place<'_>, table: &Table, trigger: &Trigger) -> Option<CheckFinding> {
    if trigger.spares_applier || !matches!(trigger.enabled, 'O' | 'A') {
        return None;
    }
    let name = ident(&trigger.name);
    let evidence =
        format!("trigger {name} of {} would fire for every row that Ficus applies", table.name);
    Some(CheckFinding::error(place, "trigger_fires", evidence).remedy(format!(
        "recreate it with the condition WHEN (session_user <> '{}'), or let the role set \
         session_replication_role",
        guard::APPLIER_ROLE
    )))
}

/// Foreign keys that change rows, and, where tables are copied into side by side, all of them.
fn checked_keys(place: Place<'_>, table: &Table, arrives: Arrives) -> Vec<CheckFinding> {
    let own = table.foreign_keys.iter().filter(|key| key.from == table.name);
    let wrong = own.filter(|key| arrives == Arrives::Always || !key.action.is_empty());
    let one = |key: &super::catalog::ForeignKey| {
        let (name, table) = (ident(&key.name), &table.name);
        let (evidence, remedy) = if key.action.is_empty() {
            let evidence = format!("foreign key {name} of {table} is checked for each copied row");
            (evidence, "drop it, and add it again when the copy is done")
        } else {
            let action = &key.action;
            let evidence =
                format!("foreign key {name} of {table} has {action}, which comes by itself");
            (evidence, "make it ON DELETE NO ACTION ON UPDATE NO ACTION")
        };
        CheckFinding::error(place, "foreign_key_checked", evidence)
            .remedy(remedy)
            .sql(format!("ALTER TABLE {table} DROP CONSTRAINT {name};"))
    };
    wrong.map(one).collect()
}

fn partitions(place: Place<'_>, table: &Table) -> Option<CheckFinding> {
    (!table.odd_partitions.is_empty()).then(|| {
        CheckFinding::error(
            place,
            "partitions",
            format!(
                "{} has partitions that are not in the log (foreign or unlogged): {}",
                table.name,
                table.odd_partitions.join(", ")
            ),
        )
        .remedy("bring their rows into partitions of this server, made logged, or detach them")
    })
}

fn invalid_indexes(place: Place<'_>, table: &Table) -> Option<CheckFinding> {
    (!table.invalid_indexes.is_empty()).then(|| {
        let drop = |name: &String| format!("DROP INDEX CONCURRENTLY {name};");
        CheckFinding::warning(
            place,
            "invalid_index",
            format!(
                "{} has indexes that are not complete: {}",
                table.name,
                table.invalid_indexes.join(", ")
            ),
        )
        .remedy(
            "wait for their build; what an interrupted one left costs every write and helps nobody",
        )
        .sql(table.invalid_indexes.iter().map(drop).collect::<Vec<_>>().join("\n"))
    })
}

/// Triggers of the monolith matter on the way back: it may depend on what they do (audit, sums), or
/// must not have it done twice.
fn trigger(
    place: Place<'_>,
    table: &Table,
    trigger: &Trigger,
    arrives: Arrives,
) -> Option<CheckFinding> {
    let name = ident(&trigger.name);
    let is_back = arrives == Arrives::Back;
    let rows =
        if is_back { "rows that come back from the service" } else { "rows that Ficus applies" };
    let (what, remedy, mode) = match (trigger.enabled, is_back) {
        ('D', _) => return None,
        ('O', false) => (
            "does not fire for",
            "make sure that what it would do arrives from the monolith as well",
            None,
        ),
        ('O', true) => (
            "does not fire for",
            "where the monolith depends on what it does, let it fire for them, too",
            Some("ENABLE ALWAYS"),
        ),
        (_, false) => (
            "fires for all",
            "make sure that it is harmless for rows that were written in the monolith",
            None,
        ),
        (_, true) => (
            "fires for all",
            "what it writes into tables that move comes back from the service as well, and would be done \
             twice: let it fire for the monolith's own writes only, or leave it when it writes elsewhere",
            Some("ENABLE"),
        ),
    };
    let evidence = format!("trigger {name} of {} {what} {rows}", table.name);
    let sql = mode.map_or_else(String::new, |mode| {
        format!("ALTER TABLE {} {mode} TRIGGER {name};", table.name)
    });
    Some(CheckFinding::warning(place, "trigger", evidence).remedy(remedy).sql(sql))
}

/// Sessions that could switch the fence off: those of an owner of the tables, and those of superusers.
pub(super) fn sessions(
    place: Place<'_>,
    owners: &BTreeSet<&str>,
    sessions: &[Session],
) -> Vec<CheckFinding> {
    let mut findings = Vec::new();
    for session in sessions {
        let user = ident(&session.user);
        let who =
            format!("{} is connected as {user} ({})", place.at, session.applications.join(", "));
        if session.superuser {
            findings.push(
                CheckFinding::warning(
                    place,
                    "superuser_sessions",
                    format!("{who}, a superuser: the fence does not bind it if it switches it off"),
                )
                .remedy("let applications log in as a role of their own without SUPERUSER"),
            );
        } else if owners.contains(session.user.as_str()) {
            findings.push(
                CheckFinding::warning(
                    place,
                    "owner_sessions",
                    format!("{who}, which owns tables that are to be fenced, and can switch the fence off"),
                )
                .remedy("let applications log in as a role that does not own the tables"),
            );
        }
    }
    findings
}

/// Foreign keys between a table that moves and one that does not.
pub(super) fn crossing_foreign_keys(place: Place<'_>, moving: &[Table]) -> Vec<CheckFinding> {
    let inside: BTreeSet<&TableName> = moving.iter().map(|table| &table.name).collect();
    let keys = moving.iter().flat_map(|table| &table.foreign_keys);
    let crossing = keys.filter(|key| inside.contains(&key.from) != inside.contains(&key.to));
    let one = |key: &super::catalog::ForeignKey| {
        let comes_in = inside.contains(&key.from);
        let cascades = if comes_in && !key.action.is_empty() {
            format!("; ON … {} writes into it, which the fence refuses", key.action)
        } else {
            String::new()
        };
        CheckFinding::warning(
            place,
            "foreign_keys",
            format!(
                "foreign key {} leads from {} to {}, and only one of them moves{cascades}",
                ident(&key.name),
                key.from,
                key.to
            ),
        )
        .remedy(
            "move both, or drop the key before the cutover: rows that come back from the service \
             are not checked against it",
        )
        .sql(format!("ALTER TABLE {} DROP CONSTRAINT {};", key.from, ident(&key.name)))
    };
    crossing.map(one).collect()
}

#[cfg(test)]
mod tests;
