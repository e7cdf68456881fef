//! What a stream is made of, as the configuration says it.

use std::{collections::BTreeSet, sync::Arc};

use cutover::{Side, StreamKind};
use pg::TableName;
use routes::{Capability, Config, CopyMode, MONOLITH, Secret, TableMapping, Upstream};
use tokio_postgres::Client;

use crate::{
    StreamError,
    catalog::{self, Table},
    mapping::{MappingError, Problem, Strictness, TablePlan, resolve_forward, resolve_reverse},
    session,
    tables::Shape,
    wal::Budget,
};

/// The two databases of a capability.
#[derive(Clone, Debug)]
pub(crate) struct Databases {
    source: Access,
    target: Access,
}

#[derive(Clone, Debug)]
struct Access {
    url: Secret,
    owner_url: Secret,
}

/// One stream of one capability.
#[derive(Clone, Debug)]
pub(crate) struct StreamSpec {
    pub(crate) capability: Arc<str>,
    pub(crate) kind: StreamKind,
    pub(crate) mappings: Vec<TableMapping>,
    pub(crate) databases: Databases,
    pub(crate) copy_workers: u16,
    pub(crate) wal_budget: Budget,
    /// Make a slot that survives a failover, where the server can.
    pub(crate) failover_slot: bool,
    pub(crate) copy: CopyMode,
    /// Rows of one chunk.
    pub(crate) chunk_rows: u32,
    /// Bytes of changes that may be parked.
    pub(crate) parked_max: u64,
}

/// What the catalogs say about one table of a stream.
#[derive(Clone, Debug)]
pub(crate) struct StreamTable {
    pub(crate) plan: Result<TablePlan, MappingError>,
    /// Of the table that is read; `None` when there is none.
    pub(crate) shape: Option<Shape>,
}

impl Databases {
    /// `None` when the configuration does not name both databases.
    pub(crate) fn of(config: &Config, capability: &Capability) -> Option<Self> {
        let access = |name: &str| config.upstreams.get(name).and_then(Access::of);
        Some(Self { source: access(MONOLITH)?, target: access(&capability.upstream)? })
    }

    pub(crate) fn url(&self, side: Side) -> &str {
        self.access(side).url.expose()
    }

    pub(crate) fn owner_url(&self, side: Side) -> &str {
        self.access(side).owner_url.expose()
    }

    const fn access(&self, side: Side) -> &Access {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }
}

impl Access {
    fn of(upstream: &Upstream) -> Option<Self> {
        let url = upstream.database.clone()?;
        let owner_url = upstream.owner_database.clone().unwrap_or_else(|| url.clone());
        Some(Self { url, owner_url })
    }
}

impl StreamSpec {
    /// Every stream that the configuration can run.
    pub(crate) fn all(config: &Config) -> Vec<Self> {
        let mut specs = Vec::new();
        for capability in config.capabilities.values() {
            let Some(databases) = Databases::of(config, capability) else { continue };
            for kind in [StreamKind::Forward, StreamKind::Reverse, StreamKind::Reference] {
                let mappings = match kind {
                    StreamKind::Forward | StreamKind::Reverse => capability.tables.clone(),
                    StreamKind::Reference => capability.references.clone(),
                };
                if mappings.is_empty() {
                    continue;
                }
                specs.push(Self {
                    capability: Arc::from(capability.name.as_str()),
                    kind,
                    mappings,
                    databases: databases.clone(),
                    copy_workers: config.cdc.copy_workers,
                    wal_budget: Budget {
                        bytes: config.cdc.wal_budget,
                        last_resort: config.cdc.wal_last_resort,
                    },
                    failover_slot: config.cdc.failover_slots,
                    copy: config.cdc.copy,
                    chunk_rows: config.cdc.chunk_rows,
                    parked_max: config.cdc.parked_max,
                });
            }
        }
        specs
    }

    /// A stream without mappings whose two databases are the same one.
    #[cfg(test)]
    pub(crate) fn for_test(capability: &str, kind: StreamKind, url: &str) -> Self {
        let url = Secret(url.to_owned());
        let access = Access { url: url.clone(), owner_url: url };
        Self {
            capability: Arc::from(capability),
            kind,
            mappings: Vec::new(),
            databases: Databases { source: access.clone(), target: access },
            copy_workers: 1,
            wal_budget: Budget { bytes: u64::MAX, last_resort: routes::LastResort::Keep },
            failover_slot: false,
            copy: CopyMode::Snapshot,
            chunk_rows: 10_000,
            parked_max: 1 << 30,
        }
    }

    pub(crate) fn key(&self) -> String {
        self.kind.key(&self.capability)
    }

    pub(crate) fn slot(&self) -> String {
        self.kind.slot(&self.capability)
    }

    /// The origin that marks what a resync writes; the stream's own session holds the stream's.
    pub(crate) fn resync_origin(&self) -> String {
        resync_origin(self.kind, &self.capability)
    }

    pub(crate) fn publication(&self) -> String {
        self.kind.publication(&self.capability)
    }

    pub(crate) const fn reads(&self) -> Side {
        self.kind.reads_from()
    }

    pub(crate) const fn writes(&self) -> Side {
        self.kind.applies_to()
    }

    pub(crate) fn read_url(&self) -> &str {
        self.databases.url(self.reads())
    }

    pub(crate) fn write_url(&self) -> &str {
        self.databases.url(self.writes())
    }

    /// Origins whose transactions this stream must not carry back.
    pub(crate) fn own_origins(&self) -> BTreeSet<String> {
        [StreamKind::Forward, StreamKind::Reverse, StreamKind::Reference]
            .into_iter()
            .flat_map(|kind| [kind.slot(&self.capability), resync_origin(kind, &self.capability)])
            .chain([self.repair_origin()])
            .collect()
    }

    /// The origin of rows that a repair writes: a stream's own one is taken while it runs.
    pub(crate) fn repair_origin(&self) -> String {
        format!("ficus_{}_repair", self.capability)
    }

    /// The plans of all tables.
    ///
    /// # Errors
    /// [`StreamError::Mapping`] with everything that does not fit.
    pub(crate) async fn plans(&self) -> Result<Vec<TablePlan>, StreamError> {
        let (mut plans, mut problems) = (Vec::new(), Vec::new());
        for table in self.tables().await? {
            match table.plan {
                Ok(plan) => plans.push(plan),
                Err(MappingError { problems: found }) => problems.extend(found),
            }
        }
        if problems.is_empty() { Ok(plans) } else { Err(MappingError { problems }.into()) }
    }

    /// Resolves the mapping against both catalogs, table by table, and checks that the publication
    /// covers what fits.
    ///
    /// # Errors
    /// When a database cannot be read, or the publication lacks a table.
    pub(crate) async fn tables(&self) -> Result<Vec<StreamTable>, StreamError> {
        let source =
            session::open_for_catalogs(self.databases.url(Side::Source), Side::Source).await?;
        let target =
            session::open_for_catalogs(self.databases.url(Side::Target), Side::Target).await?;
        let mut tables = Vec::new();
        for mapping in &self.mappings {
            let source_table = read(&source, Side::Source, &mapping.source).await?;
            let target_table = read(&target, Side::Target, &mapping.target).await?;
            let read = match self.reads() {
                Side::Source => &source_table,
                Side::Target => &target_table,
            };
            let shape = read.as_ref().ok().map(Shape::of);
            let plan = match (source_table, target_table) {
                (Ok(source_table), Ok(target_table)) => {
                    self.resolve(mapping, &source_table, &target_table)
                }
                (source_table, target_table) => {
                    let missing = [source_table.err(), target_table.err()];
                    Err(MappingError { problems: missing.into_iter().flatten().collect() })
                }
            };
            tables.push(StreamTable { plan, shape });
        }
        let reader = match self.reads() {
            Side::Source => &source,
            Side::Target => &target,
        };
        self.check_publication(reader, &tables).await?;
        Ok(tables)
    }

    fn resolve(
        &self,
        mapping: &TableMapping,
        source: &Table,
        target: &Table,
    ) -> Result<TablePlan, MappingError> {
        match self.kind {
            StreamKind::Forward => {
                resolve_forward(mapping, source, target, Strictness::EveryColumn)
            }
            StreamKind::Reference => {
                resolve_forward(mapping, source, target, Strictness::Projection)
            }
            StreamKind::Reverse => resolve_reverse(mapping, source, target),
        }
    }

    async fn check_publication(
        &self,
        reader: &Client,
        tables: &[StreamTable],
    ) -> Result<(), StreamError> {
        let plans: Vec<&TablePlan> =
            tables.iter().filter_map(|table| table.plan.as_ref().ok()).collect();
        let publication = self.publication();
        let published = catalog::published_tables(reader, &publication)
            .await
            .map_err(StreamError::database("read the publication", self.reads()))?;
        let wanted: Vec<String> = plans.iter().map(|plan| plan.read.quoted()).collect();
        let Some(published) = published else {
            return Err(StreamError::Operator(format!(
                "publication {publication} is missing in the {} database: run `ficus start {}`, or \
                 CREATE PUBLICATION \"{publication}\" FOR TABLE {} WITH (publish_via_partition_root = true)",
                self.reads(),
                self.capability,
                wanted.join(", ")
            )));
        };
        let missing: Vec<String> = plans
            .iter()
            .filter(|plan| !published.contains(&plan.read))
            .map(|plan| plan.read.quoted())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(StreamError::Operator(format!(
            "publication {publication} in the {} database lacks tables: ALTER PUBLICATION \
             \"{publication}\" ADD TABLE {}; for partitioned tables also ALTER PUBLICATION \
             \"{publication}\" SET (publish_via_partition_root = true)",
            self.reads(),
            missing.join(", ")
        )))
    }
}

fn resync_origin(kind: StreamKind, capability: &str) -> String {
    format!("{}_resync", kind.slot(capability))
}

async fn read(
    client: &Client,
    side: Side,
    name: &TableName,
) -> Result<Result<Table, Problem>, StreamError> {
    let table = catalog::read_table(client, name)
        .await
        .map_err(StreamError::database("read the catalog", side))?;
    Ok(table.ok_or_else(|| Problem {
        table: name.clone(),
        column: None,
        what: format!("there is no such table in the {side} database"),
    }))
}
