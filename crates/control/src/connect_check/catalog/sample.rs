//! Tables and mappings for the tests of this module.

use routes::TableMapping;

use super::super::Place;
use super::{Column, Deferrable, Table, Type, UniqueIndex};

pub(in super::super) const SOURCE: Place<'static> =
    Place { side: "source", at: "upstreams.monolith", capability: Some("tickets") };
pub(in super::super) const TARGET: Place<'static> =
    Place { side: "target", at: "upstreams.ticket", capability: Some("tickets") };

/// A table of ours. `not null` columns are written `id!`, generated ones `id=`.
pub(in super::super) fn table(name: &str, columns: &[&str]) -> Table {
    let column = |text: &&str| Column {
        name: text.trim_end_matches(['!', '=']).to_owned(),
        not_null: text.ends_with('!'),
        has_default: false,
        generated: text.ends_with('='),
        kind: Type { name: "bigint".to_owned(), builtin: true, labels: Vec::new() },
        collation: None,
    };
    Table {
        name: name.parse().expect("a table name"),
        kind: 'r',
        unlogged: false,
        identity: 'd',
        row_security: false,
        owner: "owner".to_owned(),
        is_ours: true,
        columns: columns.iter().map(column).collect(),
        unique: Vec::new(),
        deferrable: Vec::new(),
        triggers: Vec::new(),
        foreign_keys: Vec::new(),
        relatives: Vec::new(),
        odd_partitions: Vec::new(),
        invalid_indexes: Vec::new(),
    }
}

impl Table {
    pub(in super::super) fn primary(self, columns: &[&str]) -> Self {
        self.index("pkey", columns, true)
    }

    pub(in super::super) fn unique(self, name: &str, columns: &[&str]) -> Self {
        self.index(name, columns, false)
    }

    fn index(mut self, name: &str, columns: &[&str], primary: bool) -> Self {
        self.unique.push(UniqueIndex {
            name: name.to_owned(),
            columns: owned(columns),
            primary,
            is_replica_identity: false,
        });
        self
    }

    /// Gives a column another type; labels make it an enum.
    pub(in super::super) fn typed(mut self, column: &str, name: &str, labels: &[&str]) -> Self {
        let builtin = labels.is_empty();
        let kind = Type { name: name.to_owned(), builtin, labels: owned(labels) };
        for found in self.columns.iter_mut().filter(|found| found.name == column) {
            found.kind = kind.clone();
        }
        self
    }

    pub(in super::super) fn deferred(mut self, name: &str, columns: &[&str]) -> Self {
        self.deferrable.push(Deferrable {
            name: name.to_owned(),
            definition: format!("UNIQUE ({}) DEFERRABLE INITIALLY DEFERRED", columns.join(", ")),
            columns: owned(columns),
        });
        self
    }
}

pub(in super::super) fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A mapping that renames nothing.
pub(in super::super) fn mapping(source: &Table, target: &Table) -> TableMapping {
    TableMapping {
        source: source.name.clone(),
        target: target.name.clone(),
        columns: [].into(),
        omit: Vec::new(),
        filter: None,
        set: [].into(),
        reverse: [].into(),
        line: 1,
    }
}
