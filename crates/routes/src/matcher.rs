//! Finds the route of a request. The most specific route that matches both method and path wins:
//! segment by segment from the left, static beats `{param}` beats `{*rest}`; then an exact method
//! beats `*`. `HEAD` is answered where `GET` is, unless a route names `HEAD` itself.
//!
//! Routes may be for one version of an API alone: on the same path such a route beats one for all versions,
//! whatever their methods.
//!
//! The path is matched raw, byte by byte, without its query: nothing is decoded, `/tickets/` is not
//! `/tickets`, and `/%74ickets` is not `/tickets`. What is not found belongs to the monolith; should
//! the monolith take such a path for one of a moved capability, its database fence refuses the write.

mod tree;

use std::collections::{BTreeMap, HashMap};

use crate::{Capability, Config, Route};
use tree::Tree;

/// A compiled set of routes. Immutable; a lookup allocates nothing and looks at no more nodes than
/// there are routes' segments.
#[derive(Clone, Debug)]
pub struct RouteTable {
    capabilities: Vec<Capability>,
    /// Routes of no capability.
    unclaimed: Vec<Route>,
    plain: Trees,
    /// With the plain routes where the version has none of its own.
    by_version: BTreeMap<String, Trees>,
}

/// The routes of one version.
#[derive(Clone, Debug)]
struct Trees {
    by_method: HashMap<String, Tree>,
    any_method: Tree,
}

type Shapes = BTreeMap<PathShape, Position>;

/// Routes by method and path; each method has what is for every method, too.
#[derive(Default)]
struct Filled {
    by_method: BTreeMap<String, Shapes>,
    any: Shapes,
}

/// The route a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Matched<'t> {
    /// The capability that claims the request.
    pub capability: &'t Capability,
    /// The route within it.
    pub route: &'t Route,
}

/// The route a request takes, of a capability or of none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found<'t> {
    /// `None`: it stays with the monolith.
    pub capability: Option<&'t Capability>,
    /// The most specific one.
    pub route: &'t Route,
}

/// A path without the names of its parameters: what two ambiguous routes have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PathShape(Vec<Segment>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Segment {
    Static(String),
    Param,
    Rest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    /// `None` for a route of the gateway alone.
    capability: Option<usize>,
    route: usize,
}

impl RouteTable {
    /// Compiles the routes of a configuration. Of two routes that tie, which [`Config::parse`]
    /// refuses, the first is kept.
    #[must_use]
    pub fn compile(config: &Config) -> Self {
        let capabilities: Vec<Capability> = config.capabilities.values().cloned().collect();
        let mut shapes: BTreeMap<Option<&str>, BTreeMap<String, Shapes>> = BTreeMap::new();
        let unclaimed = &config.gateway.routes;
        let of_capabilities =
            capabilities.iter().enumerate().map(|(index, each)| (Some(index), &each.routes));
        for (capability, routes) in of_capabilities.chain([(None, unclaimed)]) {
            for (route, each) in routes.iter().enumerate() {
                let shape = PathShape::of(&each.path);
                let position = Position { capability, route };
                let of_version = shapes.entry(each.version.as_deref()).or_default();
                let of_method = of_version.entry(each.method.clone()).or_default();
                of_method.entry(shape).or_insert(position);
            }
        }
        let plain = Filled::new(shapes.remove(&None).unwrap_or_default());
        let by_version = shapes
            .into_iter()
            .filter_map(|(version, shapes)| {
                Some((version?.to_owned(), Filled::new(shapes).over(&plain).trees()))
            })
            .collect();
        let unclaimed = unclaimed.clone();
        Self { plain: plain.trees(), by_version, capabilities, unclaimed }
    }

    /// The capability's route of a request, or `None` when it belongs to the monolith. `method` is
    /// compared exactly, as HTTP does; `path` is the raw path without query.
    #[must_use]
    pub fn find(&self, method: &str, path: &str) -> Option<Matched<'_>> {
        let Found { capability, route } = self.find_version(None, method, path)?;
        Some(Matched { capability: capability?, route })
    }

    /// The route of a request that asks for this version of the API, if it asks for one, of a capability or
    /// of the gateway alone; `None` when no route claims it. A version that no route has is as none.
    #[must_use]
    pub fn find_version(
        &self,
        version: Option<&str>,
        method: &str,
        path: &str,
    ) -> Option<Found<'_>> {
        let trees = version.and_then(|version| self.by_version.get(version));
        self.found(trees.unwrap_or(&self.plain).find(method, path)?)
    }

    /// Whether the route of such a request depends on the version it asks for.
    #[must_use]
    pub fn depends_on_version(&self, method: &str, path: &str) -> bool {
        let plain = self.plain.find(method, path);
        self.by_version.values().any(|trees| trees.find(method, path) != plain)
    }

    fn found(&self, position: Position) -> Option<Found<'_>> {
        let Some(index) = position.capability else {
            return Some(Found { capability: None, route: self.unclaimed.get(position.route)? });
        };
        let capability = self.capabilities.get(index)?;
        let route = capability.routes.get(position.route)?;
        Some(Found { capability: Some(capability), route })
    }

    /// Routes of no capability, in the order of the file.
    #[must_use]
    pub fn unclaimed(&self) -> &[Route] {
        &self.unclaimed
    }

    /// All capabilities, by name.
    pub fn capabilities(&self) -> impl Iterator<Item = &Capability> {
        self.capabilities.iter()
    }
}

impl PathShape {
    /// The shape of a path that starts with `/`.
    pub(crate) fn of(path: &str) -> Self {
        let segment = |text: &str| {
            if text.starts_with("{*") && text.ends_with('}') {
                Segment::Rest
            } else if text.starts_with('{') && text.ends_with('}') {
                Segment::Param
            } else {
                Segment::Static(text.to_owned())
            }
        };
        Self(path.split('/').skip(1).map(segment).collect())
    }
}

impl Trees {
    fn find(&self, method: &str, path: &str) -> Option<Position> {
        self.by_method.get(method).unwrap_or(&self.any_method).find(path)
    }
}

impl Filled {
    fn new(mut by_method: BTreeMap<String, Shapes>) -> Self {
        let any = by_method.remove("*").unwrap_or_default();
        let get = by_method.get("GET").cloned().unwrap_or_default();
        add_missing(by_method.entry("HEAD".to_owned()).or_default(), &get);
        for of_method in by_method.values_mut() {
            add_missing(of_method, &any);
        }
        Self { by_method, any }
    }

    fn of(&self, method: &str) -> &Shapes {
        self.by_method.get(method).unwrap_or(&self.any)
    }

    /// These, and others where these have nothing.
    fn over(self, others: &Self) -> Self {
        let mut over = Self::default();
        for method in self.by_method.keys().chain(others.by_method.keys()) {
            let shapes = over.by_method.entry(method.clone()).or_default();
            add_missing(shapes, self.of(method));
            add_missing(shapes, others.of(method));
        }
        over.any = self.any;
        add_missing(&mut over.any, &others.any);
        over
    }

    /// One tree for each method, and one for all others.
    fn trees(&self) -> Trees {
        let tree = |(method, shapes): (&String, &Shapes)| (method.clone(), Tree::of(shapes));
        let by_method = self.by_method.iter().map(tree).collect();
        Trees { by_method, any_method: Tree::of(&self.any) }
    }
}

fn add_missing(to: &mut Shapes, from: &Shapes) {
    for (shape, position) in from {
        to.entry(shape.clone()).or_insert(*position);
    }
}

#[cfg(test)]
mod tests;
