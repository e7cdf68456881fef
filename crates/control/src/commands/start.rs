//! `start`: guards, triggers and publications on both sides, then the streams.

use std::sync::Arc;

use axum::http::StatusCode;
use cutover::{Phase, Side, StreamKind};
use guard::{Install, SequenceColumn};
use pg::TableName;
use pg_connect::{Settings, SettingsError};
use routes::{Capability, Config, Secret, TableMapping, Upstream};
use tokio_postgres::Client;

use super::{Actor, no_transfer, published};
use crate::{
    api::Finding, board::Published, connect_check::check_connect, core::Core, problem::Problem,
};

/// Installs what the capability needs and starts copying. Idempotent.
pub(crate) async fn start(core: &Arc<Core>, name: &str, actor: &Actor) -> Result<(), Problem> {
    no_transfer(core, name)?;
    let before = published(core, name)?;
    if !matches!(before.phase, Phase::Monolith | Phase::Replicating) {
        return Err(Problem::conflict(
            "already_started",
            format!("{name} is {} already", before.phase),
        ));
    }
    let Some(capability) = core.capability(name) else {
        return Err(Problem::new(StatusCode::NOT_FOUND, "unknown_capability", name));
    };
    let wrong = wrong_for(&core.config, name).await;
    if !wrong.is_empty() {
        let detail = format!("{} things must be mended first; nothing was created", wrong.len());
        return Err(
            Problem::new(StatusCode::PRECONDITION_FAILED, "not_ready", detail).findings(wrong)
        );
    }
    install(core, capability).await?;
    core.replicator.start(name, StreamKind::Forward).await?;
    if !capability.references.is_empty() {
        core.replicator.start(name, StreamKind::Reference).await?;
    }
    let Some(sides) = core.sides(name) else { return Err(no_database(name)) };
    let epoch = match sides.pair().await.map(|pair| pair.source.epoch) {
        Ok(epoch) => epoch,
        Err(error) => return Err(database(&error.to_string())),
    };
    let phase = Phase::Replicating;
    core.store.set_phase(name, phase, epoch, (&actor.name, "start")).await?;
    let now = Published { phase, owner: Side::Source, epoch };
    let _unchanged_or_published = core.board.replace(name, before, now);
    Ok(())
}

/// What keeps this capability from starting; other capabilities' findings are theirs.
async fn wrong_for(config: &Config, name: &str) -> Vec<Finding> {
    let concerns = |capability: Option<&str>| capability.is_none_or(|other| other == name);
    check_connect(config)
        .await
        .into_iter()
        .filter(|found| found.is_error() && concerns(found.capability.as_deref()))
        .map(|found| Finding {
            check: format!("{}.{}", found.side, found.check),
            ok: false,
            evidence: found.evidence,
            remedy: [found.remedy, found.sql].join(" ").trim().to_owned(),
        })
        .collect()
}

fn no_database(name: &str) -> Problem {
    Problem::new(
        StatusCode::PRECONDITION_FAILED,
        "no_database",
        format!("an upstream of {name} has no database"),
    )
    .remedy("give [upstreams.monolith] and the service's upstream a database")
}

fn database(error: &str) -> Problem {
    Problem::new(StatusCode::BAD_GATEWAY, "database", error.to_owned())
        .remedy("what was installed stays and does no harm; run the command again")
}

/// The login that owns the tables.
fn owner(upstream: &Upstream) -> Option<&Secret> {
    upstream.owner_database.as_ref().or(upstream.database.as_ref())
}

async fn connect(upstream: Option<&Upstream>, name: &str) -> Result<Client, Problem> {
    let url = upstream.and_then(owner).ok_or_else(|| no_database(name))?;
    let mut settings: Settings =
        url.expose().parse().map_err(|error: SettingsError| database(&error.to_string()))?;
    settings.application_name("ficus-start");
    settings.connect().await.map_err(|error| database(&error.to_string()))
}

async fn install(core: &Core, capability: &Capability) -> Result<(), Problem> {
    let name = &capability.name;
    let mut source = connect(core.config.upstreams.get(routes::MONOLITH), name).await?;
    let mut target = connect(core.config.upstreams.get(&capability.upstream), name).await?;
    let sequences = sequences(&source, &capability.tables)
        .await
        .map_err(|error| database(&error.to_string()))?;
    for (side, client) in [(Side::Source, &mut source), (Side::Target, &mut target)] {
        let table = |mapping: &TableMapping| match side {
            Side::Source => mapping.source.clone(),
            Side::Target => mapping.target.clone(),
        };
        let plan = Install {
            capability: name.clone(),
            side,
            tables: capability.tables.iter().map(table).collect(),
            references: capability.references.iter().map(table).collect(),
            sequences: sequences.iter().map(|pair| pair.on(side)).collect(),
        };
        guard::install(client, &plan)
            .await
            .map_err(|error| database(&format!("{side}: {error}")))?;
    }
    Ok(())
}

/// A column fed by a sequence, on both sides.
#[derive(Debug)]
struct SequencePair {
    source: (TableName, String),
    target: (TableName, String),
}

impl SequencePair {
    fn on(&self, side: Side) -> SequenceColumn {
        let (table, column) = match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        };
        let name = format!("{}.{}", self.source.0, self.source.1);
        SequenceColumn { name, table: table.clone(), column: column.clone() }
    }
}

async fn sequences(
    source: &Client,
    tables: &[TableMapping],
) -> Result<Vec<SequencePair>, guard::GuardError> {
    let mut found = Vec::new();
    for mapping in tables {
        for column in guard::sequence_columns(source, &mapping.source).await? {
            let counterpart = mapping.columns.get(&column).unwrap_or(&column).clone();
            found.push(SequencePair {
                source: (mapping.source.clone(), column),
                target: (mapping.target.clone(), counterpart),
            });
        }
    }
    Ok(found)
}
