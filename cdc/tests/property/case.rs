//! One case: what its seed makes, and what running it came to.

use std::fmt;

use rand::{SeedableRng, rngs::StdRng};

use crate::{lane::Lane, schema::Schema, script::Script};

/// A schema and what happens to it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) schema: Schema,
    pub(crate) script: Script,
    /// A row of the target is changed behind the replicator: the comparison has to notice.
    pub(crate) tampers: bool,
}

/// What cases did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    pub(crate) statements: u64,
    pub(crate) succeeded: u64,
    /// Compared on both sides.
    pub(crate) rows: u64,
}

impl Done {
    pub(crate) const fn add(&mut self, other: Self) {
        self.statements += other.statements;
        self.succeeded += other.succeeded;
        self.rows += other.rows;
    }
}

impl Case {
    pub(crate) fn new(seed: u64, lane: &Lane) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let schema = Schema::random(&mut random, &format!("Case {seed}"), lane.extensions());
        let script = Script::random(&mut random, &schema);
        Self { schema, script, tampers: false }
    }
}

/// Everything there is to know, ready for `psql`.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "-- source\n{}-- target\n{}", self.schema.ddl(true), self.schema.ddl(false))?;
        for table in &self.schema.tables {
            writeln!(f, "[[tables]]\n{}", table.mapping)?;
        }
        for step in &self.script.steps {
            writeln!(f, "{step}")?;
        }
        Ok(())
    }
}
