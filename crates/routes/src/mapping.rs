//! Table mappings, and whether a mapping can be undone.

use std::collections::{BTreeMap, BTreeSet};

use pg::TableName;

use crate::{
    TableMapping,
    field::Field,
    reader::{At, Located, Section},
};

/// A mapping and the positions of its two names.
pub(crate) struct Draft {
    pub(crate) source: Option<Located<TableName>>,
    pub(crate) target: Option<Located<TableName>>,
    pub(crate) mapping: Option<TableMapping>,
}

type Columns = Vec<Located<(String, String)>>;

/// Reads one of `tables`; a mapping that cannot be undone is a problem.
pub(crate) fn table(section: &Section<'_>) -> Draft {
    let reverse = section.read("reverse", Field::columns);
    let columns = read_columns(section);
    if let (Some(columns), Some(reverse)) = (&columns, &reverse) {
        require_way_back(section, columns, reverse);
    }
    draft(section, columns, reverse)
}

/// Reads one of `references`, which have no way back.
pub(crate) fn reference(section: &Section<'_>) -> Draft {
    draft(section, read_columns(section), Some(Vec::new()))
}

struct ForwardColumns {
    columns: Columns,
    omit: Vec<Located<String>>,
    set: Columns,
}

fn read_columns(section: &Section<'_>) -> Option<ForwardColumns> {
    let columns = section.read("columns", Field::columns);
    let omit = section.read("omit", |field| field.list(Field::text));
    let set = section.read("set", Field::columns);
    let forward = ForwardColumns { columns: columns?, omit: omit?, set: set? };
    refuse_mapped_twice(section, &forward);
    Some(forward)
}

fn draft(
    section: &Section<'_>,
    forward: Option<ForwardColumns>,
    reverse: Option<Columns>,
) -> Draft {
    let name = |key| {
        let name = section.read(key, |field| {
            field.parsed_or(|text| text.parse::<TableName>().map_err(|_| not_a_table(text)))
        });
        name.map(|value| Located { value, at: section.at(key) })
    };
    let (source, target) = (name("source"), name("target"));
    let filter = section.read_optional("where", Field::text);
    let complete = || {
        let ForwardColumns { columns, omit, set } = forward?;
        Some(TableMapping {
            source: source.clone()?.value,
            target: target.clone()?.value,
            columns: by_column(columns),
            omit: omit.into_iter().map(|located| located.value).collect(),
            filter: filter?,
            set: by_column(set),
            reverse: by_column(reverse?),
            line: section.line(),
        })
    };
    let mapping = complete();
    Draft { source, target, mapping }
}

fn not_a_table(text: &str) -> String {
    if text.contains('.') {
        "is not a table name; parts with other letters need \"double quotes\"".to_owned()
    } else {
        "is a table name without its schema".to_owned()
    }
}

fn by_column(columns: Columns) -> BTreeMap<String, String> {
    columns.into_iter().map(|located| located.value).collect()
}

/// A source column goes to one place, and a target column comes from one.
fn refuse_mapped_twice(section: &Section<'_>, forward: &ForwardColumns) {
    let ForwardColumns { columns, omit, set } = forward;
    let mut omitted = BTreeSet::new();
    for Located { value: column, at } in omit {
        let message = if !omitted.insert(column.as_str()) {
            format!("{column:?} is omitted twice")
        } else if columns.iter().any(|c| c.value.0 == *column) {
            format!("{column:?} is omitted here and renamed under columns")
        } else {
            continue;
        };
        section.reader.report(at, message, "keep one of them");
    }
    let mut targets: BTreeMap<&str, &str> = BTreeMap::new();
    for Located { value: (column, target), at } in columns {
        if let Some(first) = targets.insert(target, column) {
            let message = format!("{target:?} already gets the values of {first:?}");
            section.reader.report(at, message, "give each source column its own target column");
        }
    }
    for Located { value: (target, _), at } in set {
        if let Some(column) = targets.get(target.as_str()) {
            let message = format!("{target:?} already gets the values of {column:?} under columns");
            section.reader.report(at, message, "keep one of them");
        }
    }
}

/// After a cutover the service's rows flow back, so every source column must be known again.
fn require_way_back(section: &Section<'_>, forward: &ForwardColumns, reverse: &Columns) {
    let is_reversed = |column: &str| reverse.iter().any(|r| r.value.0 == column);
    for Located { value: column, at } in &forward.omit {
        if !is_reversed(column) {
            let message = format!(
                "{column:?} is omitted, and nothing says what it becomes in rows that the service inserts"
            );
            let remedy = format!("write reverse = {{ {column} = \"SQL over the target row\" }}");
            section.reader.report(at, message, remedy);
        }
    }
    let for_omitted =
        reverse.iter().filter(|r| forward.omit.iter().any(|o| o.value == r.value.0)).count();
    if reverse.len().saturating_sub(for_omitted) >= forward.set.len() {
        return;
    }
    for Located { value: (target, expression), at } in &forward.set {
        let read = columns_read(expression);
        if !read.iter().any(|column| is_reversed(column)) {
            report_no_way_back(section, at, target, &read);
        }
    }
}

fn report_no_way_back(section: &Section<'_>, at: &At, target: &str, read: &BTreeSet<&str>) {
    let (from, column) = match read.first() {
        Some(first) => {
            let names: Vec<String> = read.iter().map(|name| format!("{name:?}")).collect();
            (format!("no column it is made from ({})", names.join(", ")), *first)
        }
        None => ("no source column".to_owned(), "source_column"),
    };
    let message = format!("{target:?} is computed, and {from} has an expression under reverse");
    let remedy = format!("write reverse = {{ {column} = \"SQL over {target}\" }}");
    section.reader.report(at, message, remedy);
}

/// The names in an SQL expression that can be columns: words that are not quoted as text, not
/// functions, not casts and not keywords. A good guess, used for messages and for expressions that
/// share a way back.
fn columns_read(expression: &str) -> BTreeSet<&str> {
    const KEYWORDS: &str = " all and any array as at between both case cast collate current_date \
        current_time current_timestamp distinct else end escape exists extract false for from ilike \
        in interval is isnull leading like local localtimestamp not notnull null or overlay \
        similar some symmetric then time to trailing true unknown using when where with without \
        zone text integer int bigint smallint boolean timestamp timestamptz date numeric varchar ";
    let mut columns = BTreeSet::new();
    // Every second piece stands between single quotes; a doubled quote leaves an empty piece.
    for piece in expression.split('\'').step_by(2) {
        for (start, word) in words(piece) {
            let before = piece.get(..start).unwrap_or_default().trim_end();
            let after = piece.get(start + word.len()..).unwrap_or_default().trim_start();
            let is_keyword = KEYWORDS.contains(&format!(" {} ", word.to_ascii_lowercase()));
            let is_number = word.starts_with(|c: char| c.is_ascii_digit());
            let is_call = after.starts_with('(') || before.ends_with("::");
            if !(is_keyword || is_number || is_call) {
                columns.insert(word);
            }
        }
    }
    columns
}

/// Runs of letters, digits and `_`, with their offsets.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut offset = 0;
    text.split(move |c| !is_word(c)).filter_map(move |word| {
        let start = text.get(offset..).and_then(|rest| rest.find(word)).map(|at| offset + at)?;
        offset = start + word.len();
        (!word.is_empty()).then_some((start, word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_an_expression_are_told_from_functions_texts_and_keywords() {
        let cases: [(&str, &[&str]); 7] = [
            ("create_time AT TIME ZONE 'UTC'", &["create_time"]),
            ("to_timestamp(until_time)", &["until_time"]),
            ("case when a = 1 then 'b c' else lower( d ) end", &["a", "d"]),
            ("'it''s ' || \"Name\"", &["Name"]),
            ("x::varchar || y :: bigint", &["x", "y"]),
            ("'constant'", &[]),
            ("1 + 2", &[]),
        ];
        for (expression, expected) in cases {
            let read: Vec<_> = columns_read(expression).into_iter().collect();
            assert_eq!(read, expected, "{expression}");
        }
    }
}
