//! The schema is current, and agrees with the reader about real files.

use std::collections::BTreeSet;

use super::*;
use crate::{Config, config::sample, expand::Outside, reader::Reader, shape};

const COMPLETE: &str = include_str!("../parse/complete.toml");
const WRITTEN: &str = include_str!("../../../../docs/routes.schema.json");
const EXAMPLE: &str = include_str!("../../../../routes.toml");

/// Checks what concerns structure: types, known and required keys, bounds, words. Returns where it
/// does not fit.
fn misfits(schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    if let Some(kind) = schema["type"].as_str() {
        let fits = match kind {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_i64(),
            "boolean" => value.is_boolean(),
            "number" => value.is_number(),
            other => panic!("unknown type {other}"),
        };
        if !fits {
            found.push(format!("{at} is not {kind}"));
        }
    }
    if let Some(words) = schema["enum"].as_array().filter(|words| !words.contains(value)) {
        found.push(format!("{at} is none of {words:?}"));
    }
    if let (Some(number), Some(min)) = (value.as_f64(), schema["minimum"].as_f64())
        && !(min..=schema["maximum"].as_f64().unwrap_or(f64::MAX)).contains(&number)
    {
        found.push(format!("{at} is out of range"));
    }
    for (index, element) in value.as_array().into_iter().flatten().enumerate() {
        misfits(&schema["items"], element, &format!("{at}[{index}]"), found);
    }
    let Some(members) = value.as_object() else { return };
    for (key, member) in members {
        let at = format!("{at}.{key}");
        match (&schema["properties"][key], &schema["additionalProperties"]) {
            (Value::Null, Value::Object(_)) => {
                misfits(&schema["additionalProperties"], member, &at, found);
            }
            (Value::Null, _) => found.push(format!("{at} is unknown")),
            (property, _) => misfits(property, member, &at, found),
        }
    }
    for required in schema["required"].as_array().into_iter().flatten() {
        let key = required.as_str().expect("names are texts");
        if !members.contains_key(key) {
            found.push(format!("{at}.{key} is missing"));
        }
    }
}

fn misfits_of(text: &str) -> Vec<String> {
    let table: toml::Table = text.parse().expect("it is TOML");
    let mut found = Vec::new();
    misfits(&schema(), &serde_json::to_value(table).expect("it is JSON"), "", &mut found);
    found
}

#[test]
fn the_written_schema_is_current() {
    let current = format!("{:#}\n", schema());
    assert!(current == WRITTEN, "write this to docs/routes.schema.json:\n{current}");
}

#[test]
fn files_the_reader_accepts_fit_the_schema() {
    assert_eq!(misfits_of(COMPLETE), Vec::<String>::new());
    assert_eq!(misfits_of(EXAMPLE), Vec::<String>::new());
}

#[test]
fn what_the_schema_refuses_the_reader_refuses() {
    let cases = [
        ("version = 1", "version = 2", ".version is out of range"),
        ("admin = ", "admins = ", ".proxy.admins is unknown"),
        (
            "effect = \"read\"",
            "effect = \"none\"",
            ".capabilities.tickets.routes[1].effect is none of [String(\"read\"), String(\"write\")]",
        ),
        ("upstream = \"ticket\"", "", ".capabilities.tickets.upstream is missing"),
        (
            "sample = 0.5",
            "sample = \"1%\"",
            ".capabilities.tickets.routes[0].shadow.sample is not number",
        ),
    ];
    for (from, to, expected) in cases {
        let text = COMPLETE.replacen(from, to, 1);
        assert_eq!(misfits_of(&text), [expected]);
        assert!(sample::parse(&text).is_err(), "{to}");
    }
}

#[test]
fn every_key_of_the_schema_is_read() {
    let outside = Outside { env: &|_| None, read_file: None, read_gateway_file: None };
    let reader = Reader::new("routes.toml", COMPLETE, outside);
    crate::parse::parse(&reader, COMPLETE).expect("the file is valid");
    let declared: BTreeSet<_> = shape::all()
        .into_iter()
        .flat_map(|shape| shape.keys.iter().map(|key| (shape.doc, key.name)))
        .collect();
    assert_eq!(*reader.asked.borrow(), declared);
}

#[test]
fn the_example_file_is_accepted() {
    let env = |name: &str| name.ends_with("_URL").then(|| format!("postgres://{name}"));
    let no_file = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
    let config = Config::parse("routes.toml", EXAMPLE, &env, &no_file);
    let config = config.expect("the example is valid");
    let capability = &config.capabilities["tickets"];
    assert_eq!(capability.tables.len(), 6);
    assert_eq!(capability.references.len(), 8);
    assert_eq!(capability.routes.len(), 10);
}
