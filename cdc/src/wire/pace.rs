//! How eagerly the socket is read: at once while the consumer waits, in larger pieces while it works.
//! A server that decodes sends message by message; whoever reads each as it comes makes both sides wake
//! for every row.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

/// Between two reads while nobody waits: short beside a commit, long beside the time between two rows.
const READ_EVERY: Duration = Duration::from_millis(1);

/// What the consumer does with what the socket brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Hurry {
    /// It waits for the next byte.
    Waits = 0,
    /// It puts by what comes, as fast as it comes.
    Gathers = 1,
    /// It works, and will take what has come when it is done.
    Works = 2,
}

/// Shared by the consumer, which knows whether it waits, and the socket task.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    hurry: AtomicU8,
    hurried: Notify,
}

impl Pace {
    pub(super) fn set(&self, hurry: Hurry) {
        let was = self.shared.hurry.swap(hurry as u8, Ordering::AcqRel);
        if was != hurry as u8 && hurry == Hurry::Waits {
            self.shared.hurried.notify_one();
        }
    }

    pub(super) fn hurry(&self) -> Hurry {
        match self.shared.hurry.load(Ordering::Acquire) {
            0 => Hurry::Waits,
            1 => Hurry::Gathers,
            _ => Hurry::Works,
        }
    }

    /// Returns when the next read is due after one at that time, or somebody waits.
    pub(super) async fn read_due(&self, last: Instant) {
        tokio::select! {
            () = tokio::time::sleep_until(last + READ_EVERY) => {}
            () = self.shared.hurried.notified() => {}
        }
    }
}
