//! Finds the column names in an SQL expression, well enough to know what it may depend on.

use std::{iter::Peekable, str::CharIndices};

use super::{Expression, ReadColumn};

impl Expression {
    /// An expression over a row with these columns.
    pub(crate) fn new(text: &str, columns: &[ReadColumn]) -> Self {
        let names = identifiers(text);
        let uses = columns
            .iter()
            .enumerate()
            .filter(|(_, column)| names.contains(&column.name))
            .map(|(index, _)| index)
            .collect();
        Self { text: text.to_owned(), uses }
    }
}

/// Every word of the text that could name a column: quoted names as they are, other words in lower
/// case; nothing from literals and comments.
pub(crate) fn identifiers(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut chars = text.char_indices().peekable();
    while let Some((start, first)) = chars.next() {
        match first {
            '\'' => skip_literal(&mut chars, false),
            '"' => names.push(quoted(&mut chars)),
            '-' if chars.peek().is_some_and(|(_, next)| *next == '-') => {
                while chars.next_if(|(_, c)| *c != '\n').is_some() {}
            }
            '$' => skip_dollar_literal(text, start, &mut chars),
            c if c.is_alphabetic() || c == '_' => {
                let mut name = c.to_lowercase().to_string();
                while let Some((_, c)) =
                    chars.next_if(|(_, c)| c.is_alphanumeric() || matches!(c, '_' | '$'))
                {
                    name.extend(c.to_lowercase());
                }
                match chars.peek() {
                    Some((_, '\'')) if matches!(name.as_str(), "e" | "b" | "x" | "n") => {
                        chars.next();
                        skip_literal(&mut chars, name == "e");
                    }
                    _ => names.push(name),
                }
            }
            _ => {}
        }
    }
    names
}

/// Moves past the end of a string literal whose opening quote was read. A doubled quote reads as the
/// end of one literal and the start of the next, which comes to the same.
fn skip_literal(chars: &mut Peekable<CharIndices<'_>>, escapes: bool) {
    while let Some((_, c)) = chars.next() {
        match c {
            '\'' => return,
            '\\' if escapes => drop(chars.next()),
            _ => {}
        }
    }
}

fn quoted(chars: &mut Peekable<CharIndices<'_>>) -> String {
    let mut name = String::new();
    while let Some((_, c)) = chars.next() {
        if c != '"' {
            name.push(c);
        } else if chars.next_if(|(_, next)| *next == '"').is_some() {
            name.push('"');
        } else {
            break;
        }
    }
    name
}

/// Moves past `$tag$ ... $tag$` whose first `$` stood at `start`; does nothing for another `$`.
fn skip_dollar_literal(text: &str, start: usize, chars: &mut Peekable<CharIndices<'_>>) {
    let rest = text.get(start + 1..).unwrap_or_default();
    let Some(tag) = rest.find('$').and_then(|end| rest.get(..end)) else { return };
    if !tag.chars().all(|c| c.is_alphanumeric() || c == '_') {
        return;
    }
    let body = start + tag.len() + 2;
    let closing = format!("${tag}$");
    let end = text
        .get(body..)
        .and_then(|rest| rest.find(&closing))
        .map_or(text.len(), |place| body + place + closing.len());
    while chars.next_if(|(place, _)| *place < end).is_some() {}
}
