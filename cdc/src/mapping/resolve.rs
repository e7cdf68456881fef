//! Resolves a mapping in either direction. Reports every problem, not the first.

use std::collections::BTreeSet;

use routes::TableMapping;

use super::{
    Assignment, BinaryType, Expression, KeyColumn, MappingError, Problem, ReadColumn, TablePlan,
    Value,
};
use crate::catalog::{Column, Identity, Table};

/// What to make of source columns that the mapping does not mention and the target does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// An error: the table moves, and a forgotten column would be lost with it.
    EveryColumn,
    /// Left out: the table stays with the monolith, the service reads what it needs.
    Projection,
}

struct Resolver<'a> {
    mapping: &'a TableMapping,
    source: &'a Table,
    target: &'a Table,
    problems: Vec<Problem>,
}

/// The plan from the source table into the target table.
///
/// # Errors
/// Everything that does not fit.
pub(crate) fn resolve_forward(
    mapping: &TableMapping,
    source: &Table,
    target: &Table,
    strictness: Strictness,
) -> Result<TablePlan, MappingError> {
    let mut resolver = Resolver { mapping, source, target, problems: Vec::new() };
    resolver.check_heirs();
    resolver.check_names();
    if strictness == Strictness::EveryColumn {
        resolver.check_every_source_column_is_accounted_for();
    }
    let mut columns = read_columns(source);
    let mut assignments = Vec::new();
    for column in target.columns.iter().filter(|column| !column.generated) {
        if let Some(text) = mapping.set.get(&column.name) {
            let value = Value::Sql(Expression::new(text, &columns));
            assignments.push(assignment(column, value, false));
        } else if let Some(index) = resolver.source_of(&column.name, &columns) {
            assignments.push(assignment(column, Value::Column(index), false));
        } else if resolver.is_generated_at_source(&column.name) {
            resolver.target_problem(
                &column.name,
                "the source generates it and its log does not hold it: generate it here too, or give \
                 its expression in `set`",
            );
        } else if column.not_null && !column.has_default {
            resolver.target_problem(
                &column.name,
                "nothing gives it a value and it may not be null: name its source in `columns` or an \
                 expression in `set`",
            );
        }
    }
    settle_casts(&mut columns, &assignments);
    let key = resolver.key(source, target, &columns, &assignments);
    resolver.check_identities(source, target, &columns, &assignments);
    let filter = mapping.filter.as_deref().map(|text| Expression::new(text, &columns));
    resolver.finish(TablePlan {
        source: source.name.clone(),
        read: source.name.clone(),
        write: target.name.clone(),
        columns,
        key,
        assignments,
        filter,
        left_home: None,
        strictness,
    })
}

/// The plan from the target table back into the source table.
///
/// # Errors
/// Everything that does not fit; above all source columns for which there is no way back.
pub(crate) fn resolve_reverse(
    mapping: &TableMapping,
    source: &Table,
    target: &Table,
) -> Result<TablePlan, MappingError> {
    let mut resolver = Resolver { mapping, source, target, problems: Vec::new() };
    resolver.check_heirs();
    resolver.check_names();
    let mut columns = read_columns(target);
    let mut assignments = Vec::new();
    for column in source.columns.iter().filter(|column| !column.generated) {
        if let Some(text) = mapping.reverse.get(&column.name) {
            let value = Value::Sql(Expression::new(text, &columns));
            let insert_only = resolver.is_omitted(&column.name);
            assignments.push(assignment(column, value, insert_only));
        } else if let Some(index) = resolver.target_of(&column.name, &columns) {
            assignments.push(assignment(column, Value::Column(index), false));
        } else if resolver.is_set_from(&column.name) {
            resolver.source_problem(
                &column.name,
                "an expression of `set` uses it and there is no way back: give its value in `reverse`",
            );
        } else if column.not_null && !column.has_default {
            resolver.source_problem(
                &column.name,
                "it is omitted, may not be null and has no default: a row that the service adds needs \
                 its value in `reverse`",
            );
        }
    }
    settle_casts(&mut columns, &assignments);
    let key = resolver.key(target, source, &columns, &assignments);
    resolver.check_identities(target, source, &columns, &assignments);
    resolver.finish(TablePlan {
        source: source.name.clone(),
        read: target.name.clone(),
        write: source.name.clone(),
        columns,
        key,
        assignments,
        filter: None,
        left_home: mapping.filter.clone(),
        strictness: Strictness::EveryColumn,
    })
}

impl Resolver<'_> {
    fn finish(self, plan: TablePlan) -> Result<TablePlan, MappingError> {
        if self.problems.is_empty() {
            Ok(plan)
        } else {
            Err(MappingError { problems: self.problems })
        }
    }

    /// Rows of an heir are seen through the table and change without it.
    fn check_heirs(&mut self) {
        for table in [self.source, self.target].into_iter().filter(|table| table.has_heirs) {
            self.table_problem(
                table,
                "other tables inherit from it: end that with ALTER TABLE ... NO INHERIT, or make it a \
                 partitioned table",
            );
        }
    }

    /// Every name in the mapping must exist where it is looked for.
    fn check_names(&mut self) {
        let mapping = self.mapping;
        let source_names =
            mapping.columns.keys().chain(&mapping.omit).chain(mapping.reverse.keys());
        for name in source_names.collect::<BTreeSet<_>>() {
            if self.source.column(name).is_none() {
                self.source_problem(name, "the mapping names it, the table does not have it");
            }
        }
        for name in mapping.columns.values().chain(mapping.set.keys()).collect::<BTreeSet<_>>() {
            match self.target.column(name) {
                None => {
                    self.target_problem(name, "the mapping names it, the table does not have it");
                }
                Some(column) if column.generated => {
                    self.target_problem(
                        name,
                        "it is generated and can not be written: leave it out",
                    );
                }
                Some(_) => {}
            }
        }
        for (from, to) in &mapping.columns {
            if mapping.omit.contains(from) {
                self.source_problem(from, &format!("it is both omitted and renamed to {to}"));
            }
        }
    }

    fn check_every_source_column_is_accounted_for(&mut self) {
        let source = self.source;
        for column in source.columns.iter().filter(|column| !column.generated) {
            let name = column.name.as_str();
            let has_place = self.mapping.columns.contains_key(name)
                || self.target.column(name).is_some()
                || self.mapping.omit.iter().any(|omitted| omitted == name)
                || self.mapping.reverse.contains_key(name)
                || self.is_set_from(name);
            if !has_place {
                let what = format!(
                    "{} has no such column: rename it in `columns` or list it in `omit`",
                    self.target.name
                );
                self.source_problem(name, &what);
            }
        }
    }

    /// The read column that a target column takes its value from when no expression gives it.
    fn source_of(&self, target: &str, columns: &[ReadColumn]) -> Option<usize> {
        let renamed = self.mapping.columns.iter().find(|(_, to)| *to == target);
        let source = renamed.map_or(target, |(from, _)| from.as_str());
        let keeps_its_name = renamed.is_some()
            || !(self.mapping.columns.contains_key(source)
                || self.mapping.omit.iter().any(|omitted| omitted == source));
        keeps_its_name.then(|| position(columns, source)).flatten()
    }

    /// Whether the source column that a target column would take its value from is generated.
    fn is_generated_at_source(&self, target: &str) -> bool {
        let renamed = self.mapping.columns.iter().find(|(_, to)| *to == target);
        let source = renamed.map_or(target, |(from, _)| from.as_str());
        let is_omitted = self.mapping.omit.iter().any(|omitted| omitted == source);
        !is_omitted && self.source.column(source).is_some_and(|column| column.generated)
    }

    /// A column that is `GENERATED ALWAYS AS IDENTITY` where it is written can not follow one that
    /// changes. One that is the same where it is read does not change, nor do most keys.
    fn check_identities(
        &mut self,
        read: &Table,
        write: &Table,
        columns: &[ReadColumn],
        assignments: &[Assignment],
    ) {
        for each in assignments.iter().filter(|each| is_always(write, &each.column)) {
            let Value::Column(index) = each.value else { continue };
            let from = columns.get(index).map_or("", |column| column.name.as_str());
            if is_always(read, from) || write.is_unique(&[&each.column]) {
                continue;
            }
            self.problems.push(Problem {
                table: write.name.clone(),
                column: Some(each.column.clone()),
                what: format!(
                    "it is GENERATED ALWAYS AS IDENTITY and can not follow changes of {from}: ALTER \
                     TABLE {} ALTER {} SET GENERATED BY DEFAULT",
                    write.name.quoted(),
                    pg::quote_ident(&each.column)
                ),
            });
        }
    }

    /// The read column that a source column gets its value back from.
    fn target_of(&self, source: &str, columns: &[ReadColumn]) -> Option<usize> {
        if self.mapping.omit.iter().any(|omitted| omitted == source) {
            return None;
        }
        let target = self.mapping.columns.get(source).map_or(source, String::as_str);
        let taken_by_another =
            self.mapping.columns.iter().any(|(from, to)| to == target && from != source);
        if self.mapping.set.contains_key(target) || taken_by_another {
            return None;
        }
        position(columns, target)
    }

    /// Whether the target does not hold this source column in any form.
    fn is_omitted(&self, source: &str) -> bool {
        self.mapping.omit.iter().any(|omitted| omitted == source)
            || !(self.is_set_from(source)
                || self.mapping.columns.contains_key(source)
                || self.target.column(source).is_some())
    }

    fn is_set_from(&self, source: &str) -> bool {
        let names =
            |text: &String| super::expression::identifiers(text).iter().any(|n| n == source);
        self.mapping.set.values().any(names)
    }

    fn key(
        &mut self,
        read: &Table,
        write: &Table,
        columns: &[ReadColumn],
        assignments: &[Assignment],
    ) -> Vec<KeyColumn> {
        let names = match &read.identity {
            Identity::Columns(names) => names.clone(),
            Identity::Full => direct_unique_index(write, columns, assignments).unwrap_or_default(),
            Identity::None => Vec::new(),
        };
        if names.is_empty() {
            self.table_problem(
                read,
                "nothing identifies a row: give it a primary key, or a unique index over columns that \
                 are not null and ALTER TABLE ... REPLICA IDENTITY USING INDEX ...",
            );
            return Vec::new();
        }
        let mut key = Vec::new();
        for name in &names {
            let index = position(columns, name);
            let written = assignments.iter().find(
                |assignment| matches!(assignment.value, Value::Column(from) if Some(from) == index),
            );
            let (Some(index), Some(written)) = (index, written) else {
                self.problems.push(Problem {
                    table: read.name.clone(),
                    column: Some(name.clone()),
                    what: format!("it identifies a row and must reach {} as it is", write.name),
                });
                continue;
            };
            key.push(KeyColumn {
                read: index,
                write: written.column.clone(),
                write_type: written.write_type.clone(),
                collatable: write.column(&written.column).is_some_and(|column| column.collatable),
            });
        }
        let written: Vec<&str> = key.iter().map(|column| column.write.as_str()).collect();
        if key.len() == names.len() && !write.is_unique(&written) {
            let what = format!(
                "no unique index over ({}), which identifies a row of {}: create one",
                written.join(", "),
                read.name
            );
            self.table_problem(write, &what);
        }
        key
    }

    fn source_problem(&mut self, column: &str, what: &str) {
        let table = self.source.name.clone();
        self.problems.push(Problem {
            table,
            column: Some(column.to_owned()),
            what: what.to_owned(),
        });
    }

    fn target_problem(&mut self, column: &str, what: &str) {
        let table = self.target.name.clone();
        self.problems.push(Problem {
            table,
            column: Some(column.to_owned()),
            what: what.to_owned(),
        });
    }

    fn table_problem(&mut self, table: &Table, what: &str) {
        let table = table.name.clone();
        self.problems.push(Problem { table, column: None, what: what.to_owned() });
    }
}

fn read_columns(table: &Table) -> Vec<ReadColumn> {
    let read = |column: &Column| ReadColumn {
        name: column.name.clone(),
        cast: if column.is_builtin() { column.type_sql.clone() } else { "text".to_owned() },
        type_oid: column.type_oid,
        builtin: column.is_builtin(),
        binary: column.binary_type().map(|(sql, type_oid)| BinaryType { sql, type_oid }),
    };
    table.columns.iter().filter(|column| !column.generated).map(read).collect()
}

fn assignment(column: &Column, value: Value, insert_only: bool) -> Assignment {
    Assignment {
        column: column.name.clone(),
        write_type: column.type_sql.clone(),
        declared_type: column.declared_sql.clone(),
        write_type_oid: column.type_oid,
        write_binary: column.binary_type().map(|(_, type_oid)| type_oid),
        value,
        insert_only: insert_only || column.always_identity,
    }
}

fn is_always(table: &Table, column: &str) -> bool {
    table.column(column).is_some_and(|column| column.always_identity)
}

/// With `REPLICA IDENTITY FULL` every old value is known: the read columns behind the first unique
/// index of the written table all of whose columns are copied as they are and never null.
fn direct_unique_index(
    write: &Table,
    columns: &[ReadColumn],
    assignments: &[Assignment],
) -> Option<Vec<String>> {
    let direct = |name: &String| {
        let not_null = write.column(name).is_some_and(|column| column.not_null);
        let assignment = assignments.iter().find(|assignment| assignment.column == *name)?;
        match assignment.value {
            Value::Column(index) if not_null => {
                columns.get(index).map(|column| column.name.clone())
            }
            Value::Column(_) | Value::Sql(_) => None,
        }
    };
    write.unique.iter().find_map(|index| index.iter().map(direct).collect())
}

/// A type that is not built in may not exist where it is written: there the column's text form is
/// cast to the type of the column it goes to.
fn settle_casts(columns: &mut [ReadColumn], assignments: &[Assignment]) {
    for assignment in assignments {
        let Value::Column(index) = assignment.value else { continue };
        if let Some(column) = columns.get_mut(index)
            && !column.builtin
        {
            column.cast.clone_from(&assignment.write_type);
        }
    }
}

fn position(columns: &[ReadColumn], name: &str) -> Option<usize> {
    columns.iter().position(|column| column.name == name)
}
