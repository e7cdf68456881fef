//! Reads the tables of a capability on both sides and has every pair judged.

use std::collections::BTreeSet;

use cutover::Side;
use routes::{Capability, TableMapping};
use tokio_postgres::{Client, error::SqlState};

use super::{
    CheckFinding,
    catalog::Table,
    column_types,
    columns::{self, Pair},
    identity::{self, Identity, Mend},
    login::{Opened, can_not_read},
    read,
    tables::{self, Around, Arrives},
};

/// All tables and references of a capability. What could not be opened was reported before.
pub(super) async fn check(
    capability: &Capability,
    source: &Opened,
    target: &Opened,
    findings: &mut Vec<CheckFinding>,
) {
    let mut moving = (Vec::new(), Vec::new());
    let mappings = capability.tables.iter().map(|mapping| (mapping, true));
    for (mapping, moves) in mappings.chain(capability.references.iter().map(|m| (m, false))) {
        let source_table = look_up(source, Side::Source, capability, mapping, findings).await;
        let target_table = look_up(target, Side::Target, capability, mapping, findings).await;
        if let (Some(source_table), Some(target_table)) = (&source_table, &target_table) {
            let pair = Pair {
                mapping,
                source: source_table,
                target: target_table,
                moves,
                at_source: source.place(Some(&capability.name)),
                at_target: target.place(Some(&capability.name)),
            };
            findings.extend(columns::check(&pair));
            findings.extend(column_types::check(&pair));
            findings
                .extend(identities(&pair, source.client.as_ref(), target.client.as_ref()).await);
        }
        if moves {
            moving.0.extend(source_table);
            moving.1.extend(target_table);
        }
    }
    findings.extend(tables::crossing_foreign_keys(source.place(Some(&capability.name)), &moving.0));
    for (opened, tables) in [(source, &moving.0), (target, &moving.1)] {
        let owners: BTreeSet<&str> = tables.iter().map(|table| table.owner.as_str()).collect();
        let sessions = opened.server.as_ref().map(|server| server.sessions.as_slice());
        let place = opened.place(Some(&capability.name));
        findings.extend(tables::sessions(place, &owners, sessions.unwrap_or_default()));
    }
}

/// One table, judged by itself; nothing when it can not be compared with the other side.
async fn look_up(
    opened: &Opened,
    side: Side,
    capability: &Capability,
    mapping: &TableMapping,
    findings: &mut Vec<CheckFinding>,
) -> Option<Table> {
    let name = match side {
        Side::Source => &mapping.source,
        Side::Target => &mapping.target,
    };
    let (client, place) = (opened.client.as_ref()?, opened.place(Some(&capability.name)));
    let table = match read::table(client, name).await {
        Ok(Some(table)) => table,
        Ok(None) => {
            findings.push(tables::missing(place, name));
            return None;
        }
        Err(error) => {
            findings.push(can_not_read(place, &error));
            return None;
        }
    };
    let rights = opened.rights.as_ref();
    let moves = capability.tables.iter().any(|each| std::ptr::eq(each, mapping));
    let arrives = match side {
        Side::Target => Arrives::Always,
        Side::Source if moves => Arrives::Back,
        Side::Source => Arrives::Never,
    };
    let around = Around {
        applier: rights.and_then(|rights| rights.applier.as_ref()),
        arrives,
        owner: rights.map_or("the owner", |rights| &rights.owner.name),
        fires_triggers: rights.is_some_and(|rights| {
            // `start` grants it when the owner is a superuser.
            rights.applier.is_some() && !rights.skips_triggers && !rights.owner.superuser
        }),
    };
    findings.extend(tables::check(place, &table, around));
    matches!(table.kind, 'r' | 'p').then_some(table)
}

/// Rows must be identifiable where they are read, by columns that are a key where they are written. A
/// table that moves is read on both sides, a reference only on the source.
async fn identities(
    pair: &Pair<'_>,
    source: Option<&Client>,
    target: Option<&Client>,
) -> Vec<CheckFinding> {
    let mut findings = Vec::new();
    let key_there = pair.target.key().and_then(|key| pair.sources_of(&key.columns));
    let here = identity::of(pair.source, key_there);
    let key_here = match &here {
        Identity::Usable(columns) => pair.targets_of(columns),
        Identity::Unusable(_) | Identity::Deferred => {
            pair.source.key().and_then(|key| pair.targets_of(&key.columns))
        }
    };
    let there = identity::of(pair.target, key_here);
    if let Identity::Unusable(mend) = &here {
        findings.push(unusable(pair, mend, source, Side::Source).await);
    }
    match &there {
        Identity::Unusable(mend) if pair.moves => {
            findings.push(unusable(pair, mend, target, Side::Target).await);
        }
        Identity::Deferred => {}
        // a missing key of a moving table was just reported: its mend brings the index
        Identity::Unusable(_) | Identity::Usable(_) => {
            if let Identity::Usable(key) = &here {
                findings.extend(identity::reaches_the_other_side(pair, key, false));
            }
        }
    }
    if let (true, Identity::Usable(key), Identity::Usable(_)) = (pair.moves, &there, &here) {
        findings.extend(identity::reaches_the_other_side(pair, key, true));
    }
    findings
}

async fn unusable(
    pair: &Pair<'_>,
    mend: &Mend,
    client: Option<&Client>,
    side: Side,
) -> CheckFinding {
    let (place, table) = match side {
        Side::Source => (pair.at_source, pair.source),
        Side::Target => (pair.at_target, pair.target),
    };
    let obstacle = match (mend, client) {
        (Mend::AddPrimaryKey(columns), Some(client)) => {
            obstacle(read::not_a_key(client, &table.name, columns).await)
        }
        _ => None,
    };
    identity::finding(place, table, mend, obstacle.as_deref())
}

/// A table too big to look through in time gets the proposal all the same: adding the key looks again.
fn obstacle(looked: Result<Option<String>, tokio_postgres::Error>) -> Option<String> {
    match looked {
        Ok(obstacle) => obstacle,
        Err(error) if error.code() == Some(&SqlState::QUERY_CANCELED) => None,
        Err(error) => {
            Some(format!("its rows could not be read ({})", super::login::in_words(&error)))
        }
    }
}
