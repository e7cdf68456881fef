//! The JSON Schema of `routes.toml`, made from the same table of keys as the reader.

use serde_json::{Map, Value, json};

use crate::{
    page,
    shape::{FILE, Key, Kind, Presence, Shape},
};

/// Matches any text with a `${…}` in it, whose value is only known where the file is read.
const EXPANDED: &str = r"\$\{";

/// The JSON Schema (draft 2020-12) of the file. Editors offer keys, meanings and defaults with it.
#[must_use]
pub fn schema() -> Value {
    let mut schema = object(&FILE);
    if let Value::Object(members) = &mut schema {
        let head = [
            ("$schema", json!("https://json-schema.org/draft/2020-12/schema")),
            ("title", json!("routes.toml")),
        ];
        let rest = std::mem::take(members);
        *members = head.map(|(key, value)| (key.to_owned(), value)).into_iter().collect();
        members.extend(rest);
    }
    schema
}

fn object(shape: &Shape) -> Value {
    let properties: Map<String, Value> =
        shape.keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    let is_required = |key: &&Key| matches!(key.presence, Presence::Required);
    let required: Vec<&str> = shape.keys.iter().filter(is_required).map(|key| key.name).collect();
    json!({
        "type": "object",
        "description": shape.doc,
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn property(key: &Key) -> Value {
    let Value::Object(mut property) = value_of(&key.kind) else { return Value::Null };
    property.insert("description".to_owned(), key.doc.into());
    if let Presence::Default(text) = key.presence {
        property.insert("default".to_owned(), value_of_toml(text));
    }
    property.insert("examples".to_owned(), json!([value_of_toml(key.example)]));
    property.insert("x-reload".to_owned(), key.reload.as_str().into());
    if let Some(unit) = page::unit_of(key) {
        property.insert("x-unit".to_owned(), unit.into());
    }
    Value::Object(property)
}

fn value_of(kind: &Kind) -> Value {
    match kind {
        Kind::Text => json!({ "type": "string", "minLength": 1 }),
        Kind::Secret => json!({ "type": "string" }),
        Kind::Network => pattern(r"^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$"),
        Kind::Url => pattern("^https?://.+$"),
        Kind::Address => pattern(r"^(\[[0-9A-Fa-f:.]+\]|[0-9.]+):[0-9]{1,5}$"),
        Kind::Name => pattern("^[a-z][a-z0-9_]{0,29}$"),
        Kind::TableName => pattern(r"^.+\..+$"),
        Kind::Duration { .. } => pattern("^[0-9]+(ms|s|m|h|d)$"),
        Kind::Size => pattern("^[0-9]+(B|KiB|MiB|GiB)$"),
        Kind::Switch => json!({ "type": "boolean" }),
        Kind::Choice(words) => json!({ "enum": words }),
        Kind::Percent => pattern(r"^[0-9]+(\.[0-9]*)?%$"),
        Kind::Fraction => json!({ "type": "number", "minimum": 0, "maximum": 1 }),
        Kind::Ratio => json!({ "type": "number", "minimum": 1, "maximum": 1000 }),
        Kind::Count { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Effect => json!({ "enum": ["read", "write"] }),
        Kind::Match => pattern(r"^([A-Z-]+|\*) /[^ ?#]*$"),
        Kind::Version => pattern("^[A-Za-z0-9._-]{1,32}$"),
        Kind::Subject => pattern("^(ip|(jwt|cookie|header):.+)$"),
        Kind::Balance => pattern("^(least_loaded|subject|(header|cookie):.+)$"),
        Kind::UrlPath => pattern("^/"),
        Kind::Pointer => pattern("^(/.*)?$"),
        Kind::Unordered => pattern("^(/.*|by /.*)$"),
        Kind::List { of, min } => {
            json!({ "type": "array", "items": value_of(of), "minItems": min })
        }
        Kind::Columns | Kind::Pairs => {
            json!({ "type": "object", "additionalProperties": value_of(&Kind::Text) })
        }
        Kind::Table(shape) => object(shape),
        Kind::Tables(shape) => json!({ "type": "array", "items": object(shape) }),
        Kind::Named(shape) => json!({
            "type": "object",
            "propertyNames": { "pattern": "^[a-z][a-z0-9_]{0,29}$" },
            "additionalProperties": object(shape),
        }),
    }
}

fn pattern(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": format!("{pattern}|{EXPANDED}") })
}

fn value_of_toml(text: &str) -> Value {
    let table: toml::Table =
        format!("value = {text}").parse().expect("defaults and examples are TOML");
    serde_json::to_value(table.get("value")).expect("TOML without dates is JSON")
}

#[cfg(test)]
mod tests;
