//! Random tables with the mapping between their two sides.

use std::fmt::Write as _;

use pg::{quote_ident, quote_literal};
use rand::{Rng, rngs::StdRng, seq::IndexedRandom};

use crate::kinds::{BIG, KEYS, KINDS, KeyKind, Kind, OF_EXTENSIONS, TYPES, is_portable_key};

/// Names that need care; each is used with a number behind it.
const NAMES: [&str; 8] =
    ["plain", "Mixed Case", "select", "ünï", "q\"uote", "dash-ed", "dot.ted", "_x"];

/// Both sides of a case.
#[derive(Clone, Debug)]
pub(crate) struct Schema {
    pub(crate) name: String,
    pub(crate) tables: Vec<Table>,
}

/// A table on both sides.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// Qualified and quoted.
    pub(crate) source: String,
    pub(crate) target: String,
    source_sql: Vec<String>,
    target_sql: Vec<String>,
    pub(crate) key: Vec<Column>,
    pub(crate) values: Vec<Column>,
    pub(crate) unique: Option<Unique>,
    /// As in routes.toml.
    pub(crate) mapping: String,
    /// Selects what the target must hold, from either side.
    pub(crate) compare: [String; 2],
}

/// A column that the operations write.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    /// Quoted.
    pub(crate) name: String,
    pub(crate) sql: String,
    pub(crate) values: Vec<String>,
}

/// A secondary unique index over one integer column.
#[derive(Clone, Debug)]
pub(crate) struct Unique {
    /// Quoted.
    pub(crate) name: String,
    pub(crate) is_deferrable: bool,
}

/// One column on its way to both tables.
struct Place {
    name: String,
    sql: String,
    /// Name and type on the other side; `None` when it is left out there.
    target: Option<(String, String)>,
    not_null: bool,
    suffix: String,
    is_generated: bool,
}

impl Schema {
    pub(crate) fn random(random: &mut StdRng, name: &str, extensions: &[String]) -> Self {
        let count = random.random_range(1..=4);
        let palette = Palette::new(random.random_ratio(1, 2), extensions);
        let tables = (0..count).map(|number| Table::random(random, name, number, &palette));
        Self { name: name.to_owned(), tables: tables.collect() }
    }

    /// What makes the tables of the source, or of the target.
    pub(crate) fn ddl(&self, is_source: bool) -> String {
        let schema = quote_ident(&self.name);
        let mut sql = format!("CREATE SCHEMA {schema};{}", TYPES.replace('¤', &schema));
        for table in &self.tables {
            let statements = if is_source { &table.source_sql } else { &table.target_sql };
            for statement in statements {
                let _written = writeln!(sql, "{statement};");
            }
        }
        sql
    }

    pub(crate) fn drop(&self) -> String {
        format!("DROP SCHEMA IF EXISTS {} CASCADE", quote_ident(&self.name))
    }
}

impl Column {
    pub(crate) fn value(&self, random: &mut StdRng, number: &str) -> String {
        if random.random_ratio(1, 7) {
            return "NULL".to_owned();
        }
        let value = self.values.choose(random).expect("every type has values");
        format!("({})::{}", value.replace('#', number), self.sql)
    }

    /// Differs from row to row when `number` does.
    pub(crate) fn key_value(&self, number: &str) -> String {
        let value = self.values.first().expect("every type has values");
        format!("({})::{}", value.replace('#', number), self.sql)
    }
}

/// What the tables of a case are made of.
struct Palette {
    keys: Vec<KeyKind>,
    kinds: Vec<&'static Kind>,
    of_extensions: Vec<&'static Kind>,
}

impl Palette {
    fn new(is_portable: bool, extensions: &[String]) -> Self {
        let keys = KEYS.iter().copied().filter(|key| !is_portable || is_portable_key(key));
        let kinds = KINDS.iter().filter(|kind| !is_portable || kind.is_portable());
        let known = OF_EXTENSIONS
            .iter()
            .filter(|(extension, _)| !is_portable && extensions.iter().any(|e| e == extension));
        Self {
            keys: keys.collect(),
            kinds: kinds.collect(),
            of_extensions: known.map(|(_, kind)| kind).collect(),
        }
    }
}

/// Gives names and places to the columns of one table.
struct Builder<'a> {
    random: &'a mut StdRng,
    schema: &'a str,
    places: Vec<Place>,
    set: Vec<(String, String, String)>,
    filter: Option<String>,
}

impl Builder<'_> {
    fn name(&mut self) -> String {
        let name = NAMES.choose(self.random).expect("there are names");
        format!("{name}{}", self.places.len())
    }

    fn is(&mut self, times: u32, of: u32) -> bool {
        self.random.random_ratio(times, of)
    }

    fn column(&mut self, sql: &str, wider: Option<&str>, values: &[&str]) -> Column {
        let schema = quote_ident(self.schema);
        let (name, sql) = (self.name(), sql.replace('¤', &schema));
        let renamed = if self.is(1, 4) { format!("to {name}") } else { name.clone() };
        let target_sql = match wider {
            Some(wider) if self.is(1, 4) => wider.to_owned(),
            Some(_) | None => sql.clone(),
        };
        self.places.push(Place {
            name: name.clone(),
            sql: sql.clone(),
            target: Some((renamed, target_sql)),
            not_null: false,
            suffix: String::new(),
            is_generated: false,
        });
        Column {
            name: quote_ident(&name),
            sql,
            values: values.iter().map(|value| value.replace('¤', &schema)).collect(),
        }
    }

    fn last(&mut self) -> &mut Place {
        self.places.last_mut().expect("a column was added")
    }

    fn value(&mut self, kind: &Kind) -> Column {
        let column = self.column(kind.sql, kind.wider, kind.values);
        if self.is(1, 8) {
            self.last().target = None;
        }
        column
    }

    fn values(&mut self, palette: &Palette) -> Vec<Column> {
        let mut values = Vec::new();
        for _ in 0..self.random.random_range(1..=7) {
            let kind = palette.kinds.choose(self.random).expect("there are types");
            values.push(self.value(kind));
        }
        if self.is(2, 3) {
            let kind = BIG.choose(self.random).expect("there are large types");
            values.push(self.value(kind));
            let place = self.last();
            if !place.sql.starts_with("numeric") {
                place.suffix = " STORAGE".to_owned();
            }
        }
        for kind in &palette.of_extensions {
            if self.is(1, 6) {
                values.push(self.value(kind));
            }
        }
        values
    }

    /// Columns that the database fills.
    fn filled_by_the_database(&mut self, values: &[Column]) {
        if self.is(1, 4) {
            self.column("bigint", None, &[]);
            let always = if self.is(1, 2) { "ALWAYS" } else { "BY DEFAULT" };
            self.last().suffix = format!(" GENERATED {always} AS IDENTITY");
        }
        if self.is(1, 4) {
            let text = values.iter().find(|value| matches!(value.sql.as_str(), "text" | "bytea"));
            let Some(text) = text.map(|text| text.name.clone()) else { return };
            // It is computed on each side, from the column of the same name.
            let from = self.places.iter_mut().find(|place| quote_ident(&place.name) == text);
            let Some(from) = from else { return };
            from.target = Some((from.name.clone(), from.sql.clone()));
            self.column("integer", None, &[]);
            let place = self.last();
            place.target = Some((place.name.clone(), "integer".to_owned()));
            place.suffix = format!(" GENERATED ALWAYS AS (length({text})) STORED");
            place.is_generated = true;
        }
    }

    /// Expressions and a filter over what there is.
    fn transforms(&mut self, values: &[Column]) {
        let text = |column: &Column| format!("coalesce({}::text, '-')", column.name);
        if self.is(1, 3) {
            let chosen: Vec<String> = values.choose_multiple(self.random, 2).map(text).collect();
            self.set.push(("made".to_owned(), "text".to_owned(), chosen.join(" || '/' || ")));
        }
        if self.is(1, 4) {
            let column = values.choose(self.random).expect("there is a column");
            let expression = format!("length({})", text(column));
            self.set.push(("size of".to_owned(), "bigint".to_owned(), expression));
        }
        if self.is(1, 4) {
            let column = values.choose(self.random).expect("there is a column");
            self.filter = Some(format!("length({}) % 3 <> 1", text(column)));
        }
    }
}

impl Table {
    fn random(random: &mut StdRng, schema: &str, number: usize, palette: &Palette) -> Self {
        let name = format!("{}{number}", NAMES.choose(random).expect("there are names"));
        let mut builder =
            Builder { random, schema, places: Vec::new(), set: Vec::new(), filter: None };
        let kind = palette.keys.choose(builder.random).expect("there are keys");
        let mut values = Vec::new();
        let comes_late = builder.is(1, 4);
        if comes_late {
            values.extend(builder.values(palette));
        }
        let mut key = Vec::new();
        for (sql, value) in *kind {
            key.push(builder.column(sql, None, &[value]));
            builder.last().not_null = true;
        }
        if !comes_late {
            values.extend(builder.values(palette));
        }
        let is_partitioned = builder.is(1, 5);
        let unique = (!is_partitioned && builder.is(1, 2)).then(|| {
            let column = builder.column("integer", None, &[]);
            Unique { name: column.name, is_deferrable: builder.is(1, 2) }
        });
        builder.filled_by_the_database(&values);
        builder.transforms(&values);
        let target_name = if builder.is(1, 2) { format!("{name} moved") } else { name.clone() };
        builder.finish(&[name, target_name], key, values, unique, is_partitioned)
    }
}

impl Builder<'_> {
    fn finish(
        mut self,
        names: &[String; 2],
        key: Vec<Column>,
        values: Vec<Column>,
        unique: Option<Unique>,
        is_partitioned: bool,
    ) -> Table {
        let schema = quote_ident(self.schema);
        let [source, target] = names.each_ref().map(|n| format!("{schema}.{}", quote_ident(n)));
        let key_names: Vec<String> = key.iter().map(|column| column.name.clone()).collect();
        let source_sql = self.source_table(&source, &key_names, unique.as_ref(), is_partitioned);
        let target_sql = self.target_table(&target, &key_names, unique.as_ref());
        let mapping = self.mapping(&source, &target);
        let compare = self.compare(&source, &target);
        Table { source, target, source_sql, target_sql, key, values, unique, mapping, compare }
    }

    fn source_table(
        &mut self,
        table: &str,
        key: &[String],
        unique: Option<&Unique>,
        is_partitioned: bool,
    ) -> Vec<String> {
        let mut columns = Vec::new();
        let mut after = Vec::new();
        for place in &self.places {
            if self.random.random_ratio(1, 6) {
                let gone = format!("\"gone {}\"", columns.len());
                columns.push(format!("{gone} text DEFAULT 'gone'"));
                after.push(format!("ALTER TABLE {table} DROP COLUMN {gone}"));
            }
            columns.push(definition(&quote_ident(&place.name), &place.sql, place));
            if place.suffix == " STORAGE" {
                let name = quote_ident(&place.name);
                let how = if self.random.random_ratio(2, 3) { "EXTERNAL" } else { "MAIN" };
                after.push(format!("ALTER TABLE {table} ALTER {name} SET STORAGE {how}"));
            }
        }
        let key = key.join(", ");
        let mut identity = None;
        if !is_partitioned && self.random.random_ratio(1, 4) {
            let index = format!("\"Key {}\"", self.random.random::<u32>());
            after.push(format!("CREATE UNIQUE INDEX {index} ON {table} ({key})"));
            identity = Some(format!("USING INDEX {index}"));
        } else {
            columns.push(format!("PRIMARY KEY ({key})"));
            if !is_partitioned && self.random.random_ratio(1, 4) {
                identity = Some("FULL".to_owned());
            }
        }
        after.extend(identity.map(|how| format!("ALTER TABLE {table} REPLICA IDENTITY {how}")));
        after.extend(unique.map(|unique| unique.sql(table, &unique.name)));
        let first = key.split(", ").next().unwrap_or_default();
        let partition =
            if is_partitioned { format!(" PARTITION BY HASH ({first})") } else { String::new() };
        if is_partitioned {
            for rest in 0..3 {
                let name = format!("{}_{rest}\"", table.strip_suffix('"').unwrap_or(table));
                let name = if table.ends_with('"') { name } else { format!("{table}_{rest}") };
                let part = format!("FOR VALUES WITH (MODULUS 3, REMAINDER {rest})");
                after.insert(0, format!("CREATE TABLE {name} PARTITION OF {table} {part}"));
            }
        }
        after.insert(0, format!("CREATE TABLE {table} ({}){partition}", columns.join(", ")));
        after
    }

    fn target_table(
        &mut self,
        table: &str,
        key: &[String],
        unique: Option<&Unique>,
    ) -> Vec<String> {
        let mut columns = Vec::new();
        let mut key_columns = Vec::new();
        let mut unique_column = None;
        for place in &self.places {
            let Some((name, sql)) = &place.target else { continue };
            let name = quote_ident(name);
            let quoted = quote_ident(&place.name);
            if key.contains(&quoted) {
                key_columns.push(name.clone());
            }
            if unique.is_some_and(|unique| unique.name == quoted) {
                unique_column = Some(name.clone());
            }
            columns.push(definition(&name, sql, place));
        }
        for (name, sql, _) in &self.set {
            columns.push(format!("{} {sql}", quote_ident(name)));
        }
        columns.push("\"only here\" text DEFAULT 'mine'".to_owned());
        if self.random.random_ratio(1, 2) {
            let start = self.random.random_range(0..columns.len());
            columns.rotate_left(start);
        }
        columns.push(format!("PRIMARY KEY ({})", key_columns.join(", ")));
        let mut statements = vec![format!("CREATE TABLE {table} ({})", columns.join(", "))];
        if let (Some(unique), Some(column)) = (unique, unique_column) {
            statements.push(unique.sql(table, &column));
        }
        statements
    }

    fn mapping(&self, source: &str, target: &str) -> String {
        let pairs = |pairs: Vec<(String, String)>| {
            let pairs: Vec<String> = pairs
                .iter()
                .map(|(key, value)| format!("{} = {}", toml(key), toml(value)))
                .collect();
            format!("{{ {} }}", pairs.join(", "))
        };
        let renamed = self.places.iter().filter_map(|place| {
            let (to, _) = place.target.as_ref()?;
            (*to != place.name).then(|| (place.name.clone(), to.clone()))
        });
        let omitted: Vec<&Place> =
            self.places.iter().filter(|place| place.target.is_none()).collect();
        let omit: Vec<String> = omitted.iter().map(|place| toml(&place.name)).collect();
        let mut back: Vec<(String, String)> =
            omitted.iter().map(|place| (place.name.clone(), "NULL".to_owned())).collect();
        // Every expression needs a way back, which no case takes.
        let kept = self.places.iter().filter(|place| place.target.is_some());
        back.extend(kept.take(self.set.len()).map(|place| (place.name.clone(), "NULL".to_owned())));
        let set = self.set.iter().map(|(name, _, text)| (name.clone(), text.clone())).collect();
        let mut text = format!(
            "source = {}\ntarget = {}\ncolumns = {}\nomit = [{}]\nset = {}\nreverse = {}\n",
            toml(source),
            toml(target),
            pairs(renamed.collect()),
            omit.join(", "),
            pairs(set),
            pairs(back)
        );
        if let Some(filter) = &self.filter {
            let _written = writeln!(text, "where = {}", toml(filter));
        }
        text
    }

    fn compare(&self, source: &str, target: &str) -> [String; 2] {
        let mut sides = [Vec::new(), Vec::new()];
        let [read, written] = &mut sides;
        for place in &self.places {
            let Some((name, sql)) = &place.target else { continue };
            read.push(short(&format!("{}::{sql}", quote_ident(&place.name))));
            written.push(short(&quote_ident(name)));
        }
        for (name, sql, text) in &self.set {
            read.push(short(&format!("({text})::{sql}")));
            written.push(short(&quote_ident(name)));
        }
        read.push(quote_literal("mine"));
        written.push("\"only here\"".to_owned());
        let filter = self.filter.as_ref().map(|text| format!(" WHERE {text}")).unwrap_or_default();
        let select = |columns: &[String], rest: String| {
            format!("SELECT ARRAY[{}]::text[] FROM {rest}", columns.join(", "))
        };
        [select(read, format!("{source}{filter}")), select(written, target.to_owned())]
    }
}

impl Unique {
    fn sql(&self, table: &str, column: &str) -> String {
        let deferrable = if self.is_deferrable { " DEFERRABLE" } else { "" };
        format!("ALTER TABLE {table} ADD UNIQUE ({column}){deferrable}")
    }
}

fn definition(name: &str, sql: &str, place: &Place) -> String {
    let suffix = if place.suffix == " STORAGE" { "" } else { place.suffix.as_str() };
    let not_null = if place.not_null { " NOT NULL" } else { "" };
    format!("{name} {sql}{suffix}{not_null}")
}

/// Long values are compared by their hash.
fn short(value: &str) -> String {
    format!(
        "CASE WHEN length(({value})::text) > 200 THEN md5(({value})::text) ELSE ({value})::text END"
    )
}

/// A TOML string; JSON's escapes are TOML's.
fn toml(text: &str) -> String {
    serde_json::to_string(text).expect("a text is JSON")
}
