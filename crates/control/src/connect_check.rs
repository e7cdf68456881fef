//! What `ficus check --connect` looks at before anything is started: the servers, the rights of the roles,
//! and every mapped table on both sides. Changes nothing, collects everything, and names the SQL that
//! mends what SQL can mend.
//!
//! ```text
//! Config ──login──> clients ──read──> catalog structs ──server, rights, tables, identity, columns──> findings
//! ```

mod catalog;
mod column_types;
mod columns;
mod control_database;
mod disk;
mod identity;
mod login;
mod pairs;
mod read;
mod rights;
mod server;
mod tables;

use std::{collections::BTreeSet, fmt};

use cutover::{Side, StreamKind};
use routes::{Capability, Config, MONOLITH, Upstream};
use serde::Serialize;

use self::{login::Opened, server::Need};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// `start` refuses.
    Error,
    /// Worth knowing; nothing refuses.
    Warning,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckFinding {
    /// How bad it is.
    pub severity: Severity,
    /// The capability it concerns; absent for what concerns a whole server or role.
    pub capability: Option<String>,
    /// `source`, `target` or `control`.
    pub side: &'static str,
    /// Short name: `wal_level`, `replica_identity`, `table`.
    pub check: &'static str,
    /// What was seen, and where.
    pub evidence: String,
    /// What to do, in words.
    pub remedy: String,
    /// Statements for a person with enough rights to run in that database; empty when no SQL mends it.
    pub sql: String,
}

/// Where a check looks.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    side: &'static str,
    /// What evidence begins with: `upstreams.ticket`.
    at: &'a str,
    capability: Option<&'a str>,
}

impl CheckFinding {
    fn new(severity: Severity, place: Place<'_>, check: &'static str, evidence: String) -> Self {
        Self {
            severity,
            capability: place.capability.map(str::to_owned),
            side: place.side,
            check,
            evidence,
            remedy: String::new(),
            sql: String::new(),
        }
    }

    fn error(place: Place<'_>, check: &'static str, evidence: String) -> Self {
        Self::new(Severity::Error, place, check, evidence)
    }

    fn warning(place: Place<'_>, check: &'static str, evidence: String) -> Self {
        Self::new(Severity::Warning, place, check, evidence)
    }

    fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    fn sql(mut self, sql: impl Into<String>) -> Self {
        self.sql = sql.into();
        self
    }

    /// Whether `start` refuses because of it.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for CheckFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: {}", self.side)?;
        if let Some(capability) = &self.capability {
            write!(f, " of {capability}")?;
        }
        write!(f, ": {} [{}]", self.evidence, self.check)?;
        if !self.remedy.is_empty() {
            write!(f, "\n  → {}", self.remedy)?;
        }
        for line in self.sql.lines() {
            write!(f, "\n    {line}")?;
        }
        Ok(())
    }
}

/// Connects to the databases of all upstreams and of control, and looks at everything a migration needs
/// of them. Changes nothing. What can not be reached is a finding, too; passwords are never in one.
///
/// Errors come first, then warnings; within them servers before tables.
pub async fn check_connect(config: &Config) -> Vec<CheckFinding> {
    let mut findings = Vec::new();
    let mut opened: Vec<Opened> = Vec::new();
    for upstream in config.upstreams.values() {
        if upstream.database.is_some() || upstream.owner_database.is_some() {
            opened.push(login::open(upstream, side_of(upstream), &mut findings).await);
        }
    }
    judge_servers(config, &opened, &mut findings);
    for capability in config.capabilities.values() {
        require_databases(config, capability, &mut findings);
        let find = |name: &str| opened.iter().find(|opened| opened.name == name);
        if let (Some(source), Some(target)) = (find(MONOLITH), find(&capability.upstream)) {
            pairs::check(capability, source, target, &mut findings).await;
        }
    }
    if let Some(control) = &config.control {
        control_database::check(control.database.expose(), &mut findings).await;
    }
    in_order(findings)
}

const fn side_name(side: Side) -> &'static str {
    side.as_str()
}

fn side_of(upstream: &Upstream) -> Side {
    if upstream.name == MONOLITH { Side::Source } else { Side::Target }
}

/// Two upstreams may live on one server: its settings are judged once, for what both need.
fn judge_servers(config: &Config, opened: &[Opened], findings: &mut Vec<CheckFinding>) {
    let mut judged = BTreeSet::new();
    for one in opened {
        let Some(server) = &one.server else { continue };
        let same_server = |name: &str| {
            opened
                .iter()
                .filter(|other| other.name == name)
                .any(|other| other.server.as_ref().is_some_and(|o| o.system_id == server.system_id))
        };
        let place = one.place(None);
        if judged.insert(server.system_id.as_str()) {
            let need = need(config, &same_server);
            findings.extend(server::settings(place, server, &need));
        }
        if let Some(rights) = &one.rights {
            findings.extend(rights::judge(place, server.version, rights, one.login.as_ref()));
        }
    }
}

/// What all capabilities together need of one server.
fn need(config: &Config, is_on_server: &dyn Fn(&str) -> bool) -> Need {
    let mut need = Need { wal_budget: config.cdc.wal_budget, ..Need::default() };
    for capability in config.capabilities.values() {
        for kind in streams(capability) {
            let upstream = match kind.reads_from() {
                Side::Source => MONOLITH,
                Side::Target => capability.upstream.as_str(),
            };
            if is_on_server(upstream) {
                need.slots.push(kind.slot(&capability.name));
            }
        }
        if is_on_server(MONOLITH) || is_on_server(&capability.upstream) {
            let hold = capability.fence.hold;
            need.hold = Some(need.hold.map_or(hold, |shortest| shortest.min(hold)));
        }
    }
    need
}

fn streams(capability: &Capability) -> Vec<StreamKind> {
    let mut kinds = Vec::new();
    if !capability.tables.is_empty() {
        kinds.extend([StreamKind::Forward, StreamKind::Reverse]);
    }
    if !capability.references.is_empty() {
        kinds.push(StreamKind::Reference);
    }
    kinds
}

/// With control, a capability that has tables needs both databases.
fn require_databases(config: &Config, capability: &Capability, findings: &mut Vec<CheckFinding>) {
    if config.control.is_none() || streams(capability).is_empty() {
        return;
    }
    for (side, name) in [(Side::Source, MONOLITH), (Side::Target, capability.upstream.as_str())] {
        if config.upstreams.get(name).is_some_and(|upstream| upstream.database.is_some()) {
            continue;
        }
        let at = format!("upstreams.{name}");
        let place = Place { side: side_name(side), at: &at, capability: Some(&capability.name) };
        findings.push(
            CheckFinding::error(
                place,
                "database",
                format!("{at} has no `database`, and {} has tables to move", capability.name),
            )
            .remedy(format!(
                "give [upstreams.{name}] the URL that logs in as {}",
                guard::APPLIER_ROLE
            )),
        );
    }
}

/// Errors first; a table that two capabilities copy is reported once.
fn in_order(findings: Vec<CheckFinding>) -> Vec<CheckFinding> {
    let mut seen = BTreeSet::new();
    let mut findings: Vec<_> = findings
        .into_iter()
        .filter(|finding| {
            let whose = if finding.side == Side::Source.as_str() {
                None
            } else {
                finding.capability.clone()
            };
            seen.insert((finding.side, whose, finding.check, finding.evidence.clone()))
        })
        .collect();
    findings.sort_by_key(|finding| finding.severity);
    findings
}

#[cfg(test)]
mod tests;
