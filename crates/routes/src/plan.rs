//! What changes between two configurations, for which traffic, and what it takes to apply it.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;
use serde_json::Value;

use crate::{
    Capability, Config, MONOLITH, Route, RouteTable, Secret, TableMapping, Upstream, matcher::Found,
};

/// What it takes to apply a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Apply {
    /// Running processes take it when they reload the file.
    Live,
    /// The process that owns the key must be restarted.
    Restart,
    /// Refused while the capability is replicated: its tables would have to be copied again.
    RefusedWhileReplicating,
}

/// One difference between two configurations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Dotted key; a route or a table stands in it by its name, not by its position.
    pub key: String,
    /// What becomes of it.
    pub what: String,
    /// Which requests feel it.
    pub traffic: String,
    /// What it takes.
    pub apply: Apply,
}

impl Apply {
    /// As operators read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Restart => "needs a restart",
            Self::RefusedWhileReplicating => "refused while replicating",
        }
    }
}

impl fmt::Display for Change {
    /// `capabilities.tickets.shift.every: "10m" becomes "1h" (reads of tickets; live)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, what, traffic, apply } = self;
        write!(f, "{key}: {what} ({traffic}; {})", apply.as_str())
    }
}

/// The changes that lead from one configuration to another, in the order of the file's sections.
#[must_use]
pub fn plan(old: &Config, new: &Config) -> Vec<Change> {
    let mut planner = Planner {
        old: RouteTable::compile(old),
        new: RouteTable::compile(new),
        changes: Vec::new(),
    };
    planner.values("proxy", &json(&old.proxy), &json(&new.proxy));
    planner.values("control", &json(&old.control), &json(&new.control));
    let store = |config: &Config| config.control.as_ref().map(|control| control.database.clone());
    planner.secret("control.database", store(old).as_ref(), store(new).as_ref());
    planner.values("cdc", &json(&old.cdc), &json(&new.cdc));
    planner.values("gateway", &gateway(old), &gateway(new));
    planner.routes("gateway", &old.gateway.routes, &new.gateway.routes);
    for name in names(&old.upstreams, &new.upstreams) {
        planner.upstream(name, old.upstreams.get(name), new.upstreams.get(name));
    }
    for name in names(&old.capabilities, &new.capabilities) {
        planner.capability(name, old.capabilities.get(name), new.capabilities.get(name));
    }
    planner.changes
}

struct Planner {
    old: RouteTable,
    new: RouteTable,
    changes: Vec<Change>,
}

impl Planner {
    fn add(&mut self, key: impl Into<String>, what: String, traffic: String, apply: Apply) {
        self.changes.push(Change { key: key.into(), what, traffic, apply });
    }

    /// Compares two sections value by value.
    fn values(&mut self, section: &str, old: &Value, new: &Value) {
        let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
        flatten(section, old, &mut before);
        flatten(section, new, &mut after);
        for key in names(&before, &after) {
            let what = match (before.get(key), after.get(key)) {
                (Some(old), Some(new)) if old != new => format!("{old} becomes {new}"),
                (Some(old), None) => format!("{old} is removed"),
                (None, Some(new)) => format!("{new} is new"),
                (Some(_), Some(_)) | (None, None) => continue,
            };
            let (traffic, apply) = concerns(key);
            self.add(key, what, traffic, apply);
        }
    }

    /// A secret is in no message: only that it changed.
    fn secret(&mut self, key: &str, old: Option<&Secret>, new: Option<&Secret>) {
        // That one is new or removed, its section says.
        if old.is_some() && new.is_some() && old != new {
            let what = "names another place or account".to_owned();
            self.add(key, what, "no requests".to_owned(), Apply::Restart);
        }
    }

    fn upstream(&mut self, name: &str, old: Option<&Upstream>, new: Option<&Upstream>) {
        let key = format!("upstreams.{name}");
        self.values(&key, &json(&old), &json(&new));
        let database = |upstream: Option<&Upstream>| upstream.and_then(|u| u.database.clone());
        let owner = |upstream: Option<&Upstream>| upstream.and_then(|u| u.owner_database.clone());
        self.secret(&format!("{key}.database"), database(old).as_ref(), database(new).as_ref());
        self.secret(&format!("{key}.owner_database"), owner(old).as_ref(), owner(new).as_ref());
    }

    fn capability(&mut self, name: &str, old: Option<&Capability>, new: Option<&Capability>) {
        let key = format!("capabilities.{name}");
        match (old, new) {
            (Some(old), Some(new)) => {
                self.values(&key, &settings(old), &settings(new));
                self.routes(&key, &old.routes, &new.routes);
                self.tables(&format!("{key}.tables"), &old.tables, &new.tables);
                self.tables(&format!("{key}.references"), &old.references, &new.references);
            }
            (None, Some(new)) => {
                let what = format!(
                    "is new, with {} and {}",
                    counted(new.routes.len(), "route"),
                    counted(new.tables.len(), "table")
                );
                let traffic = "none yet: it begins with the monolith".to_owned();
                self.add(&key, what, traffic, Apply::Live);
                self.routes(&key, &[], &new.routes);
            }
            (Some(old), None) => {
                let traffic = "everything it claims".to_owned();
                self.add(&key, "is removed".to_owned(), traffic, Apply::RefusedWhileReplicating);
                self.routes(&key, &old.routes, &[]);
            }
            (None, None) => {}
        }
    }

    fn routes(&mut self, capability: &str, old: &[Route], new: &[Route]) {
        let by_match = |routes: &[Route]| -> BTreeMap<String, Route> {
            routes.iter().map(|r| (r.name(), r.clone())).collect()
        };
        let (before, after) = (by_match(old), by_match(new));
        for name in names(&before, &after) {
            let key = format!("{capability}.routes[{name}]");
            match (before.get(name), after.get(name)) {
                (Some(old), Some(new)) => self.values(&key, &treatment(old), &treatment(new)),
                (None, Some(route)) => self.moved_route(key, "is new", route),
                (Some(route), None) => self.moved_route(key, "is removed", route),
                (None, None) => {}
            }
        }
    }

    /// A route that came or went: its requests belong to someone else before or after.
    fn moved_route(&mut self, key: String, what: &str, route: &Route) {
        // No path of a request can equal a parameter's name in braces by accident: the file does
        // not allow braces in static segments.
        let claim = |table: &RouteTable| owner(table, route);
        let (before, after) = (claim(&self.old), claim(&self.new));
        let traffic = if before == after {
            format!("its requests stay with {after}")
        } else {
            format!("its requests were with {before} and come to {after}")
        };
        self.add(key, what.to_owned(), traffic, Apply::Live);
    }

    fn tables(&mut self, section: &str, old: &[TableMapping], new: &[TableMapping]) {
        let by_source = |mappings: &[TableMapping]| -> BTreeMap<String, Value> {
            mappings.iter().map(|m| (m.source.to_string(), mapping(m))).collect()
        };
        let (before, after) = (by_source(old), by_source(new));
        for source in names(&before, &after) {
            let key = format!("{section}[{source}]");
            let what = match (before.get(source), after.get(source)) {
                (Some(old), Some(new)) => {
                    self.values(&key, old, new);
                    continue;
                }
                (None, Some(_)) => "is new and has to be copied",
                (Some(_), None) => "is removed",
                (None, None) => continue,
            };
            let (traffic, apply) = concerns(&key);
            self.add(key, what.to_owned(), traffic, apply);
        }
    }
}

/// Which requests feel a change of a key, and what it takes.
fn concerns(key: &str) -> (String, Apply) {
    let parts: Vec<&str> = key.splitn(4, '.').collect();
    let (traffic, apply) = match *parts.as_slice() {
        ["proxy", "listen", ..] => ("all requests".to_owned(), Apply::Restart),
        ["proxy", "subject", ..] => {
            ("every client may fall into another share of the reads".to_owned(), Apply::Live)
        }
        ["proxy", "limits" | "trusted_proxies", ..] => ("all requests".to_owned(), Apply::Live),
        ["proxy", "access_log", "sample" | "slow", ..] => ("no requests".to_owned(), Apply::Live),
        ["proxy", "shed", ..] => ("all requests, under too much load".to_owned(), Apply::Live),
        ["proxy", "tls", ..] => ("requests with TLS".to_owned(), Apply::Restart),
        ["proxy" | "control" | "cdc", ..] => ("no requests".to_owned(), Apply::Restart),
        ["gateway", ..] => ("requests whose policy has it".to_owned(), Apply::Live),
        ["upstreams", _, "database" | "owner_database", ..] => {
            ("no requests".to_owned(), Apply::Restart)
        }
        ["upstreams", name, ..] => (format!("requests sent to {name}"), Apply::Live),
        ["capabilities", name, "upstream", ..] => {
            (format!("everything the service answers of {name}"), Apply::RefusedWhileReplicating)
        }
        ["capabilities", name, "fence", ..] => {
            (format!("writes of {name} during a transfer"), Apply::Live)
        }
        ["capabilities", _, "reverse", ..] => ("no requests".to_owned(), Apply::Live),
        ["capabilities", name, part, ..]
            if part.starts_with("tables[") || part.starts_with("references[") =>
        {
            (format!("the data of {name}"), Apply::RefusedWhileReplicating)
        }
        ["capabilities", _, part, ..] if part.starts_with("routes[") => {
            ("its requests".to_owned(), Apply::Live)
        }
        ["capabilities", name, ..] => (format!("reads of {name}"), Apply::Live),
        _ => ("all requests".to_owned(), Apply::Restart),
    };
    (traffic, apply)
}

/// Who answers the requests of a route.
fn owner(table: &RouteTable, of: &Route) -> String {
    match table.find_version(of.version.as_deref(), &of.method, &of.path) {
        Some(Found { capability: Some(capability), route }) => {
            format!("{} ({})", capability.name, route.name())
        }
        Some(Found { capability: None, .. }) | None => format!("the {MONOLITH}"),
    }
}

fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// A capability without its routes and tables, which are compared by name.
fn settings(capability: &Capability) -> Value {
    without(json(capability), &["name", "routes", "tables", "references"])
}

/// Policies without the routes, which are compared by name.
fn gateway(config: &Config) -> Value {
    without(json(&config.gateway), &["routes"])
}

/// A route without what identifies it.
fn treatment(route: &Route) -> Value {
    without(json(route), &["id", "method", "path", "version", "line"])
}

/// A mapping without what identifies it.
fn mapping(mapping: &TableMapping) -> Value {
    without(json(mapping), &["source", "line"])
}

fn without(mut value: Value, keys: &[&str]) -> Value {
    if let Value::Object(members) = &mut value {
        members.retain(|key, _| !keys.contains(&key.as_str()));
    }
    value
}

fn json(part: &impl Serialize) -> Value {
    serde_json::to_value(part).expect("a configuration has text keys and finite numbers")
}

/// Every value by its dotted key; lists are values, what is not given has none.
fn flatten(key: &str, value: &Value, into: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                flatten(&format!("{key}.{name}"), member, into);
            }
        }
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            into.insert(key.to_owned(), value.to_string());
        }
    }
}

/// The keys of both maps, in order, each once.
fn names<'m, V>(old: &'m BTreeMap<String, V>, new: &'m BTreeMap<String, V>) -> Vec<&'m str> {
    let mut names: Vec<&str> = old.keys().chain(new.keys()).map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests;
