//! Who may depend on whom, checked over `cargo metadata`.
//!
//! ```text
//! pure      routes, pg, cutover, compare, http-rules   no IO, no clock; only each other
//! reach     pg-connect                            nothing of ours
//! bridge    rpc, guard, telemetry                 pure, reach
//! part      proxy, cdc, control, extractors       pure, reach, bridge; never each other
//! front     cli                                   pure, reach, bridge, part
//! kit       services/kit                          nothing of ours
//! service   services/*                            kit
//! fixture   examples/*                            nothing of ours
//! tests     testkit                               nothing of ours; only as a dev-dependency
//! tasks     xtask                                 anything but services and fixtures
//! ```

use std::collections::{BTreeSet, HashMap, HashSet};

use anyhow::Context;
use cargo_metadata::{DependencyKind, Metadata, Package, PackageId};

/// Crates that do IO, keep time or run tasks: none of them may be reachable from a pure crate.
const IO_CRATES: [&str; 22] = [
    "async-std",
    "axum",
    "chrono",
    "h2",
    "hyper",
    "hyper-util",
    "mio",
    "nix",
    "pingora-core",
    "postgres",
    "rand",
    "reqwest",
    "rustix",
    "rustls",
    "smol",
    "socket2",
    "sqlx",
    "sqlx-core",
    "tempfile",
    "tokio",
    "tokio-postgres",
    "tonic",
];

/// Crates that talk to databases: none of them may be reachable from the proxy. Redis is not one of
/// them: proxies count requests there together, and it holds no data of anybody.
const DATABASE_CRATES: [&str; 8] = [
    "diesel",
    "mysql_async",
    "postgres",
    "postgres-protocol",
    "rusqlite",
    "sqlx",
    "sqlx-core",
    "tokio-postgres",
];

/// A layer of the picture above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    Pure,
    Reach,
    Bridge,
    Part,
    Front,
    Kit,
    Service,
    Fixture,
    Tests,
    Tasks,
}

impl Layer {
    /// The layer of the package whose folder this is, relative to the root.
    fn of(folder: &str) -> Option<Self> {
        match folder {
            "crates/routes" | "crates/pg" | "crates/cutover" | "crates/compare"
            | "crates/http-rules" => Some(Self::Pure),
            "crates/pg-connect" => Some(Self::Reach),
            "crates/rpc" | "crates/guard" | "crates/telemetry" => Some(Self::Bridge),
            "proxy" | "cdc" | "extractors" | "crates/control" => Some(Self::Part),
            "crates/cli" => Some(Self::Front),
            "services/kit" => Some(Self::Kit),
            "crates/testkit" => Some(Self::Tests),
            "xtask" => Some(Self::Tasks),
            _ if folder.starts_with("services/") => Some(Self::Service),
            _ if folder.starts_with("examples/") => Some(Self::Fixture),
            _ => None,
        }
    }

    /// Whether a package of this layer may depend on one of `other`.
    fn may_use(self, other: Self) -> bool {
        match self {
            Self::Pure => other == Self::Pure,
            Self::Bridge => matches!(other, Self::Pure | Self::Reach),
            Self::Part => matches!(other, Self::Pure | Self::Reach | Self::Bridge),
            Self::Front => matches!(other, Self::Pure | Self::Reach | Self::Bridge | Self::Part),
            Self::Service => other == Self::Kit,
            Self::Reach | Self::Kit | Self::Fixture | Self::Tests => false,
            Self::Tasks => !matches!(other, Self::Service | Self::Fixture),
        }
    }
}

/// One dependency between two packages of the workspace.
#[derive(Debug)]
struct Edge<'a> {
    from: &'a str,
    from_layer: Layer,
    to: &'a str,
    to_layer: Layer,
    is_dev: bool,
}

impl Edge<'_> {
    fn violation(&self) -> Option<String> {
        let allowed = if self.to_layer == Layer::Tests {
            self.is_dev || self.from_layer == Layer::Tasks
        } else {
            self.from_layer.may_use(self.to_layer)
        };
        (!allowed).then(|| {
            let kind = if self.is_dev { "dev-depend" } else { "depend" };
            format!("{}: must not {kind} on {}", self.from, self.to)
        })
    }
}

/// Every dependency that goes the wrong way.
pub(super) fn violations(metadata: &Metadata) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut layers = HashMap::new();
    for package in metadata.workspace_packages() {
        let folder = folder_of(metadata, package)?;
        match Layer::of(&folder) {
            Some(layer) => drop(layers.insert(package.name.as_str(), layer)),
            None => found.push(format!("{folder}: give this folder a layer in xtask/src/tidy")),
        }
    }
    for package in metadata.workspace_packages() {
        let Some(from_layer) = layers.get(package.name.as_str()).copied() else { continue };
        for dependency in package.dependencies.iter().filter(|each| each.path.is_some()) {
            let Some(to_layer) = layers.get(dependency.name.as_str()).copied() else { continue };
            let edge = Edge {
                from: package.name.as_str(),
                from_layer,
                to: dependency.name.as_str(),
                to_layer,
                is_dev: dependency.kind == DependencyKind::Development,
            };
            found.extend(edge.violation());
        }
        let forbidden: &[&str] = match (from_layer, package.name.as_str()) {
            (Layer::Pure, _) => &IO_CRATES,
            (_, "proxy") => &DATABASE_CRATES,
            _ => &[],
        };
        let reached = reached_from(metadata, &package.id)?;
        found.extend(
            forbidden
                .iter()
                .filter(|name| reached.contains(**name))
                .map(|name| format!("{}: must not reach the crate {name}", package.name)),
        );
    }
    Ok(found)
}

fn folder_of(metadata: &Metadata, package: &Package) -> anyhow::Result<String> {
    let folder = package.manifest_path.parent().context("a manifest lies in a folder")?;
    let folder = folder
        .strip_prefix(&metadata.workspace_root)
        .with_context(|| format!("{folder} lies outside of the repository"))?;
    Ok(folder.as_str().replace('\\', "/"))
}

/// The names of all packages below one, without build- and dev-dependencies.
fn reached_from<'a>(
    metadata: &'a Metadata,
    start: &'a PackageId,
) -> anyhow::Result<BTreeSet<&'a str>> {
    let resolve = metadata.resolve.as_ref().context("cargo metadata has no dependency graph")?;
    let nodes: HashMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let names: HashMap<_, _> =
        metadata.packages.iter().map(|each| (&each.id, each.name.as_str())).collect();
    let mut seen = HashSet::from([start]);
    let mut open = vec![start];
    while let Some(id) = open.pop() {
        let node = nodes.get(id).with_context(|| format!("{id} is not in the graph"))?;
        for dependency in &node.deps {
            let is_normal =
                dependency.dep_kinds.iter().any(|each| each.kind == DependencyKind::Normal);
            if is_normal && seen.insert(&dependency.pkg) {
                open.push(&dependency.pkg);
            }
        }
    }
    Ok(seen.into_iter().filter_map(|id| names.get(id).copied()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violation(from: &str, to: &str, is_dev: bool) -> Option<String> {
        let from_layer = Layer::of(from).expect("a known folder");
        let to_layer = Layer::of(to).expect("a known folder");
        Edge { from, from_layer, to, to_layer, is_dev }.violation()
    }

    #[test]
    fn the_parts_meet_in_the_pure_crates_and_never_depend_on_each_other() {
        for (from, to) in [
            ("proxy", "cdc"),
            ("cdc", "crates/control"),
            ("crates/control", "proxy"),
            ("crates/cutover", "crates/guard"),
            ("crates/guard", "crates/rpc"),
            ("services/ticket", "crates/pg"),
            ("services/kit", "crates/telemetry"),
            ("examples/monolith", "services/kit"),
            ("crates/pg", "crates/cli"),
            ("crates/pg-connect", "crates/guard"),
        ] {
            assert!(violation(from, to, false).is_some(), "{from} -> {to}");
            assert!(violation(from, to, true).is_some(), "{from} -> {to} for tests");
        }
        for (from, to) in [
            ("proxy", "crates/routes"),
            ("cdc", "crates/guard"),
            ("crates/guard", "crates/pg-connect"),
            ("crates/cli", "crates/control"),
            ("crates/routes", "crates/cutover"),
            ("services/ticket", "services/kit"),
            ("xtask", "crates/cutover"),
        ] {
            assert_eq!(violation(from, to, false), None, "{from} -> {to}");
        }
    }

    #[test]
    fn the_testkit_is_for_tests_and_tasks() {
        assert_eq!(violation("cdc", "crates/testkit", true), None);
        assert!(violation("cdc", "crates/testkit", false).is_some());
        assert_eq!(violation("xtask", "crates/testkit", false), None);
    }

    #[test]
    fn a_folder_outside_of_the_picture_has_no_layer() {
        assert_eq!(Layer::of("crates/new"), None);
    }

    #[test]
    fn crates_far_below_are_reached_and_those_of_build_scripts_are_not() {
        let metadata = cargo_metadata::MetadataCommand::new()
            .manifest_path(crate::steps::root().join("Cargo.toml"))
            .exec()
            .expect("cargo metadata");
        let package =
            |name: &str| metadata.workspace_packages().into_iter().find(|each| each.name == name);
        let xtask = package("xtask").expect("this package");
        let reached = reached_from(&metadata, &xtask.id).expect("a graph");
        assert!(reached.contains("mio"), "through testkit and tokio");
        let rpc = package("rpc").expect("the package with a build script");
        let reached = reached_from(&metadata, &rpc.id).expect("a graph");
        assert!(reached.contains("tonic"));
        assert!(!reached.contains("protox"), "it is a build-dependency");
    }
}
