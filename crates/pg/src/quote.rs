//! Quoting of names and values for SQL text. A value that can be a bind parameter should be one.

/// The name as a quoted identifier: always in double quotes, so that case and keywords survive.
#[must_use]
pub fn quote_ident(name: &str) -> String {
    let mut quoted = String::with_capacity(name.len() + 2);
    quoted.push('"');
    for character in name.chars() {
        if character == '"' {
            quoted.push('"');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}

/// The text as a string literal that means the same with `standard_conforming_strings` on and off.
///
/// Not for replication commands: their grammar knows no `E''` strings.
#[must_use]
pub fn quote_literal(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 3);
    if text.contains('\\') {
        // The space keeps the prefix apart from a word that stands before it.
        quoted.push_str(" E");
    }
    quoted.push('\'');
    for character in text.chars() {
        if matches!(character, '\'' | '\\') {
            quoted.push(character);
        }
        quoted.push(character);
    }
    quoted.push('\'');
    quoted
}
