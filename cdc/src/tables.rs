//! The tables of a stream, each with a state of its own: one that a conflict or a changed shape
//! stopped waits, with its changes parked, while the others go on.
//!
//! ```text
//! log ── ready? ──yes──> apply
//!          └────no────> ficus.parked ── replay (in order, by the stream) ──> apply
//!                             └─ resync: chunks ──> stage <── parked; stage ──merge──> table
//! ```

mod commands;
mod ddl;
mod load;
mod parked;
mod shape;
mod state;
mod store;

pub(crate) use commands::{
    abandon_resync, command, forget, key_of_conflict, park_no_more, quarantine, table_of_conflict,
};
pub(crate) use ddl::{changed_tables, check_description, note_shapes};
pub(crate) use load::{LoadedTables, load};
pub(crate) use parked::{Parked, ParkedRow, ParkedSize};
pub(crate) use shape::{Shape, ShapeChange};
pub(crate) use state::{TableCommand, TableState};
pub(crate) use store::{NewState, TableRow, outdated, read, set_state};

/// The queue of parked changes.
pub(crate) mod queue {
    pub(crate) use super::parked::{delete, drop_all, insert, next};
}
