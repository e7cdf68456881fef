//! Checks a value against its kind alone: for the examples, which stand outside any document.

use toml::de::DeValue;

use super::Field;
use crate::{
    reader::{At, Reader, Section},
    scalar,
    shape::{Kind, Shape},
};

/// Reports every way in which a value is not of its kind. Keys that are missing are no fault here: an
/// example of a table shows a part of it.
pub(crate) fn check<'r>(
    reader: &'r Reader<'r>,
    at: &At,
    kind: &'static Kind,
    value: &'r DeValue<'r>,
) {
    let field = Field::new(reader, at.clone(), kind, value);
    match (kind, value) {
        (Kind::Table(shape), DeValue::Table(_)) => members(reader, at, shape, value),
        (Kind::Tables(shape), DeValue::Array(tables)) => {
            for table in tables {
                members(reader, at, shape, table.get_ref());
            }
        }
        (Kind::Named(shape), DeValue::Table(tables)) => {
            for (_, table) in tables {
                members(reader, at, shape, table.get_ref());
            }
        }
        (Kind::Table(_) | Kind::Tables(_) | Kind::Named(_), _) => field.report_mismatch(),
        _ => {
            let _read = is_readable(&field, kind);
        }
    }
}

fn members<'r>(reader: &'r Reader<'r>, at: &At, shape: &'static Shape, value: &'r DeValue<'r>) {
    let DeValue::Table(table) = value else { return reader.report(at, "is no table", "write one") };
    let _unknown_keys_are_reported = Section::open(reader, at.clone(), shape, Some(table));
    for (name, member) in table {
        if let Some(key) = shape.keys.iter().find(|key| key.name == name.get_ref().as_ref()) {
            check(reader, &at.child(key.name, 0), &key.kind, member.get_ref());
        }
    }
}

fn is_readable(field: &Field<'_>, kind: &'static Kind) -> Option<()> {
    let done = |_| ();
    match kind {
        Kind::Text => field.text().map(|_| ()),
        Kind::Secret => field.secret().map(|_| ()),
        Kind::Address => field.parsed(|text| text.parse::<std::net::SocketAddr>().ok()).map(|_| ()),
        Kind::Network => field.parsed(scalar::network).map(|_| ()),
        Kind::Name => field.parsed(|text| scalar::is_name(text).then_some(())),
        Kind::TableName => field.parsed(|text| text.parse::<pg::TableName>().ok()).map(|_| ()),
        Kind::Duration { .. } => field.duration().map(|_| ()),
        Kind::Size => field.parsed(scalar::size).map(|_| ()),
        Kind::Switch => field.switch().map(|_| ()),
        Kind::Choice(words) => field.parsed(|text| words.contains(&text).then_some(())),
        Kind::Percent => field.parsed(scalar::percent).map(|_| ()),
        Kind::Fraction => field.number(0.0, 1.0).map(done),
        Kind::Ratio => field.number(1.0, 1000.0).map(done),
        Kind::Count { .. } => field.count().map(|_| ()),
        Kind::Effect => field.parsed(scalar::effect).map(|_| ()),
        Kind::Match => {
            field.parsed_or(|text| scalar::route_match(text).map_err(ToOwned::to_owned)).map(|_| ())
        }
        Kind::Version => field.parsed(|text| scalar::version(text).then_some(())),
        Kind::Subject => field.parsed(scalar::subject).map(|_| ()),
        Kind::Balance => field.parsed(crate::Balance::parse).map(|_| ()),
        Kind::UrlPath => field.parsed(|text| scalar::is_url_path(text).then_some(())),
        Kind::Pointer => field.parsed(|text| scalar::is_pointer(text).then_some(())),
        Kind::Unordered => field.parsed(scalar::unordered).map(|_| ()),
        Kind::List { of, .. } => field.list(|element| is_readable(element, of)).map(|_| ()),
        Kind::Columns | Kind::Pairs => field.columns().map(|_| ()),
        Kind::Url => field.parsed(|text| scalar::is_url(text).then_some(())),
        Kind::Table(_) | Kind::Tables(_) | Kind::Named(_) => None,
    }
}
