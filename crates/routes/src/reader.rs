//! Walks a TOML document along a [`Shape`] and collects every problem with its position.

use std::{cell::RefCell, collections::BTreeMap};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{
    Problem,
    expand::Outside,
    field::Field,
    shape::{self, Key, Kind, Presence, Shape},
    suggest::nearest,
};

/// The document being read.
pub(crate) struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    line_starts: Vec<usize>,
    pub(crate) outside: Outside<'a>,
    /// The defaults of every shape, parsed, by their text.
    defaults: BTreeMap<&'static str, Spanned<DeValue<'static>>>,
    problems: RefCell<Vec<Problem>>,
    #[cfg(test)]
    pub(crate) asked: RefCell<std::collections::BTreeSet<(&'static str, &'static str)>>,
}

/// A place in the document: byte offset and dotted key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) offset: usize,
    pub(crate) key: String,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(crate) at: At,
}

/// One table of the document, or the defaults of one that is not written.
pub(crate) struct Section<'r> {
    pub(crate) reader: &'r Reader<'r>,
    pub(crate) at: At,
    shape: &'static Shape,
    table: Option<&'r DeTable<'r>>,
}

impl At {
    pub(crate) fn child(&self, name: &str, offset: usize) -> Self {
        let key =
            if self.key.is_empty() { name.to_owned() } else { format!("{}.{name}", self.key) };
        Self { offset, key }
    }
}

impl<'a> Reader<'a> {
    pub(crate) fn new(file: &'a str, text: &'a str, outside: Outside<'a>) -> Self {
        let line_starts =
            std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self {
            file,
            text,
            line_starts,
            outside,
            defaults: parsed_defaults(),
            problems: RefCell::default(),
            #[cfg(test)]
            asked: RefCell::default(),
        }
    }

    /// 1-based line of an offset.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    pub(crate) fn report(&self, at: &At, message: impl Into<String>, remedy: impl Into<String>) {
        let line = self.line(at.offset);
        let start = self.line_starts.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let before = self.text.get(start..at.offset).unwrap_or_default();
        self.problems.borrow_mut().push(Problem {
            file: self.file.to_owned(),
            line,
            column: before.chars().count() + 1,
            key: at.key.clone(),
            message: message.into(),
            remedy: remedy.into(),
        });
    }

    /// Everything reported, in the order of the file, each once.
    pub(crate) fn take_problems(&self) -> Vec<Problem> {
        let mut problems = self.problems.take();
        problems.sort();
        problems.dedup();
        problems
    }
}

impl<'r> Section<'r> {
    /// Opens a table and reports its unknown keys.
    pub(crate) fn open(
        reader: &'r Reader<'r>,
        at: At,
        shape: &'static Shape,
        table: Option<&'r DeTable<'r>>,
    ) -> Self {
        let section = Self { reader, at, shape, table };
        for (key, _) in table.into_iter().flatten() {
            let known = || shape.keys.iter().map(|key| key.name);
            if known().any(|name| name == key.get_ref().as_ref()) {
                continue;
            }
            let remedy = nearest(key.get_ref(), known()).map_or_else(
                || format!("this table knows {}", known().collect::<Vec<_>>().join(", ")),
                |meant| format!("did you mean {meant}?"),
            );
            let at = section.at.child(key.get_ref(), key.span().start);
            reader.report(&at, "unknown key", remedy);
        }
        section
    }

    /// Position of a key's value, or of the table when the key is not written.
    pub(crate) fn at(&self, name: &str) -> At {
        let written = self.table.and_then(|table| table.get(name));
        self.at.child(name, written.map_or(self.at.offset, |value| value.span().start))
    }

    pub(crate) fn line(&self) -> usize {
        self.reader.line(self.at.offset)
    }

    /// Whether a key has a value that is not an empty list.
    pub(crate) fn is_written(&self, name: &str) -> bool {
        match self.written(name) {
            Some(DeValue::Array(array)) => !array.is_empty(),
            Some(_) => true,
            None => false,
        }
    }

    /// Reads a value that is written, or else its default. `None` after a problem.
    pub(crate) fn read<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&Field<'r>) -> Option<T>,
    ) -> Option<T> {
        let key = self.key(name);
        let at = self.at(name);
        if let Some(value) = self.written(name) {
            let field = Field::new(self.reader, at, &key.kind, value);
            return match key.presence {
                Presence::Default(default) => read(&field.with_default(default, false)),
                Presence::Required | Presence::Optional => read(&field),
            };
        }
        match key.presence {
            Presence::Default(text) => {
                let value = self.reader.defaults.get(text).expect("the walk met every default");
                let field = Field::new(self.reader, at, &key.kind, value.get_ref());
                read(&field.with_default(text, true))
            }
            Presence::Required | Presence::Optional => {
                let remedy = format!("write for example {name} = {}", key.kind.full_example());
                self.reader.report(&at, "is missing", remedy);
                None
            }
        }
    }

    /// Reads a value that may be left out: `Some(None)` when it is. `None` after a problem.
    pub(crate) fn read_optional<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&Field<'r>) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.written(name) {
            Some(_) => self.read(name, read).map(Some),
            None => Some(None),
        }
    }

    /// Opens a table under a key of this one; its defaults when it is not written.
    pub(crate) fn table(&self, name: &'static str) -> Option<Self> {
        let Kind::Table(shape) = self.key(name).kind else { return None };
        let at = self.at(name);
        match self.written(name) {
            None => Some(Self::open(self.reader, at, shape, None)),
            Some(DeValue::Table(table)) => Some(Self::open(self.reader, at, shape, Some(table))),
            Some(other) => {
                Field::new(self.reader, at, &self.key(name).kind, other).report_mismatch();
                None
            }
        }
    }

    /// Opens a table that may be left out: `Some(None)` when it is. `None` after a problem.
    pub(crate) fn optional_table(&self, name: &'static str) -> Option<Option<Self>> {
        match self.written(name) {
            Some(_) => self.table(name).map(Some),
            None => Some(None),
        }
    }

    /// Opens every `[[name]]` under this table.
    pub(crate) fn tables(&self, name: &'static str) -> Vec<Self> {
        let kind = &self.key(name).kind;
        let (Kind::Tables(shape), Some(value)) = (kind, self.written(name)) else {
            return Vec::new();
        };
        let DeValue::Array(array) = value else {
            Field::new(self.reader, self.at(name), kind, value).report_mismatch();
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (index, element) in array.iter().enumerate() {
            let at = self.at.child(&format!("{name}[{index}]"), element.span().start);
            if let DeValue::Table(table) = element.get_ref() {
                sections.push(Self::open(self.reader, at, shape, Some(table)));
            } else {
                Field::new(self.reader, at, kind, element.get_ref()).report_mismatch();
            }
        }
        sections
    }

    /// Opens every `[name.KEY]` under this table.
    pub(crate) fn named(&self, name: &'static str) -> BTreeMap<String, Self> {
        let kind = &self.key(name).kind;
        let (Kind::Named(shape), Some(value)) = (kind, self.written(name)) else {
            return BTreeMap::new();
        };
        let DeValue::Table(tables) = value else {
            Field::new(self.reader, self.at(name), kind, value).report_mismatch();
            return BTreeMap::new();
        };
        let mut sections = BTreeMap::new();
        for (key, element) in tables {
            let at = self.at(name).child(key.get_ref(), element.span().start);
            if !crate::scalar::is_name(key.get_ref()) {
                let message = format!("{:?} is not {}", key.get_ref(), Kind::Name.noun());
                let at = At { offset: key.span().start, ..at.clone() };
                self.reader.report(&at, message, "write for example [capabilities.tickets]");
            }
            if let DeValue::Table(table) = element.get_ref() {
                let section = Self::open(self.reader, at, shape, Some(table));
                sections.insert(key.get_ref().clone().into_owned(), section);
            } else {
                Field::new(self.reader, at, kind, element.get_ref()).report_mismatch();
            }
        }
        sections
    }

    fn written(&self, name: &str) -> Option<&'r DeValue<'r>> {
        self.table.and_then(|table| table.get(name)).map(Spanned::get_ref)
    }

    fn key(&self, name: &'static str) -> &'static Key {
        #[cfg(test)]
        self.reader.asked.borrow_mut().insert((self.shape.doc, name));
        let key = self.shape.keys.iter().find(|key| key.name == name);
        key.expect("only keys of the shape are read")
    }
}

fn parsed_defaults() -> BTreeMap<&'static str, Spanned<DeValue<'static>>> {
    let keys = shape::all().into_iter().flat_map(|shape| shape.keys);
    let texts = keys.filter_map(|key| match key.presence {
        Presence::Default(text) => Some(text),
        Presence::Required | Presence::Optional => None,
    });
    texts.map(|text| (text, DeValue::parse(text).expect("the defaults are TOML"))).collect()
}
