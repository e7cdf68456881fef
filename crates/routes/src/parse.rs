//! From the text of a `routes.toml` to a [`Config`], or to everything that is wrong with it.
//!
//! ```text
//! text ──toml──> document ──Reader along Shape──> sections ──compile──> Draft ──check──> Config
//! ```
//!
//! Problems are collected all the way; there is a [`Config`] only when there are none.

use std::{hash::Hasher, io, path::Path};

use siphasher::sip128::{Hasher128, SipHasher13};
use toml::de::{DeTable, DeValue};

use crate::{
    Config, Problem, check,
    compile::{self, Draft},
    expand::Outside,
    reader::{At, Reader, Section},
    shape,
};

impl Config {
    /// Compiles a configuration. `env` looks up `${NAME}`, `read_file` reads `file:` secrets; a
    /// relative path reaches it as it is written.
    ///
    /// # Errors
    ///
    /// Every problem of the file, in the order of their positions. A file that is not TOML has its
    /// syntax errors only.
    pub fn parse(
        file_name: &str,
        text: &str,
        env: &dyn Fn(&str) -> Option<String>,
        read_file: &dyn Fn(&Path) -> io::Result<String>,
    ) -> Result<Self, Vec<Problem>> {
        let outside =
            Outside { env, read_file: Some(read_file), read_gateway_file: Some(read_file) };
        parse(&Reader::new(file_name, text, outside), text)
    }

    /// Compiles a configuration for a process that only explains the
    /// file: secrets stay as they are written (`${NAME}`), and their variables need not be set.
    ///
    /// # Errors
    ///
    /// As [`Config::parse`].
    pub fn parse_without_secrets(
        file_name: &str,
        text: &str,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<Problem>> {
        let outside = Outside { env, read_file: None, read_gateway_file: None };
        parse(&Reader::new(file_name, text, outside), text)
    }

    /// Compiles a configuration for a proxy: the secrets it uses itself (of issuers, introspections and
    /// the identity) are read, those of databases stay as they are written.
    ///
    /// # Errors
    ///
    /// As [`Config::parse`].
    pub fn parse_for_proxy(
        file_name: &str,
        text: &str,
        env: &dyn Fn(&str) -> Option<String>,
        read_file: &dyn Fn(&Path) -> io::Result<String>,
    ) -> Result<Self, Vec<Problem>> {
        let outside = Outside { env, read_file: None, read_gateway_file: Some(read_file) };
        parse(&Reader::new(file_name, text, outside), text)
    }
}

pub(crate) fn parse(reader: &Reader<'_>, text: &str) -> Result<Config, Vec<Problem>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        report_syntax(reader, error);
    }
    if !errors.is_empty() {
        return Err(reader.take_problems());
    }
    let draft = compile(reader, document.get_ref());
    let problems = reader.take_problems();
    if !problems.is_empty() {
        return Err(problems);
    }
    let config = draft.into_config(digest(document.get_ref()));
    Ok(config.expect("what has no problems is complete"))
}

fn compile<'r>(reader: &'r Reader<'r>, document: &'r DeTable<'r>) -> Draft {
    let root = At { offset: 0, key: String::new() };
    let file = Section::open(reader, root, &shape::FILE, Some(document));
    let draft = compile::file(&file);
    check::all(reader, &draft);
    draft
}

fn report_syntax(reader: &Reader<'_>, error: &toml::de::Error) {
    let offset = error.span().map_or(0, |span| span.start);
    let remedy = match error.message() {
        "duplicate key" => "keep one of them",
        _ => "correct the TOML here",
    };
    let message = error.message().replace('\n', ", ");
    reader.report(&At { offset, key: String::new() }, message, remedy);
}

/// Hash of what the file says: comments, order of keys, layout and the environment left out, so that
/// two processes with different environments agree and no secret is hashed.
fn digest(document: &DeTable<'_>) -> String {
    let mut hasher = SipHasher13::new();
    hash_table(document, &mut hasher);
    let hash = hasher.finish128();
    format!("{:016x}{:016x}", hash.h1, hash.h2)
}

fn hash_table(table: &DeTable<'_>, hasher: &mut SipHasher13) {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by(|(a, _), (b, _)| a.get_ref().cmp(b.get_ref()));
    write_count(entries.len(), hasher);
    for (key, value) in entries {
        hash_text(b'k', key.get_ref(), hasher);
        hash_value(value.get_ref(), hasher);
    }
}

fn hash_value(value: &DeValue<'_>, hasher: &mut SipHasher13) {
    match value {
        DeValue::String(text) => hash_text(b's', text, hasher),
        DeValue::Integer(integer) => hash_text(b'i', &integer.to_string(), hasher),
        DeValue::Float(float) => hash_text(b'f', float.as_str(), hasher),
        DeValue::Boolean(boolean) => hash_text(b'b', &boolean.to_string(), hasher),
        DeValue::Datetime(datetime) => hash_text(b'd', &datetime.to_string(), hasher),
        DeValue::Array(array) => {
            hasher.write_u8(b'a');
            write_count(array.len(), hasher);
            for element in array {
                hash_value(element.get_ref(), hasher);
            }
        }
        DeValue::Table(table) => {
            hasher.write_u8(b't');
            hash_table(table, hasher);
        }
    }
}

fn hash_text(kind: u8, text: &str, hasher: &mut SipHasher13) {
    hasher.write_u8(kind);
    write_count(text.len(), hasher);
    hasher.write(text.as_bytes());
}

/// The same bytes on every machine.
fn write_count(count: usize, hasher: &mut SipHasher13) {
    hasher.write(&u64::try_from(count).unwrap_or(u64::MAX).to_le_bytes());
}

#[cfg(test)]
mod tests;
