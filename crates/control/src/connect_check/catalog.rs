//! What was read from the catalogs: plain values, so that every decision can be tested without a server.

use std::time::Duration;

use pg::{TableName, quote_ident};

/// A server, its settings and who is on it now.
#[derive(Clone, Debug, Default)]
pub(super) struct Server {
    /// Tells servers apart: two databases of one server share its slots.
    pub(super) system_id: String,
    /// The database that was connected to.
    pub(super) database: String,
    /// As `server_version_num`: 150004.
    pub(super) version: i32,
    pub(super) wal_level: String,
    pub(super) slots_max: i64,
    pub(super) senders_max: i64,
    /// In MB; -1 for no limit.
    pub(super) slot_wal_keep_mb: i64,
    /// It is a standby.
    pub(super) in_recovery: bool,
    /// `UTF8`
    pub(super) encoding: String,
    /// The library's version when the database was made and now, where they differ.
    pub(super) collation_drift: Option<(String, String)>,
    /// Tables on which an index is being built.
    pub(super) index_builds: Vec<String>,
    /// On the disk of the log; only known where the server runs on this machine and we may look.
    pub(super) free_disk: Option<u64>,
    pub(super) slots: Vec<Slot>,
    /// Connections in replication mode now.
    pub(super) senders: i64,
    pub(super) prepared: Vec<Prepared>,
    pub(super) transactions: Vec<OpenTransaction>,
    pub(super) sessions: Vec<Session>,
}

/// A replication slot.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) name: String,
    pub(super) active: bool,
}

/// A prepared transaction.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub(super) name: String,
    pub(super) database: String,
    pub(super) age: Duration,
}

/// A transaction in progress that a new slot or a fence would have to wait for.
#[derive(Clone, Debug)]
pub(super) struct OpenTransaction {
    pub(super) pid: i32,
    pub(super) user: String,
    pub(super) application: String,
    pub(super) age: Duration,
}

/// Who else is connected to the database; Ficus's own sessions are left out.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) user: String,
    pub(super) superuser: bool,
    pub(super) applications: Vec<String>,
}

/// The rights of the roles that Ficus uses in one database.
#[derive(Clone, Debug, Default)]
pub(super) struct Rights {
    pub(super) database: String,
    /// What `owner_database` logs in as.
    pub(super) owner: Role,
    /// `ficus_applier`, when there is one.
    pub(super) applier: Option<Role>,
    /// The owner may create schemas and publications here.
    pub(super) owner_may_create: bool,
    /// `ficus_applier` may set `session_replication_role`.
    pub(super) skips_triggers: bool,
    /// `ficus_applier` may use replication origins.
    pub(super) takes_origins: bool,
    /// `ficus_applier` sees what other sessions do.
    pub(super) sees_sessions: bool,
}

/// A role's attributes.
#[derive(Clone, Debug, Default)]
pub(super) struct Role {
    pub(super) name: String,
    pub(super) superuser: bool,
    pub(super) creates_roles: bool,
    pub(super) logs_in: bool,
    pub(super) replicates: bool,
    pub(super) bypasses_rls: bool,
}

/// What became of logging in with `database`.
#[derive(Clone, Debug)]
pub(super) enum Login {
    /// The role it is, with its rights.
    Role(Role),
    /// Refused or not reached; the user of the URL and why. Never holds the password.
    Failed { user: String, why: String },
}

/// A table of one side.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) name: TableName,
    /// `relkind`: `r` table, `p` partitioned, `f` foreign, `v` view, `m` materialized view.
    pub(super) kind: char,
    pub(super) unlogged: bool,
    /// `relreplident`: `d` default, `i` index, `f` full, `n` nothing.
    pub(super) identity: char,
    pub(super) row_security: bool,
    pub(super) owner: String,
    /// The role of `owner_database` has the owner's rights.
    pub(super) is_ours: bool,
    pub(super) columns: Vec<Column>,
    /// Unique, checked at once, without a predicate and over columns only; the primary key first.
    pub(super) unique: Vec<UniqueIndex>,
    pub(super) deferrable: Vec<Deferrable>,
    /// Triggers of users, without Ficus's own.
    pub(super) triggers: Vec<Trigger>,
    /// To and from this table.
    pub(super) foreign_keys: Vec<ForeignKey>,
    /// Tables it inherits from or that inherit from it; partitions are none.
    pub(super) relatives: Vec<String>,
    /// Partitions that hold no logged rows of this server: foreign or unlogged tables.
    pub(super) odd_partitions: Vec<String>,
    /// Indexes that are not complete: what an interrupted build left.
    pub(super) invalid_indexes: Vec<String>,
}

/// A column.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) not_null: bool,
    pub(super) has_default: bool,
    pub(super) generated: bool,
    pub(super) kind: Type,
    pub(super) collation: Option<Collation>,
}

/// The type of a column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Type {
    /// As SQL writes it, without its modifiers.
    pub(super) name: String,
    /// It is the same on every server of that version.
    pub(super) builtin: bool,
    /// In order; empty for everything but enums.
    pub(super) labels: Vec<String>,
}

/// How a column's texts are compared, where that is not the database's own way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Collation {
    pub(super) name: String,
    /// Equal texts are the same bytes.
    pub(super) deterministic: bool,
    /// The library's version when it was made and now, where they differ.
    pub(super) drift: Option<(String, String)>,
}

/// A unique index that can identify rows when its columns are not null.
#[derive(Clone, Debug)]
pub(super) struct UniqueIndex {
    pub(super) name: String,
    pub(super) columns: Vec<String>,
    pub(super) primary: bool,
    pub(super) is_replica_identity: bool,
}

/// A unique constraint or primary key that is checked at the end of a transaction.
#[derive(Clone, Debug)]
pub(super) struct Deferrable {
    pub(super) name: String,
    /// As `pg_get_constraintdef` writes it.
    pub(super) definition: String,
    pub(super) columns: Vec<String>,
}

/// A trigger.
#[derive(Clone, Debug)]
pub(super) struct Trigger {
    pub(super) name: String,
    /// `tgenabled`: `O` origin, `A` always, `R` replica, `D` disabled.
    pub(super) enabled: char,
    /// Its condition leaves out what `ficus_applier` writes.
    pub(super) spares_applier: bool,
}

/// A foreign key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ForeignKey {
    pub(super) name: String,
    pub(super) from: TableName,
    pub(super) to: TableName,
    /// What a change of the referenced row does: `CASCADE`, `SET NULL`, `SET DEFAULT`, or nothing.
    pub(super) action: String,
}

impl Table {
    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    pub(super) fn primary_key(&self) -> Option<&UniqueIndex> {
        self.unique.iter().find(|index| index.primary)
    }

    /// The first unique index whose columns are all not null, primary key first.
    pub(super) fn key(&self) -> Option<&UniqueIndex> {
        self.unique.iter().find(|index| self.are_not_null(&index.columns))
    }

    pub(super) fn are_not_null(&self, columns: &[String]) -> bool {
        columns.iter().all(|name| self.column(name).is_some_and(|column| column.not_null))
    }

    /// Whether a unique index has exactly these columns.
    pub(super) fn is_unique(&self, columns: &[String]) -> bool {
        self.unique.iter().any(|index| {
            index.columns.len() == columns.len()
                && index.columns.iter().all(|column| columns.contains(column))
        })
    }
}

/// A name for SQL that people read: quoted only where it must be.
pub(super) fn ident(name: &str) -> String {
    // a table's name knows when its parts need quotes
    let qualified = TableName::new("s", name).to_string();
    qualified.strip_prefix("s.").map_or_else(|| quote_ident(name), str::to_owned)
}

/// Names for SQL that people read, with commas.
pub(super) fn idents(names: &[String]) -> String {
    names.iter().map(|name| ident(name)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
pub(super) mod sample;
