//! The page is current and complete, and what it gives as examples is accepted.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;
use crate::{
    expand::Outside,
    reader::{At, Reader},
    shape::{self, Reload},
};

const WRITTEN: &str = include_str!("../../../../docs/routes.md");

/// Dotted paths of all keys, as the JSON Schema has them.
fn keys_of_schema(schema: &Value, path: &str, found: &mut BTreeMap<String, Value>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let at = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        found.insert(at.clone(), property.clone());
        keys_of_schema(property, &at, found);
        keys_of_schema(&property["items"], &format!("{at}[]"), found);
        keys_of_schema(&property["additionalProperties"], &format!("{at}.NAME"), found);
    }
}

/// Dotted paths of all keys, as the page has them, with the cells of their rows.
fn keys_of_page(page: &str) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    let mut path = String::new();
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            path = match title.strip_prefix('`').and_then(|title| title.strip_suffix('`')) {
                Some(title) => format!("{title}."),
                None => String::new(),
            };
        }
        let Some(row) = line.strip_prefix("| `") else { continue };
        let row = format!("`{row}").replace("\\|", "\u{1}");
        let cells: Vec<String> = row
            .trim_end_matches(" |")
            .split(" | ")
            .map(|cell| cell.replace('\u{1}', "|"))
            .collect();
        found.insert(format!("{path}{}", cells[0].trim_matches('`')), cells);
    }
    found
}

/// What is wrong with the example of one key, when it is read as the file is.
fn problems_of_example(key: &'static Key) -> Vec<String> {
    let text = format!("{} = {}", key.name, key.example);
    let outside = Outside {
        env: &|name| Some(format!("value of {name}")),
        read_file: None,
        read_gateway_file: None,
    };
    let reader = Reader::new("example", &text, outside);
    let (document, errors) = toml::de::DeTable::parse_recoverable(&text);
    let mut found: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let Some(value) = document.get_ref().get(key.name) else { return found };
    let at = At { offset: 0, key: key.name.to_owned() };
    crate::field::check(&reader, &at, &key.kind, value.get_ref());
    found.extend(reader.take_problems().iter().map(ToString::to_string));
    found
}

#[test]
fn the_written_page_is_current() {
    let current = markdown();
    assert!(
        current == WRITTEN,
        "write this to docs/routes.md (ficus schema --markdown):\n{current}"
    );
}

#[test]
fn schema_and_page_have_the_same_keys_and_every_cell_is_filled() {
    let mut schema = BTreeMap::new();
    keys_of_schema(&crate::schema(), "", &mut schema);
    let page = keys_of_page(WRITTEN);
    assert!(schema.keys().eq(page.keys()), "{:?}\n{:?}", schema.keys(), page.keys());
    assert!(schema.len() > 60, "{} keys", schema.len());
    for (key, cells) in &page {
        assert_eq!(cells.len(), 7, "{key}: {cells:?}");
        assert!(cells.iter().all(|cell| !cell.trim_matches('`').is_empty()), "{key}: {cells:?}");
        assert!(["live", "restart"].contains(&cells[4].as_str()), "{key}: {cells:?}");
    }
}

#[test]
fn every_bare_number_says_what_it_counts() {
    for key in shape::all().into_iter().flat_map(|shape| shape.keys) {
        let kind = if let Kind::List { of, .. } = key.kind { of } else { &key.kind };
        let is_number = matches!(kind, Kind::Count { .. } | Kind::Ratio | Kind::Fraction);
        assert!(!is_number || unit_of(key).is_some(), "{}: add .counting(\"…\")", key.name);
    }
}

#[test]
fn every_example_is_a_value_the_reader_accepts() {
    for shape in shape::all() {
        for key in shape.keys {
            assert_eq!(problems_of_example(key), Vec::<String>::new(), "{}", key.name);
        }
    }
}

#[test]
fn an_example_of_another_kind_is_found() {
    let wrong = [
        (Kind::Duration { zero: false }, "\"soon\""),
        (Kind::Duration { zero: false }, "\"0s\""),
        (Kind::Count { min: 1, max: 3 }, "4"),
        (Kind::Pointer, "\"data\""),
        (Kind::Choice(&["drop_slot", "keep"]), "\"hold\""),
        (Kind::List { of: &Kind::Address, min: 1 }, "[\"here\"]"),
        (Kind::Table(&FILE), "{ versions = 1 }"),
    ];
    for (kind, example) in wrong {
        let key = Key {
            name: "key",
            kind,
            presence: Presence::Optional,
            doc: "d",
            reload: Reload::Live,
            example,
            unit: None,
        };
        assert_eq!(problems_of_example(Box::leak(Box::new(key))).len(), 1, "{example}");
    }
}
