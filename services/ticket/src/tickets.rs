//! The tickets themselves. One file for each thing that can be done with them, shared by REST and
//! gRPC.
//!
//! Every write is one transaction that touches the tables in one order (`number_counters`,
//! `tickets`, `articles`, `article_bodies`, `ticket_events`, `ticket_flags`), so that writers and
//! the fence never lock in opposite orders. The wall clock is the database's: `now()`.

pub mod articles;
pub mod create;
pub mod draft;
pub mod get;
pub mod list;
pub mod state;
pub mod update;

mod event;
mod locked;
mod number;
mod reference;

use kit::{ApiError, Mode, Work};
use sqlx::PgPool;

use crate::CAPABILITY;

/// Longest title the column holds; the monolith counts bytes.
const TITLE_BYTES_MAX: usize = 255;

/// Everything that can be done with tickets. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tickets {
    pool: PgPool,
}

impl Tickets {
    /// Tickets in the database of `pool`.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    async fn begin(&self, mode: Mode) -> Result<Work, ApiError> {
        Work::begin(&self.pool, CAPABILITY, mode).await
    }
}
