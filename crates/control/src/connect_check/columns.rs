//! Decides about columns: whether the mapping's names exist, whether every column has a place, and which
//! column of one side is a plain copy of which column of the other.

use std::collections::BTreeSet;

use pg::quote_ident;
use routes::TableMapping;

use super::{
    CheckFinding, Place,
    catalog::{Table, ident},
};

/// A mapping with both of its tables.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair<'a> {
    pub(super) mapping: &'a TableMapping,
    pub(super) source: &'a Table,
    pub(super) target: &'a Table,
    /// Writes move with the capability; otherwise the table is only copied.
    pub(super) moves: bool,
    pub(super) at_source: Place<'a>,
    pub(super) at_target: Place<'a>,
}

impl Pair<'_> {
    /// The target column that is a plain copy of a source column.
    pub(super) fn target_of(&self, source: &str) -> Option<String> {
        let mapping = self.mapping;
        // generated values are not in the log
        let is_generated = self.source.column(source).is_some_and(|column| column.generated);
        if is_generated || mapping.omit.iter().any(|omitted| omitted == source) {
            return None;
        }
        let renamed = mapping.columns.get(source).map(String::as_str);
        let target = renamed.unwrap_or(source);
        let is_another_s = renamed.is_none() && mapping.columns.values().any(|to| to == target);
        if is_another_s || mapping.set.contains_key(target) {
            return None;
        }
        self.target.column(target).filter(|column| !column.generated).map(|_| target.to_owned())
    }

    /// The source column that a target column is a plain copy of.
    pub(super) fn source_of(&self, target: &str) -> Option<String> {
        let columns = self.source.columns.iter().map(|column| &column.name);
        columns.into_iter().find(|name| self.target_of(name).as_deref() == Some(target)).cloned()
    }

    /// All of these source columns as target columns.
    pub(super) fn targets_of(&self, source: &[String]) -> Option<Vec<String>> {
        source.iter().map(|name| self.target_of(name)).collect()
    }

    /// All of these target columns as source columns.
    pub(super) fn sources_of(&self, target: &[String]) -> Option<Vec<String>> {
        target.iter().map(|name| self.source_of(name)).collect()
    }

    /// Whether the way forward or back computes something from or for this source column.
    fn is_covered(&self, source: &str) -> bool {
        self.mapping.omit.iter().any(|omitted| omitted == source)
            || self.mapping.reverse.contains_key(source)
            || self.mapping.set.values().any(|expression| names(expression, source))
    }

    /// Whether the way forward gives this target column a value.
    fn is_given(&self, target: &str) -> bool {
        self.mapping.set.contains_key(target) || self.source_of(target).is_some()
    }
}

/// Everything about the columns that does not fit.
pub(super) fn check(pair: &Pair<'_>) -> Vec<CheckFinding> {
    let mut findings = missing_names(pair);
    if pair.moves {
        findings.extend(without_a_place(pair));
        findings.extend(no_value_on_the_way_back(pair));
    }
    findings.extend(no_value_on_the_way_forward(pair));
    findings.extend(generated(pair));
    findings
}

/// A generated column seems to have a counterpart, which gets nothing.
fn generated(pair: &Pair<'_>) -> Vec<CheckFinding> {
    let Pair { mapping, source, target, at_source, .. } = *pair;
    let lost = source.columns.iter().filter_map(|column| {
        let name = mapping.columns.get(&column.name).unwrap_or(&column.name);
        let there = target.column(name).filter(|there| !there.generated)?;
        (column.generated && !mapping.set.contains_key(&there.name)).then_some((column, there))
    });
    lost.map(|(column, there)| {
        let place = format!("{}.{}", source.name, ident(&column.name));
        CheckFinding::warning(
            at_source,
            "generated",
            format!(
                "{place} is generated and not in the log: {} gets no value from it",
                there.name
            ),
        )
        .remedy(format!(
            "let the service generate it as well, or write set = {{ {} = \"its SQL expression\" }}",
            ident(&there.name)
        ))
    })
    .collect()
}

fn missing_names(pair: &Pair<'_>) -> Vec<CheckFinding> {
    let Pair { mapping, source, target, at_source, at_target, .. } = *pair;
    let mut findings = Vec::new();
    let named: BTreeSet<&String> =
        mapping.columns.keys().chain(&mapping.omit).chain(mapping.reverse.keys()).collect();
    for name in named.into_iter().filter(|name| source.column(name).is_none()) {
        findings.push(unknown(at_source, source, name));
    }
    let named: BTreeSet<&String> = mapping.columns.values().chain(mapping.set.keys()).collect();
    for name in named {
        match target.column(name) {
            None => findings.push(unknown(at_target, target, name)),
            Some(column) if column.generated => findings.push(
                finding(
                    at_target,
                    target,
                    name,
                    "is generated and can not be written, and the mapping gives it a value",
                )
                .remedy("leave it out of the mapping"),
            ),
            Some(_) => {}
        }
    }
    findings
}

fn without_a_place(pair: &Pair<'_>) -> Vec<CheckFinding> {
    let Pair { mapping, source, target, at_source, .. } = *pair;
    let lost = source.columns.iter().filter(|column| {
        !column.generated
            && !mapping.columns.contains_key(&column.name)
            && target.column(&column.name).is_none()
            && !pair.is_covered(&column.name)
    });
    lost.map(|column| {
        let name = ident(&column.name);
        finding(at_source, source, &column.name, &format!("has no counterpart in {}", target.name))
            .remedy(format!(
                "write columns = {{ {name} = \"its name there\" }}, or omit = [\"{name}\"] with \
                 reverse = {{ {name} = \"SQL over the target row\" }}; or let the service add the column"
            ))
    })
    .collect()
}

fn no_value_on_the_way_forward(pair: &Pair<'_>) -> Vec<CheckFinding> {
    let Pair { target, at_target, source, .. } = *pair;
    let empty = target.columns.iter().filter(|column| {
        column.not_null && !column.has_default && !column.generated && !pair.is_given(&column.name)
    });
    empty
        .map(|column| {
            let name = ident(&column.name);
            let what = format!("may not be null, and nothing in {} gives it a value", source.name);
            finding(at_target, target, &column.name, &what).remedy(format!(
                "name its source under columns, or write set = {{ {name} = \"SQL over the source row\" }}"
            ))
        })
        .collect()
}

fn no_value_on_the_way_back(pair: &Pair<'_>) -> Vec<CheckFinding> {
    let Pair { mapping, source, at_source, target, .. } = *pair;
    let empty = source.columns.iter().filter(|column| {
        column.not_null
            && !column.has_default
            && !column.generated
            && !mapping.reverse.contains_key(&column.name)
            && pair.target_of(&column.name).is_none()
            // a column without any counterpart is reported as such
            && pair.is_covered(&column.name)
    });
    empty
        .map(|column| {
            let name = ident(&column.name);
            let what = format!(
                "may not be null, and a row that {} adds would bring no value for it",
                target.name
            );
            finding(at_source, source, &column.name, &what)
                .remedy(format!("write reverse = {{ {name} = \"SQL over the target row\" }}"))
        })
        .collect()
}

fn unknown(place: Place<'_>, table: &Table, column: &str) -> CheckFinding {
    finding(place, table, column, "does not exist, and the mapping names it")
        .remedy("correct the name in routes.toml, or migrate the table")
}

fn finding(place: Place<'_>, table: &Table, column: &str, what: &str) -> CheckFinding {
    CheckFinding::error(place, "column", format!("{}.{} {what}", table.name, ident(column)))
}

/// Whether an expression may read this column: as a word of its own, or quoted.
fn names(expression: &str, column: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    expression.split(|c| !is_word(c)).any(|word| word.eq_ignore_ascii_case(column))
        || expression.contains(&quote_ident(column))
}

#[cfg(test)]
mod tests;
