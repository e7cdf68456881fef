//! Random operations on random tables, from several sessions at once. Any step may fail (a key that is taken,
//! a lock that is held): what counts is what the source made of it.

use std::fmt;

use rand::{Rng, rngs::StdRng, seq::IndexedRandom};

use crate::schema::{Schema, Table};

/// Keys that the small operations share, so that they meet.
const KEYS: u32 = 40;

/// Keys of large transactions begin here.
const LARGE_FROM: u32 = 10_000;

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A session runs a statement. Guarded: a failure does not end the transaction.
    Sql { session: usize, guarded: bool, sql: String },
    /// The stream is started.
    Start,
    /// The replicator dies and another one begins.
    Crash,
    /// The replicator is stopped and another one begins.
    Restart,
}

/// What happens in a case, in order.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) steps: Vec<Step>,
    pub(crate) sessions: usize,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sql { session, guarded, sql } => {
                let guarded = if *guarded { "?" } else { "" };
                write!(f, "{session}{guarded}: {sql}")
            }
            Self::Start => f.write_str("-- start the stream"),
            Self::Crash => f.write_str("-- the replicator dies"),
            Self::Restart => f.write_str("-- the replicator is stopped and started"),
        }
    }
}

impl Script {
    pub(crate) fn random(random: &mut StdRng, schema: &Schema) -> Self {
        let mut writer = Writer { random, schema, prepared: 0 };
        let mut steps = Vec::new();
        for table in &schema.tables {
            let rows = writer.random.random_range(0..KEYS);
            steps.push(sql(0, insert_many(writer.random, table, 0, rows)));
        }
        let sessions = writer.random.random_range(1..=3);
        let mut queues: Vec<Vec<Step>> = (0..sessions).map(|each| writer.session(each)).collect();
        if writer.random.random_ratio(1, 3) {
            let session = writer.random.random_range(0..sessions);
            let large = writer.large(session);
            queues.get_mut(session).expect("it is one of them").extend(large);
        }
        let mut woven = weave(random, queues);
        let start = random.random_range(0..=woven.len() / 2);
        woven.insert(start, Step::Start);
        for _ in 0..random.random_range(0..=2) {
            let place = random.random_range(start + 1..=woven.len());
            let how = if random.random_ratio(2, 3) { Step::Crash } else { Step::Restart };
            woven.insert(place, how);
        }
        steps.extend(woven);
        Self { steps, sessions }
    }
}

/// Mixes the sessions' steps, each in its order, in bursts.
fn weave(random: &mut StdRng, queues: Vec<Vec<Step>>) -> Vec<Step> {
    let mut queues: Vec<_> = queues.into_iter().map(Vec::into_iter).collect();
    let mut woven = Vec::new();
    while queues.iter().any(|queue| queue.len() > 0) {
        let chosen = random.random_range(0..queues.len());
        let burst = random.random_range(1..=6);
        if let Some(queue) = queues.get_mut(chosen) {
            woven.extend(queue.by_ref().take(burst));
        }
    }
    woven
}

fn sql(session: usize, sql: String) -> Step {
    Step::Sql { session, guarded: false, sql }
}

struct Writer<'a> {
    random: &'a mut StdRng,
    schema: &'a Schema,
    prepared: u32,
}

impl Writer<'_> {
    fn session(&mut self, session: usize) -> Vec<Step> {
        let mut steps = Vec::new();
        for _ in 0..self.random.random_range(3..=10) {
            if self.random.random_ratio(1, 4) {
                steps.extend(self.statements().into_iter().map(|each| sql(session, each)));
            } else {
                steps.extend(self.transaction(session));
            }
        }
        steps
    }

    fn transaction(&mut self, session: usize) -> Vec<Step> {
        let guarded = self.random.random_ratio(2, 3);
        let step = |text: String| Step::Sql { session, guarded, sql: text };
        let mut steps = vec![sql(session, "BEGIN".to_owned())];
        if self.random.random_ratio(1, 5) {
            steps.push(sql(session, "SET CONSTRAINTS ALL DEFERRED".to_owned()));
        }
        for number in 0..self.random.random_range(1..=6) {
            let statements: Vec<Step> = self.statements().into_iter().map(step).collect();
            if self.random.random_ratio(1, 5) {
                let name = format!("s{}", number % 2);
                steps.push(sql(session, format!("SAVEPOINT {name}")));
                steps.extend(statements);
                let end = ["ROLLBACK TO SAVEPOINT", "ROLLBACK TO SAVEPOINT", "RELEASE SAVEPOINT"];
                let end = end.choose(self.random).expect("there are ends");
                steps.push(sql(session, format!("{end} {name}")));
            } else {
                steps.extend(statements);
            }
        }
        match self.random.random_range(0..10) {
            0 => steps.push(sql(session, "ROLLBACK".to_owned())),
            1 => {
                self.prepared += 1;
                let name = format!("'{} {}'", self.schema.name, self.prepared);
                steps.push(sql(session, format!("PREPARE TRANSACTION {name}")));
                if self.random.random_ratio(1, 2) {
                    steps.extend(self.statements().into_iter().map(|each| sql(session, each)));
                }
                let end = if self.random.random_ratio(2, 3) { "COMMIT" } else { "ROLLBACK" };
                steps.push(sql(session, format!("{end} PREPARED {name}")));
            }
            _ => steps.push(sql(session, "COMMIT".to_owned())),
        }
        steps
    }

    fn table(&mut self) -> &Table {
        self.schema.tables.choose(self.random).expect("there is a table")
    }

    fn key(&mut self) -> u32 {
        self.random.random_range(0..KEYS)
    }

    /// One operation; some take several statements, which belong together.
    fn statements(&mut self) -> Vec<String> {
        let table = self.table().clone();
        let (one, other) = (self.key(), self.key());
        let random = &mut *self.random;
        match random.random_range(0..20) {
            0..=3 => vec![insert_values(random, &table, &[one])],
            4 => vec![insert_values(random, &table, &[one, other, one + 1, KEYS + one])],
            5..=8 => vec![update(random, &table, &is_key(&table, one))],
            9 => vec![update(random, &table, &some(&table, one))],
            10 => vec![rekey(&table, one, other)],
            11 => {
                vec![rekey(&table, one, 777), rekey(&table, other, one), rekey(&table, 777, other)]
            }
            12 => hand_over(random, &table, one, other),
            13 => vec![delete(&table, &is_key(&table, one))],
            14 => vec![delete(&table, &some(&table, one))],
            15 | 16 => {
                vec![delete(&table, &is_key(&table, one)), insert_values(random, &table, &[one])]
            }
            17 => vec![rekey(&table, one, other), update(random, &table, &is_key(&table, other))],
            18 => vec![insert_values(random, &table, &[one]), rekey(&table, one, other)],
            _ => vec![self.rare(&table, one)],
        }
    }

    fn rare(&mut self, table: &Table, one: u32) -> String {
        match self.random.random_range(0..4) {
            0 => format!("TRUNCATE {}", table.source),
            1 => {
                let all: Vec<&str> = self.schema.tables.iter().map(|t| t.source.as_str()).collect();
                format!("TRUNCATE {} RESTART IDENTITY", all.join(", "))
            }
            2 => update(self.random, table, "true"),
            _ => delete(table, &format!("NOT ({})", some(table, one))),
        }
    }

    /// Thousands of rows in one transaction, parts of which are taken back.
    fn large(&mut self, session: usize) -> Vec<Step> {
        let table = self.table().clone();
        let rows = self.random.random_range(500..3_000);
        let mut texts = vec!["BEGIN".to_owned()];
        texts.push(insert_many(self.random, &table, LARGE_FROM, LARGE_FROM + rows));
        texts.push("SAVEPOINT large".to_owned());
        texts.push(update(self.random, &table, &some(&table, 3)));
        texts.push(delete(&table, &some(&table, 5)));
        if self.random.random_ratio(1, 2) {
            texts.push("ROLLBACK TO SAVEPOINT large".to_owned());
        }
        texts.push(update(self.random, &table, &some(&table, 1)));
        texts.push(insert_values(self.random, &table, &[1, 2]));
        let end = if self.random.random_ratio(1, 4) { "ROLLBACK" } else { "COMMIT" };
        texts.push(end.to_owned());
        texts.into_iter().map(|text| Step::Sql { session, guarded: true, sql: text }).collect()
    }
}

fn columns(table: &Table) -> String {
    let mut names: Vec<&str> =
        table.key.iter().chain(&table.values).map(|column| column.name.as_str()).collect();
    names.extend(table.unique.iter().map(|unique| unique.name.as_str()));
    names.join(", ")
}

/// One row, as expressions over `number`.
fn row(random: &mut StdRng, table: &Table, number: &str) -> String {
    let mut values: Vec<String> = table.key.iter().map(|column| column.key_value(number)).collect();
    values.extend(table.values.iter().map(|column| column.value(random, number)));
    values.extend(table.unique.iter().map(|_| format!("NULLIF(({number}) % 20000, 7)")));
    values.join(", ")
}

fn insert_values(random: &mut StdRng, table: &Table, keys: &[u32]) -> String {
    let rows: Vec<String> =
        keys.iter().map(|key| format!("({})", row(random, table, &key.to_string()))).collect();
    let (name, columns) = (&table.source, columns(table));
    let ignore = if random.random_ratio(2, 3) { " ON CONFLICT DO NOTHING" } else { "" };
    format!("INSERT INTO {name} ({columns}) VALUES {}{ignore}", rows.join(", "))
}

/// The rows from one number to another, with three kinds of rows in turn.
fn insert_many(random: &mut StdRng, table: &Table, from: u32, to: u32) -> String {
    let mut values: Vec<String> = table.key.iter().map(|column| column.key_value("g")).collect();
    for column in &table.values {
        let [one, two, three] = [0; 3].map(|_| column.value(random, "g"));
        let sql = &column.sql;
        values.push(format!(
            "(CASE g % 3 WHEN 0 THEN {one} WHEN 1 THEN {two} ELSE {three} END)::{sql}"
        ));
    }
    values.extend(table.unique.iter().map(|_| "NULLIF(g % 20000, 7)".to_owned()));
    format!(
        "INSERT INTO {} ({}) SELECT {} FROM generate_series({from}, {to}) g ON CONFLICT DO NOTHING",
        table.source,
        columns(table),
        values.join(", ")
    )
}

/// The row with this key.
fn is_key(table: &Table, number: u32) -> String {
    let number = number.to_string();
    let terms: Vec<String> = table
        .key
        .iter()
        .map(|column| format!("{} = {}", column.name, column.key_value(&number)))
        .collect();
    terms.join(" AND ")
}

/// About a seventh of the rows, the same ones each time.
fn some(table: &Table, number: u32) -> String {
    let key: Vec<String> =
        table.key.iter().map(|column| format!("{}::text", column.name)).collect();
    format!("abs(hashtext({}) % 7) = {}", key.join(" || "), number % 7)
}

fn update(random: &mut StdRng, table: &Table, condition: &str) -> String {
    let count = random.random_range(1..=3);
    let number = random.random_range(0..1000).to_string();
    let chosen: Vec<_> = table.values.choose_multiple(random, count).cloned().collect();
    let set: Vec<String> = chosen
        .iter()
        .map(|column| format!("{} = {}", column.name, column.value(random, &number)))
        .collect();
    format!("UPDATE {} SET {} WHERE {condition}", table.source, set.join(", "))
}

fn rekey(table: &Table, from: u32, to: u32) -> String {
    let to = to.to_string();
    let set: Vec<String> = table
        .key
        .iter()
        .map(|column| format!("{} = {}", column.name, column.key_value(&to)))
        .collect();
    format!("UPDATE {} SET {} WHERE {}", table.source, set.join(", "), is_key(table, from))
}

fn delete(table: &Table, condition: &str) -> String {
    format!("DELETE FROM {} WHERE {condition}", table.source)
}

/// A value of the secondary unique index goes from one row to another.
fn hand_over(random: &mut StdRng, table: &Table, one: u32, other: u32) -> Vec<String> {
    let Some(unique) = &table.unique else {
        return vec![update(random, table, &is_key(table, one))];
    };
    let (source, name) = (&table.source, &unique.name);
    if unique.is_deferrable && random.random_ratio(2, 3) {
        return vec![format!(
            "UPDATE {source} SET {name} = CASE {name} WHEN {one} THEN {other} ELSE {one} END \
             WHERE {name} IN ({one}, {other})"
        )];
    }
    let set = |value: &str, from: &str| {
        format!("UPDATE {source} SET {name} = {value} WHERE {name} = {from}")
    };
    let (one, other) = (one.to_string(), other.to_string());
    match random.random_range(0..3) {
        0 => vec![set("-1", &one), set(&one, &other), set(&other, "-1")],
        1 => vec![set("NULL", &one), set(&one, &other)],
        _ => vec![format!("DELETE FROM {source} WHERE {name} = {one}"), set(&one, &other)],
    }
}
