//! Reads what the gateway does to bodies and with answers, and shared limits.

use std::collections::BTreeMap;

use super::values;
use crate::{
    AnswerCache, JsonChanges, OnFailure, SharedLimits,
    field::Field,
    reader::{Located, Section},
    scalar,
};

pub(super) fn shared_limits(section: &Section<'_>) -> Option<SharedLimits> {
    let redis = section.read("redis", Field::gateway_secret);
    let timeout = section.read("timeout", Field::duration);
    let on_failure = section.read("on_failure", |field| field.parsed(OnFailure::from_name));
    Some(SharedLimits { redis: redis?, timeout: timeout?, on_failure: on_failure? })
}

pub(super) fn cache(section: &Section<'_>) -> Option<AnswerCache> {
    let fresh = section.read("fresh", Field::duration);
    let max_body = section.read("max_body", |field| field.parsed(scalar::size));
    Some(AnswerCache { fresh: fresh?, max_body: max_body? })
}

pub(super) fn json(section: &Section<'_>) -> Option<JsonChanges> {
    let max = section.read("max", |field| field.parsed(scalar::size));
    let unwrap = section.read_optional("unwrap", pointer);
    let remove = section.read("remove", |field| field.list(pointer));
    let rename = pairs(section, "rename");
    let set = pairs(section, "set");
    let wrap = section.read_optional("wrap", Field::text);
    let (remove, rename, set) = (values(remove?), rename?, set?);
    for (pointer, json) in &set {
        if serde_json::from_str::<serde_json::Value>(json).is_err() {
            let message = format!("the value of {pointer:?} is not JSON");
            let remedy = "write a text as '\"text\"', a number as '1'";
            section.reader.report(&section.at("set"), message, remedy);
        }
    }
    let mut all: Vec<&String> = remove.iter().chain(rename.keys()).chain(set.keys()).collect();
    all.sort_unstable();
    if let Some(twice) = all.windows(2).find(|pair| pair.first() == pair.last()) {
        let message = format!("{twice:?} is changed in two ways");
        section.reader.report(&section.at, message, "keep one of them");
    }
    let (unwrap, wrap) = (unwrap?, wrap?);
    if all.is_empty() && unwrap.is_none() && wrap.is_none() {
        section.reader.report(
            &section.at,
            "changes nothing",
            "write what is changed, or remove it",
        );
    }
    Some(JsonChanges { max: max?, unwrap, remove, rename, set, wrap })
}

fn pointer(field: &Field<'_>) -> Option<String> {
    field.parsed(|text| is_inside(text).then(|| text.to_owned()))
}

/// A pointer to something within a document.
fn is_inside(text: &str) -> bool {
    scalar::is_pointer(text) && !text.is_empty()
}

fn pairs(section: &Section<'_>, key: &'static str) -> Option<BTreeMap<String, String>> {
    let pairs = section.read(key, Field::columns)?;
    for Located { value: (pointer, _), at } in &pairs {
        if !is_inside(pointer) {
            let message = format!("{pointer:?} is not a JSON pointer");
            section.reader.report(at, message, "write for example \"/data/name\"");
        }
    }
    Some(values(pairs).into_iter().collect())
}
