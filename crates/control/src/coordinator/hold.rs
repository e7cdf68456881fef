//! Holding writes at the proxies. For speed and smoothness only: the guards protect.

use std::time::Duration;

use cutover::Event;
use tokio::time::Instant;

use super::{Outcome, Run};

/// How long writes may take to drain before the transfer is given up.
const DRAIN_BUDGET: Duration = Duration::from_secs(2);

impl Run {
    /// Publishes the hold and waits until no connected proxy has a write in flight.
    pub(super) async fn publish_hold(&mut self) -> Outcome {
        let mut changes = self.core.proxies.changes();
        let hold = self.core.board.hold(&self.capability);
        let generation = hold.generation;
        self.hold = Some(hold);
        let begun = Instant::now();
        self.hold_begun = Some(begun);
        let deadline = begun + DRAIN_BUDGET;
        loop {
            changes.mark_unchanged();
            let progress = self.core.proxies.hold_progress(&self.capability, generation);
            let late = Instant::now() >= deadline;
            if progress.busy.is_empty() && (progress.silent == 0 || late) {
                let detail = if progress.silent == 0 {
                    format!("{} proxies hold", progress.holding)
                } else {
                    format!("{} proxies hold, {} silent", progress.holding, progress.silent)
                };
                return Outcome { event: Event::Held { silent: progress.silent }, detail };
            }
            if late {
                let reason = format!("writes did not drain: {}", progress.busy.join(", "));
                return Outcome { detail: reason.clone(), event: Event::Failed { reason } };
            }
            // A report may change everything, and so may the passing of time.
            let tick = (Instant::now() + Duration::from_millis(100)).min(deadline);
            let _report_or_tick = tokio::time::timeout_at(tick, changes.changed()).await;
        }
    }
}
