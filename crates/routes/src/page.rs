//! The page `docs/routes.md`: every key of `routes.toml`, made from the same table as the reader.

use std::fmt::Write;

use crate::shape::{FILE, Key, Kind, Presence, Shape};

const INTRODUCTION: &str = "\
# Keys of routes.toml

Made by `ficus schema --markdown` from the table of keys that the reader uses; do not edit it by hand.

- *Default* is what a key stands for that is not written; `required` means that it must be written.
- *Reload* is `live` where a running proxy uses a new value as soon as it has read the file again (on SIGHUP, or within
  seconds of a change of the file), and `restart` where it waits until the processes that use it start again. A file with
  one problem changes nothing.
- A text may hold `${NAME}` (a variable of the environment); a secret may be `file:PATH` (the content of a file).
";

/// The page, in Markdown: one table for each table of the file, one row for each key.
///
/// # Panics
/// Never: writing to a text does not fail.
#[must_use]
pub fn markdown() -> String {
    let mut page = INTRODUCTION.to_owned();
    section(&mut page, "", &FILE);
    page
}

fn section(page: &mut String, path: &str, shape: &Shape) {
    let title = if path.is_empty() { "The file".to_owned() } else { format!("`{path}`") };
    let heading = format!("\n## {title}\n\n{}\n\n", shape.doc);
    let head = "| key | type | default | unit | reload | example | meaning |\n|---|---|---|---|---|---|---|\n";
    page.push_str(&heading);
    page.push_str(head);
    for key in shape.keys {
        row(page, key);
    }
    let dot = if path.is_empty() { "" } else { "." };
    for key in shape.keys {
        let at = format!("{path}{dot}{}", key.name);
        if let Kind::Table(inner) = key.kind {
            section(page, &at, inner);
        } else if let Kind::Named(inner) = key.kind {
            section(page, &format!("{at}.NAME"), inner);
        } else if let Kind::Tables(inner) = key.kind {
            section(page, &format!("{at}[]"), inner);
        }
    }
}

fn row(page: &mut String, key: &Key) {
    let default = match key.presence {
        Presence::Required => "required".to_owned(),
        Presence::Optional => "none".to_owned(),
        Presence::Default(value) => code(value),
    };
    writeln!(
        page,
        "| {} | {} | {default} | {} | {} | {} | {} |",
        code(key.name),
        plain(&type_of(&key.kind)),
        unit_of(key).unwrap_or("—"),
        key.reload.as_str(),
        code(&format!("{} = {}", key.name, key.example)),
        plain(key.doc),
    )
    .expect("writing to a text does not fail");
}

/// A cell of code; a pipe would end the cell.
fn code(text: &str) -> String {
    format!("`{}`", text.replace('|', "\\|"))
}

fn plain(text: &str) -> String {
    text.replace('|', "\\|")
}

/// Type and range, for people: more exact than the noun of a message where there is more to say.
fn type_of(kind: &Kind) -> String {
    if let Kind::Count { min, max } = kind {
        if min == max {
            format!("the integer {min}")
        } else {
            format!("integer from {min} to {max}")
        }
    } else if let Kind::Choice(words) = kind {
        let words: Vec<String> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
        words.join(" or ")
    } else if let Kind::Duration { zero } = kind {
        format!("duration{}", if *zero { ", may be zero" } else { " above zero" })
    } else if let Kind::List { of, min } = kind {
        let least = if *min == 0 { String::new() } else { format!(", at least {min}") };
        format!("list{least}: {}", type_of(of))
    } else if let Kind::Table(_) = kind {
        "table, see below".to_owned()
    } else if let Kind::Named(_) = kind {
        "tables by name, see below".to_owned()
    } else if let Kind::Tables(_) = kind {
        "list of tables, see below".to_owned()
    } else {
        kind.noun().to_owned()
    }
}

/// The unit of a value; `None` for what is not a quantity.
pub(crate) fn unit_of(key: &Key) -> Option<&'static str> {
    fn of_kind(kind: &Kind) -> Option<&'static str> {
        if let Kind::List { of, .. } = kind {
            return of_kind(of);
        }
        let units = [
            (matches!(kind, Kind::Duration { .. }), "ms, s, m, h or d, written with it"),
            (matches!(kind, Kind::Size), "B, KiB, MiB or GiB, written with it"),
            (matches!(kind, Kind::Percent), "%, written with it"),
        ];
        units.into_iter().find_map(|(is_it, unit)| is_it.then_some(unit))
    }
    key.unit.or_else(|| of_kind(&key.kind))
}

#[cfg(test)]
mod tests;
