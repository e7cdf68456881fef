//! Paths by segment. Where a static child leads nowhere the parameter is tried, then the rest: that
//! is what libraries at hand refuse (`/t/{id}` beside `/t/{*rest}`) and a migration needs.

use std::collections::{BTreeMap, HashMap};

use super::{PathShape, Position, Segment};

/// The routes of one method.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    root: Node,
}

#[derive(Clone, Debug, Default)]
struct Node {
    /// The path ends here.
    end: Option<Position>,
    by_name: HashMap<String, Self>,
    /// Any one segment but the empty one.
    param: Option<Box<Self>>,
    /// Everything that follows, at least one byte.
    rest: Option<Position>,
}

impl Tree {
    pub(super) fn of(shapes: &BTreeMap<PathShape, Position>) -> Self {
        let mut tree = Self::default();
        for (shape, position) in shapes {
            tree.root.insert(&shape.0, *position);
        }
        tree
    }

    pub(super) fn find(&self, path: &str) -> Option<Position> {
        self.root.find(Some(path.strip_prefix('/')?))
    }
}

impl Node {
    fn insert(&mut self, segments: &[Segment], position: Position) {
        match segments.split_first() {
            None => self.end = Some(position),
            Some((Segment::Static(name), tail)) => {
                self.by_name.entry(name.clone()).or_default().insert(tail, position);
            }
            Some((Segment::Param, tail)) => {
                self.param.get_or_insert_default().insert(tail, position);
            }
            Some((Segment::Rest, _)) => self.rest = Some(position),
        }
    }

    /// `path` is what follows the last slash seen; `None` at the end. Goes no deeper than the tree.
    fn find(&self, path: Option<&str>) -> Option<Position> {
        let Some(path) = path else { return self.end };
        let (segment, tail) = match path.split_once('/') {
            Some((segment, tail)) => (segment, Some(tail)),
            None => (path, None),
        };
        let by_name = || self.by_name.get(segment)?.find(tail);
        let by_param = || self.param.as_ref().filter(|_| !segment.is_empty())?.find(tail);
        let by_rest = || self.rest.filter(|_| !path.is_empty());
        by_name().or_else(by_param).or_else(by_rest)
    }
}
