//! The qualified name of a table, as it is written in configuration and SQL.

use std::{fmt, iter::Peekable, str::Chars, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::quote_ident;

/// Bytes that PostgreSQL keeps of a name; it cuts longer ones silently, we refuse them.
const NAME_BYTES_MAX: usize = 63;

/// Words that PostgreSQL does not take as a table's name without quotes (its reserved keywords).
const RESERVED: &str = " all analyse analyze and any array as asc asymmetric authorization binary \
    both case cast check collate collation column concurrently constraint create cross \
    current_catalog current_date current_role current_schema current_time current_timestamp \
    current_user default deferrable desc distinct do else end except false fetch for foreign \
    freeze from full grant group having ilike in initially inner intersect into is isnull join \
    lateral leading left like limit localtime localtimestamp natural not notnull null offset on \
    only or order outer overlaps placing primary references returning right select session_user \
    similar some symmetric system_user table tablesample then to trailing true union unique user \
    using variadic verbose when where window with ";

/// A table's schema and name, exactly as the catalog holds them.
///
/// The text form follows SQL: `public.ticket`, `public."Ticket"`; unquoted letters fold to lower
/// case, and the schema must be there, because a search path has no place in a configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    /// The schema, unquoted.
    pub schema: String,
    /// The table, unquoted.
    pub name: String,
}

/// Why a text is not a [`TableName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseTableNameError {
    /// There is no schema, or there are more than two parts.
    #[error("{text:?} is not schema.table, write it like public.ticket")]
    NotTwoParts {
        /// The text as it was given.
        text: String,
    },
    /// A character that needs quotes, or quotes that do not match.
    #[error("{text:?} is not a plain name, put the part in double quotes")]
    NeedsQuotes {
        /// The text as it was given.
        text: String,
    },
    /// A part is empty, holds a NUL or is longer than 63 bytes.
    #[error("{part:?} cannot be a name in PostgreSQL, use 1 to 63 bytes without NUL")]
    NotAName {
        /// The part that is no name.
        part: String,
    },
}

impl TableName {
    /// The name from its two unquoted parts, as the catalog gives them.
    #[must_use]
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self { schema: schema.into(), name: name.into() }
    }

    /// The name for SQL text, both parts quoted: `"public"."ticket"`.
    #[must_use]
    pub fn quoted(&self) -> String {
        format!("{}.{}", quote_ident(&self.schema), quote_ident(&self.name))
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_part(&self.schema, f)?;
        f.write_str(".")?;
        fmt_part(&self.name, f)
    }
}

fn fmt_part(part: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut characters = part.chars();
    let is_plain =
        characters.next().is_some_and(|first| first.is_ascii_lowercase() || first == '_')
            && characters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            && !RESERVED.contains(&format!(" {part} "));
    if is_plain { f.write_str(part) } else { f.write_str(&quote_ident(part)) }
}

impl FromStr for TableName {
    type Err = ParseTableNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut rest = text.chars().peekable();
        let schema = parse_part(&mut rest, text)?;
        if rest.next() != Some('.') {
            return Err(ParseTableNameError::NotTwoParts { text: text.to_owned() });
        }
        let name = parse_part(&mut rest, text)?;
        if rest.next().is_some() {
            return Err(ParseTableNameError::NotTwoParts { text: text.to_owned() });
        }
        Ok(Self { schema, name })
    }
}

/// Takes one name off the front and leaves the dot after it.
fn parse_part(rest: &mut Peekable<Chars<'_>>, text: &str) -> Result<String, ParseTableNameError> {
    let part = if rest.next_if_eq(&'"').is_some() { parse_quoted(rest) } else { parse_plain(rest) };
    let part = part.ok_or_else(|| ParseTableNameError::NeedsQuotes { text: text.to_owned() })?;
    if part.is_empty() || part.len() > NAME_BYTES_MAX || part.contains('\0') {
        return Err(ParseTableNameError::NotAName { part });
    }
    Ok(part)
}

fn parse_quoted(rest: &mut Peekable<Chars<'_>>) -> Option<String> {
    let mut part = String::new();
    loop {
        match rest.next()? {
            '"' if rest.next_if_eq(&'"').is_some() => part.push('"'),
            '"' => return Some(part),
            character => part.push(character),
        }
    }
}

fn parse_plain(rest: &mut Peekable<Chars<'_>>) -> Option<String> {
    let mut part = String::new();
    while let Some(character) = rest.next_if(|&character| character != '.') {
        let may_start = character.is_alphabetic() || character == '_';
        let may_follow = character.is_ascii_digit() || character == '$';
        if !may_start && (part.is_empty() || !may_follow) {
            return None;
        }
        part.push(character.to_ascii_lowercase());
    }
    Some(part)
}

impl Serialize for TableName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TableName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
