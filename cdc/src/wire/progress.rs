//! How far a stream has come: shared between the socket task and whoever applies.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use pg::Lsn;

/// A cheap handle to the positions of one stream. Positions only rise.
#[derive(Debug, Clone)]
pub struct Progress {
    positions: Arc<Positions>,
}

#[derive(Debug)]
struct Positions {
    received: AtomicU64,
    confirmed: AtomicU64,
    reported: AtomicU64,
    received_bytes: AtomicU64,
}

impl Progress {
    /// Nothing is confirmed at first: the slot stays as it is until the consumer says otherwise.
    pub(super) fn new(start_lsn: Lsn) -> Self {
        let positions = Positions {
            received: AtomicU64::new(start_lsn.as_u64()),
            confirmed: AtomicU64::new(0),
            reported: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
        };
        Self { positions: Arc::new(positions) }
    }

    /// Everything before `flushed` is safe on the target: the source may forget it. The server
    /// learns of it with the next status update. An earlier position than before changes nothing,
    /// and a position beyond [`Progress::received`] is reported only up to there.
    ///
    /// Confirm the position of keepalives too when nothing is in flight: the source keeps the log
    /// until then, and a source that shuts down waits for it.
    pub fn confirm(&self, flushed: Lsn) {
        self.positions.confirmed.fetch_max(flushed.as_u64(), Ordering::AcqRel);
    }

    /// The highest confirmed position.
    #[must_use]
    pub fn confirmed(&self) -> Lsn {
        Lsn::new(self.positions.confirmed.load(Ordering::Acquire))
    }

    /// The highest position that came from the server; the consumer may not have taken it yet.
    #[must_use]
    pub fn received(&self) -> Lsn {
        Lsn::new(self.positions.received.load(Ordering::Acquire))
    }

    /// The confirmed position as it was last handed to the socket.
    #[must_use]
    pub fn reported(&self) -> Lsn {
        Lsn::new(self.positions.reported.load(Ordering::Acquire))
    }

    /// Bytes that came from the server, protocol included.
    #[must_use]
    pub fn received_bytes(&self) -> u64 {
        self.positions.received_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn add_received(&self, lsn: Lsn) {
        self.positions.received.fetch_max(lsn.as_u64(), Ordering::AcqRel);
    }

    pub(super) fn add_received_bytes(&self, count: usize) {
        let count = u64::try_from(count).expect("a length fits 64 bits");
        self.positions.received_bytes.fetch_add(count, Ordering::Relaxed);
    }

    /// What to tell the server now: received, and confirmed within it.
    pub(super) fn report(&self) -> (Lsn, Lsn) {
        let received = self.received();
        let flushed = self.confirmed().min(received);
        self.positions.reported.fetch_max(flushed.as_u64(), Ordering::AcqRel);
        (received, flushed)
    }
}
