//! The shape of a table that is read: what the mapping was made for, and how it differs now. Pure.

#[cfg(test)]
mod tests;

use std::fmt;

use serde_json::{Value, json};

use crate::{
    catalog::{Identity, Table},
    mapping::TablePlan,
};

/// Columns and identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Name and type of each column, in the catalog's order, without generated ones.
    pub(crate) columns: Vec<(String, String)>,
    pub(crate) identity: Vec<String>,
}

/// One difference between two shapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ShapeChange {
    Added { column: String, declared: String },
    Dropped { column: String },
    Retyped { column: String, from: String, to: String },
    Identity { from: Vec<String>, to: Vec<String> },
}

impl Shape {
    pub(crate) fn of(table: &Table) -> Self {
        let columns = table.columns.iter().filter(|column| !column.generated);
        let identity = match &table.identity {
            Identity::Columns(names) => names.clone(),
            Identity::Full => vec!["all columns".to_owned()],
            Identity::None => Vec::new(),
        };
        Self {
            columns: columns.map(|each| (each.name.clone(), each.declared_sql.clone())).collect(),
            identity,
        }
    }

    /// As it is kept.
    pub(crate) fn to_text(&self) -> String {
        json!({ "columns": self.columns, "identity": self.identity }).to_string()
    }

    /// Reads what [`Shape::to_text`] wrote; `None` for anything else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let pair = |value: &Value| Some((text(value.get(0)?)?, text(value.get(1)?)?));
        let columns = value.get("columns")?.as_array()?.iter().map(pair).collect::<Option<_>>()?;
        let identity =
            value.get("identity")?.as_array()?.iter().map(text).collect::<Option<_>>()?;
        Some(Self { columns, identity })
    }

    /// What changed from this shape to the other one.
    pub(crate) fn changes_to(&self, now: &Self) -> Vec<ShapeChange> {
        let mut changes = Vec::new();
        for (column, declared) in &now.columns {
            match self.columns.iter().find(|(known, _)| known == column) {
                None => changes.push(ShapeChange::Added {
                    column: column.clone(),
                    declared: declared.clone(),
                }),
                Some((_, before)) if before != declared => changes.push(ShapeChange::Retyped {
                    column: column.clone(),
                    from: before.clone(),
                    to: declared.clone(),
                }),
                Some(_) => {}
            }
        }
        for (column, _) in &self.columns {
            if !now.columns.iter().any(|(known, _)| known == column) {
                changes.push(ShapeChange::Dropped { column: column.clone() });
            }
        }
        if self.identity != now.identity {
            changes.push(ShapeChange::Identity {
                from: self.identity.clone(),
                to: now.identity.clone(),
            });
        }
        changes
    }
}

impl ShapeChange {
    /// What to do about it: SQL for the table that is written, or keys of routes.toml. `written` is
    /// the name of the column there.
    pub(crate) fn remedy(&self, table: &str, written: impl Fn(&str) -> String) -> Vec<String> {
        let quoted = |column: &str| pg::quote_ident(&written(column));
        match self {
            Self::Added { column, declared } => vec![
                format!("ALTER TABLE {table} ADD COLUMN {} {declared};", quoted(column)),
                format!("or leave it behind: omit = [\"{column}\"] for the table in routes.toml"),
            ],
            Self::Dropped { column } => vec![
                format!("ALTER TABLE {table} DROP COLUMN {};", quoted(column)),
                format!("and take {column} out of columns, omit, set and reverse in routes.toml"),
            ],
            Self::Retyped { column, to, .. } => {
                let column = quoted(column);
                vec![format!(
                    "ALTER TABLE {table} ALTER COLUMN {column} TYPE {to} USING {column}::{to};"
                )]
            }
            Self::Identity { to, .. } if to.is_empty() => vec![
                "give the table that is read a primary key, or REPLICA IDENTITY USING INDEX"
                    .to_owned(),
            ],
            Self::Identity { to, .. } => {
                let columns: Vec<String> = to.iter().map(|column| quoted(column)).collect();
                vec![format!("CREATE UNIQUE INDEX ON {table} ({});", columns.join(", "))]
            }
        }
    }
}

impl fmt::Display for ShapeChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |columns: &[String]| {
            if columns.is_empty() { "nothing".to_owned() } else { columns.join(", ") }
        };
        match self {
            Self::Added { column, declared } => write!(f, "column {column} {declared} was added"),
            Self::Dropped { column } => write!(f, "column {column} was dropped"),
            Self::Retyped { column, from, to } => {
                write!(f, "column {column} was {from} and is {to}")
            }
            Self::Identity { from, to } => {
                write!(f, "rows were identified by {}, and are by {}", list(from), list(to))
            }
        }
    }
}

/// Whether a plan was resolved for the table as it is: the same columns of the same types.
pub(crate) fn is_current(plan: &TablePlan, table: &Table) -> bool {
    let now = table.columns.iter().filter(|column| !column.generated);
    plan.columns
        .iter()
        .map(|known| (&known.name, known.type_oid))
        .eq(now.map(|column| (&column.name, column.type_oid)))
}
