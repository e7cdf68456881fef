//! How eagerly the socket is read: at once while the consumer waits, in larger pieces while it works.
//! A server that decodes sends message by message; whoever reads each as it comes makes both sides wake
//! for every row.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

/// Between two reads while nobody waits: short beside a commit, long beside the time between two rows.
const READ_EVERY: Duration = Duration::from_millis(1);

/// Shared by the consumer, which knows whether it waits, and the socket task.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    is_unhurried: AtomicBool,
    hurried: Notify,
}

impl Pace {
    pub(super) fn set_unhurried(&self, is_unhurried: bool) {
        let was = self.shared.is_unhurried.swap(is_unhurried, Ordering::AcqRel);
        if was && !is_unhurried {
            self.shared.hurried.notify_one();
        }
    }

    pub(super) fn is_unhurried(&self) -> bool {
        self.shared.is_unhurried.load(Ordering::Acquire)
    }

    /// Returns when the next read is due after one at that time, or somebody waits.
    pub(super) async fn read_due(&self, last: Instant) {
        tokio::select! {
            () = tokio::time::sleep_until(last + READ_EVERY) => {}
            () = self.shared.hurried.notified() => {}
        }
    }
}
