//! What can only be seen across sections: one writer per table, one route per request, upstreams
//! that exist, phases that can be reached.

use std::collections::BTreeMap;

use pg::TableName;

use crate::{
    Effect,
    compile::{CapabilityDraft, Draft, policies},
    config::MONOLITH,
    mapping,
    reader::{At, Reader},
    suggest::nearest,
};

pub(crate) fn all(reader: &Reader<'_>, draft: &Draft) {
    require_monolith(reader, draft);
    for (name, capability) in &draft.capabilities {
        check_upstream(reader, draft, name, capability);
        check_reach(reader, draft, capability);
    }
    refuse_ties(reader, draft);
    for (at, message, remedy) in policies::unknown_names(&draft.gateway) {
        reader.report(at, message, remedy);
    }
    refuse_shared_sources(reader, draft);
    refuse_shared_targets(reader, draft);
}

fn require_monolith(reader: &Reader<'_>, draft: &Draft) {
    if !draft.upstreams.contains_key(MONOLITH) {
        let at = At { offset: 0, key: format!("upstreams.{MONOLITH}") };
        let remedy = "write [upstreams.monolith] with peers = [\"127.0.0.1:3000\"]";
        reader.report(&at, "is missing; everything no capability claims goes there", remedy);
    }
}

fn check_upstream(reader: &Reader<'_>, draft: &Draft, name: &str, capability: &CapabilityDraft) {
    let Some(upstream) = &capability.upstream else { return };
    if upstream.value == MONOLITH {
        let message = format!("{name} would move from the monolith to the monolith");
        reader.report(&upstream.at, message, "name the upstream of the service that takes it");
    } else if !draft.upstreams.contains_key(&upstream.value) {
        let known = draft.upstreams.keys().map(String::as_str);
        let meant = nearest(&upstream.value, known.filter(|name| *name != MONOLITH));
        let remedy = meant.map_or_else(
            || format!("write a table [upstreams.{}] with its peers", upstream.value),
            |meant| format!("did you mean {meant}?"),
        );
        reader.report(&upstream.at, format!("there is no upstream {:?}", upstream.value), remedy);
    }
}

/// A capability must be able to reach the phases its routes need.
fn check_reach(reader: &Reader<'_>, draft: &Draft, capability: &CapabilityDraft) {
    if !capability.names_routes {
        let message = "has no routes, so no request could ever move";
        let remedy = "write [[capabilities.NAME.routes]] with match = \"GET /path\"";
        reader.report(&capability.at, message, remedy);
    }
    if !capability.names_tables {
        let write = capability.routes.iter().find(|r| r.value.effect == Effect::Write);
        if let Some(write) = write {
            let message = format!(
                "{} {} writes, but the capability has no tables: nothing can be replicated, and a \
                 cutover is never reached",
                write.value.method, write.value.path
            );
            let remedy = "name the tables it writes under [[capabilities.NAME.tables]], or write \
                effect = \"read\" if it changes nothing";
            reader.report(&write.at, message, remedy);
        }
    }
    let is_replicated = !(capability.tables.is_empty() && capability.references.is_empty());
    // Without control nothing is replicated, and the file describes a plain proxy.
    if !is_replicated || matches!(draft.control, Some(None)) {
        return;
    }
    let service = capability.upstream.as_ref().map(|upstream| upstream.value.as_str());
    for name in [Some(MONOLITH), service].into_iter().flatten() {
        if draft.upstreams.get(name).is_some_and(|upstream| !upstream.has_database) {
            let message = format!(
                "its tables cannot be replicated, because upstreams.{name}.database is not given"
            );
            let remedy = format!("write database = \"${{DATABASE_URL}}\" under [upstreams.{name}]");
            reader.report(&capability.at, message, remedy);
        }
    }
}

fn refuse_ties(reader: &Reader<'_>, draft: &Draft) {
    let mut first_lines = BTreeMap::new();
    let mut routes: Vec<_> =
        draft.capabilities.values().flat_map(|c| &c.routes).chain(&draft.gateway.routes).collect();
    routes.sort_by_key(|route| route.at.offset);
    for route in routes {
        let matched = route.value.claim();
        let Some(first) = first_lines.get(&matched) else {
            first_lines.insert(matched, route.value.line);
            continue;
        };
        let message = format!(
            "the routes in lines {first} and {} match the same requests, and neither is more specific",
            route.value.line
        );
        reader.report(&route.at, message, "remove one of them");
    }
}

/// One writer per table: a source table belongs to one capability, once.
fn refuse_shared_sources(reader: &Reader<'_>, draft: &Draft) {
    let mut owners: BTreeMap<&TableName, (&str, usize)> = BTreeMap::new();
    for (name, capability) in &draft.capabilities {
        let mut within: BTreeMap<&TableName, usize> = BTreeMap::new();
        let references = capability.references.iter().map(|mapping| (mapping, false));
        for (mapping, moves) in
            capability.tables.iter().map(|mapping| (mapping, true)).chain(references)
        {
            let Some(source) = &mapping.source else { continue };
            let (table, line) = (&source.value, reader.line(source.at.offset));
            if let Some(first) = within.insert(table, line) {
                let message = format!("{table} is already mapped in line {first}");
                reader.report(&source.at, message, "map each table once");
                continue;
            }
            if !moves {
                continue;
            }
            if let Some((other, first)) = owners.insert(table, (name, line)) {
                let message = format!(
                    "{table} already moves with capability {other} (line {first}), and a table has \
                     one writer"
                );
                let remedy = "leave it to one of them, or merge the two capabilities";
                reader.report(&source.at, message, remedy);
            }
        }
    }
}

/// Two streams must not write one target table.
fn refuse_shared_targets(reader: &Reader<'_>, draft: &Draft) {
    let mut writers: BTreeMap<(&str, &TableName), usize> = BTreeMap::new();
    for capability in draft.capabilities.values() {
        let Some(upstream) = &capability.upstream else { continue };
        for mapping::Draft { target, .. } in capability.tables.iter().chain(&capability.references)
        {
            let Some(target) = target else { continue };
            let line = reader.line(target.at.offset);
            if let Some(first) = writers.insert((&upstream.value, &target.value), line) {
                let message = format!(
                    "{} of upstream {} is already filled in line {first}",
                    target.value, upstream.value
                );
                reader.report(&target.at, message, "give each mapping its own target table");
            }
        }
    }
}
