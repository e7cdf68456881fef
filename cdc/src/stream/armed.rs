//! What to make of rows that arrive while the stream may not apply: either it was just armed, or it
//! is about to be, or a side that does not own the capability was written to.

use std::time::Duration;

use crate::{StreamError, apply_row::Mode, change::Change, stream::Run};

/// How often the row is looked at while the stream waits to be armed.
const LOOK_EVERY: Duration = Duration::from_millis(20);

impl Run {
    /// Returns when the stream may apply the change.
    ///
    /// While the guard of the side that is read says OPEN or FENCED, that side owns the capability and
    /// its writes are in order: an aborted transfer left the stream stopped, and whoever finishes
    /// the abort arms it.
    ///
    /// # Errors
    /// [`StreamError::Breach`] when that side does not own the capability.
    pub(super) async fn wait_until_armed(&mut self, change: &Change) -> Result<(), StreamError> {
        loop {
            if self.is_armed().await? {
                return Ok(());
            }
            if !self.reading_side_owns().await? {
                // It may have been armed between the two looks.
                if self.is_armed().await? {
                    return Ok(());
                }
                return Err(self.breach(change));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn is_armed(&mut self) -> Result<bool, StreamError> {
        let applier = self.applier().await?;
        applier.refresh().await?;
        Ok(applier.row().mode == Mode::Apply)
    }

    async fn reading_side_owns(&mut self) -> Result<bool, StreamError> {
        let side = self.shared.spec.reads();
        let capability = std::sync::Arc::clone(&self.shared.spec.capability);
        let row = self
            .applier()
            .await?
            .reader()
            .await?
            .query_opt("SELECT state FROM ficus.guard WHERE capability = $1", &[&&*capability])
            .await
            .map_err(StreamError::database("read the guard", side))?;
        Ok(row.is_some_and(|row| row.get::<_, &str>(0) != "MOVED"))
    }

    fn breach(&self, change: &Change) -> StreamError {
        let plan = change.table().and_then(|table| self.plans.get(table));
        let table = plan.map_or_else(String::new, |plan| plan.read.to_string());
        StreamError::Breach { table, side: self.shared.spec.reads() }
    }
}
