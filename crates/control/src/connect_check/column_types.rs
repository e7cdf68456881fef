//! Decides about the types of columns that are carried as they are: what does not mean the same on the
//! other side, what that side does not know, and what takes the slower way.

use super::{
    CheckFinding, Place,
    catalog::{Table, Type, ident},
    columns::Pair,
};

/// Numbers of objects: each server gives its own.
const OBJECT_NUMBERS: [&str; 14] = [
    "oid",
    "regclass",
    "regcollation",
    "regconfig",
    "regdictionary",
    "regnamespace",
    "regoper",
    "regoperator",
    "regproc",
    "regprocedure",
    "regrole",
    "regtype",
    "xid",
    "cid",
];

/// Everything about types that somebody should know before the move.
pub(super) fn check(pair: &Pair<'_>) -> Vec<CheckFinding> {
    let mut findings = Vec::new();
    let mut as_text = Vec::new();
    for column in pair.source.columns.iter().filter(|column| !column.generated) {
        let Some(target) = pair.target_of(&column.name).and_then(|name| pair.target.column(&name))
        else {
            continue;
        };
        let source = (pair.at_source, pair.source, column.name.as_str(), &column.kind);
        let target = (pair.at_target, pair.target, target.name.as_str(), &target.kind);
        findings.extend(meaning(source));
        findings.extend(missing_labels(source, target));
        if pair.moves {
            findings.extend(missing_labels(target, source));
        }
        if !column.kind.builtin {
            as_text.push(format!("{} ({})", ident(&column.name), column.kind.name));
        }
    }
    findings.extend(slower(pair, &as_text));
    findings.extend(collations(pair.at_source, pair.source));
    findings.extend(collations(pair.at_target, pair.target));
    findings
}

type Placed<'a> = (Place<'a>, &'a Table, &'a str, &'a Type);

fn meaning((place, table, column, kind): Placed<'_>) -> Option<CheckFinding> {
    let name = kind.name.as_str();
    let (what, remedy) = if OBJECT_NUMBERS.contains(&name) {
        (
            "holds numbers of objects, which are others on the other server; large objects behind them are \
             not in the log",
            "keep what it points to in a column (text, bytea), or omit it",
        )
    } else if name == "money" {
        ("depends on lc_monetary of each server", "make it numeric, or compare lc_monetary of both")
    } else {
        return None;
    };
    let evidence = format!("{}.{} is of type {name}: it {what}", table.name, ident(column));
    Some(CheckFinding::warning(place, "type", evidence).remedy(remedy))
}

/// Labels that rows of one side may have and the other side's enum does not.
fn missing_labels(from: Placed<'_>, to: Placed<'_>) -> Option<CheckFinding> {
    let (_, from_table, from_column, from_kind) = from;
    let (place, table, column, kind) = to;
    if kind.labels.is_empty() {
        return None;
    }
    let missing: Vec<&String> =
        from_kind.labels.iter().filter(|label| !kind.labels.contains(label)).collect();
    if missing.is_empty() {
        return None;
    }
    let sql: Vec<String> = missing
        .iter()
        .map(|label| format!("ALTER TYPE {} ADD VALUE {};", kind.name, pg::quote_literal(label)))
        .collect();
    let labels: Vec<&str> = missing.iter().map(|label| label.as_str()).collect();
    Some(
        CheckFinding::error(
            place,
            "enum_labels",
            format!(
                "{}.{} does not know what {}.{} may hold: {}",
                table.name,
                ident(column),
                from_table.name,
                ident(from_column),
                labels.join(", ")
            ),
        )
        .remedy("add the values, or map the column with set and reverse")
        .sql(sql.join("\n")),
    )
}

fn slower(pair: &Pair<'_>, columns: &[String]) -> Option<CheckFinding> {
    (!columns.is_empty()).then(|| {
        let evidence = format!(
            "{} has columns of types that are not built in: {}",
            pair.source.name,
            columns.join(", ")
        );
        CheckFinding::warning(pair.at_source, "text_types", evidence)
            .remedy("nothing has to be done: their values are carried as text, which is slower")
    })
}

/// Keys of texts: what is one key on one side must be one on the other, and indexes must find it.
fn collations(place: Place<'_>, table: &Table) -> Vec<CheckFinding> {
    let mut findings = Vec::new();
    let in_key = |name: &String| table.unique.iter().any(|index| index.columns.contains(name));
    for column in table.columns.iter().filter(|column| in_key(&column.name)) {
        let Some(collation) = &column.collation else { continue };
        let name = ident(&collation.name);
        let at = format!("{}.{}, part of a key,", table.name, ident(&column.name));
        if !collation.deterministic {
            findings.push(
                CheckFinding::warning(
                    place,
                    "collation",
                    format!("{at} has collation {name}, for which different texts are equal"),
                )
                .remedy("give both sides the same collation: else two rows of one side are one of the other"),
            );
        }
        if let Some((made, now)) = &collation.drift {
            findings.push(
                CheckFinding::warning(
                    place,
                    "collation_version",
                    format!("{at} has collation {name} of version {made}, the machine's is {now}"),
                )
                .remedy("build the table's indexes anew, then say that it is done for all tables")
                .sql(format!(
                    "REINDEX TABLE {};\nALTER COLLATION {name} REFRESH VERSION;",
                    table.name
                )),
            );
        }
    }
    findings
}

#[cfg(test)]
mod tests;
