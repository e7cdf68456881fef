//! Decides what identifies a row in the write-ahead log, and what would make something do so.

use super::{
    CheckFinding, Place,
    catalog::{Table, ident, idents},
    columns::Pair,
};

/// What identifies a row of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// These columns.
    Usable(Vec<String>),
    /// Nothing; this is what helps.
    Unusable(Mend),
    /// Nothing while a constraint may be deferred; that is a finding of its own.
    Deferred,
}

/// What makes rows identifiable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mend {
    /// There is a primary key; the table must go back to using it.
    UsePrimaryKey,
    /// There is a unique index over columns that are not null.
    UseIndex(String),
    /// There is no key; the other side's key names these columns.
    AddPrimaryKey(Vec<String>),
    /// There is no key, and none can be derived.
    Unknown,
}

/// What identifies a row of `table`. `others` is the other side's key in this table's columns.
pub(super) fn of(table: &Table, others: Option<Vec<String>>) -> Identity {
    let chosen = match table.identity {
        'd' => table.primary_key(),
        'i' => table.unique.iter().find(|index| index.is_replica_identity),
        // every old value is known: the other side's key finds the row
        'f' => match others {
            Some(columns) => return Identity::Usable(columns),
            None => table.key(),
        },
        _ => None,
    };
    if let Some(index) = chosen {
        return Identity::Usable(index.columns.clone());
    }
    if table.deferrable.iter().any(|constraint| table.are_not_null(&constraint.columns)) {
        return Identity::Deferred;
    }
    Identity::Unusable(match (table.primary_key(), table.key(), others) {
        (Some(_), _, _) => Mend::UsePrimaryKey,
        (None, Some(index), _) => Mend::UseIndex(index.name.clone()),
        (None, None, Some(columns)) => Mend::AddPrimaryKey(columns),
        (None, None, None) => Mend::Unknown,
    })
}

/// The finding for a table whose rows nothing identifies. `obstacle` says why the columns of
/// [`Mend::AddPrimaryKey`] can not be a key yet.
pub(super) fn finding(
    place: Place<'_>,
    table: &Table,
    mend: &Mend,
    obstacle: Option<&str>,
) -> CheckFinding {
    let name = &table.name;
    let finding = CheckFinding::error(
        place,
        "replica_identity",
        format!(
            "{name} has nothing that identifies a row, so updates and deletes can not be streamed"
        ),
    );
    match mend {
        Mend::UsePrimaryKey => finding
            .remedy("let it use its primary key again")
            .sql(format!("ALTER TABLE {name} REPLICA IDENTITY DEFAULT;")),
        Mend::UseIndex(index) => finding
            .remedy("let it use its unique index")
            .sql(format!("ALTER TABLE {name} REPLICA IDENTITY USING INDEX {};", ident(index))),
        Mend::AddPrimaryKey(columns) => {
            let list = idents(columns);
            match obstacle {
                None => finding
                    .remedy("give it the key that the other side has; writers wait while it is built")
                    .sql(format!("ALTER TABLE {name} ADD PRIMARY KEY ({list});")),
                Some(obstacle) => finding.remedy(format!(
                    "the other side's key is ({list}), but {obstacle}: clean them up \
                     (SELECT {list}, count(*) FROM {name} GROUP BY {list} HAVING count(*) > 1), \
                     then ALTER TABLE {name} ADD PRIMARY KEY ({list})"
                )),
            }
        }
        Mend::Unknown => finding.remedy(
            "give it a primary key; none can be proposed, as the other side has no key made of its columns",
        ),
    }
}

/// Whether what identifies a row where it is read also does where it is written: the columns must arrive
/// as they are, under a unique index.
pub(super) fn reaches_the_other_side(
    pair: &Pair<'_>,
    key: &[String],
    back: bool,
) -> Option<CheckFinding> {
    let (read, write) = if back { (pair.target, pair.source) } else { (pair.source, pair.target) };
    let (at_read, at_write) =
        if back { (pair.at_target, pair.at_source) } else { (pair.at_source, pair.at_target) };
    let written = if back { pair.sources_of(key) } else { pair.targets_of(key) };
    let is_computed = |columns: &Vec<String>| {
        back && columns.iter().any(|column| pair.mapping.reverse.contains_key(column))
    };
    let Some(written) = written.filter(|columns| !is_computed(columns)) else {
        return Some(
            CheckFinding::error(
                at_read,
                "key_mapping",
                format!(
                    "({}) identifies a row of {} and does not reach {} as it is",
                    idents(key),
                    read.name,
                    write.name
                ),
            )
            .remedy("map its columns under columns, without set, omit or reverse"),
        );
    };
    if write.is_unique(&written) {
        return None;
    }
    let list = idents(&written);
    let sql = if write.primary_key().is_none() && write.deferrable.is_empty() {
        format!("ALTER TABLE {} ADD PRIMARY KEY ({list});", write.name)
    } else {
        format!("CREATE UNIQUE INDEX ON {} ({list});", write.name)
    };
    Some(
        CheckFinding::error(
            at_write,
            "key_mapping",
            format!(
                "{} has no unique index over ({list}), which identifies a row of {}",
                write.name, read.name
            ),
        )
        .remedy("create one, so that applying a change finds its row")
        .sql(sql),
    )
}

#[cfg(test)]
mod tests;
