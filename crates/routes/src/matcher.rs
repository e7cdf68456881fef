//! Finds the route of a request. The most specific route that matches both method and path wins:
//! segment by segment from the left, static beats `{param}` beats `{*rest}`; then an exact method
//! beats `*`. `HEAD` is answered where `GET` is, unless a route names `HEAD` itself.
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
    by_method: HashMap<String, Tree>,
    any_method: Tree,
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
        let mut shapes: BTreeMap<&str, BTreeMap<PathShape, Position>> = BTreeMap::new();
        let unclaimed = &config.gateway.routes;
        let of_capabilities =
            capabilities.iter().enumerate().map(|(index, each)| (Some(index), &each.routes));
        for (capability, routes) in of_capabilities.chain([(None, unclaimed)]) {
            for (route, each) in routes.iter().enumerate() {
                let shape = PathShape::of(&each.path);
                let position = Position { capability, route };
                shapes.entry(&each.method).or_default().entry(shape).or_insert(position);
            }
        }
        let (by_method, any_method) = trees(shapes);
        let unclaimed = unclaimed.clone();
        Self { by_method, any_method, capabilities, unclaimed }
    }

    /// The capability's route of a request, or `None` when it belongs to the monolith. `method` is
    /// compared exactly, as HTTP does; `path` is the raw path without query.
    #[must_use]
    pub fn find(&self, method: &str, path: &str) -> Option<Matched<'_>> {
        let Found { capability, route } = self.find_any(method, path)?;
        Some(Matched { capability: capability?, route })
    }

    /// The route of a request, of a capability or of the gateway alone; `None` when no route claims it.
    #[must_use]
    pub fn find_any(&self, method: &str, path: &str) -> Option<Found<'_>> {
        let tree = self.by_method.get(method).unwrap_or(&self.any_method);
        let position = tree.find(path)?;
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

/// One tree for each method, and one for all others.
fn trees(
    mut shapes: BTreeMap<&str, BTreeMap<PathShape, Position>>,
) -> (HashMap<String, Tree>, Tree) {
    let any = shapes.remove("*").unwrap_or_default();
    let get = shapes.get("GET").cloned().unwrap_or_default();
    let head = shapes.entry("HEAD").or_default();
    add_missing(head, &get);
    for of_method in shapes.values_mut() {
        add_missing(of_method, &any);
    }
    let by_method =
        shapes.iter().map(|(method, shapes)| ((*method).to_owned(), Tree::of(shapes))).collect();
    (by_method, Tree::of(&any))
}

fn add_missing(to: &mut BTreeMap<PathShape, Position>, from: &BTreeMap<PathShape, Position>) {
    for (shape, position) in from {
        to.entry(shape.clone()).or_insert(*position);
    }
}

#[cfg(test)]
mod tests;
