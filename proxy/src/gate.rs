//! The gate of one capability: holds its writes during a transfer, and knows when none is under way.
//!
//! ```text
//! writer:   subscribe ─> register in flight ─> look at the word ─┬─ open:   pass, send
//!                                                                └─ closed: unregister, wait
//! keeper:   close the word ─────────────────────> read in flight: 0 means none can follow
//! ```
//! Both sides write one variable and then read the other's, sequentially consistent, so a writer that
//! saw the gate open is in the count of whoever saw it closed. Bodies are not read while held.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use cutover::Side;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout_at},
};

/// Writes released at once; the next as many follow an interval later, so that the new owner is not
/// hit by the whole hold in one moment.
const RELEASE_BATCH: u64 = 32;
const RELEASE_INTERVAL: Duration = Duration::from_millis(20);

/// Where a gate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    /// Writes wait.
    Closed,
    /// Writes go to this side.
    Open(Side),
}

/// The gate of one capability. Lives as long as the process, over every reload.
#[derive(Debug)]
pub(crate) struct Gate {
    /// `turn << 2 | position`: one word, so that both are read at once.
    word: AtomicU64,
    inflight: AtomicU64,
    held: AtomicU64,
    next_ticket: AtomicU64,
    first_ticket: AtomicU64,
    longest_hold_ms: AtomicU64,
    turned: Notify,
    drained: Arc<Notify>,
}

/// What a report says about a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// The gate is closed.
    pub(crate) holding: bool,
    /// Writes that were sent, or may be, and are not answered.
    pub(crate) inflight: u64,
    /// Writes waiting.
    pub(crate) held: u64,
    /// Longest wait since the gate last closed.
    pub(crate) longest_hold: Duration,
}

/// How long a write may wait, and for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Longest wait.
    pub(crate) budget: Duration,
    /// Writes that may wait at this gate at the same time.
    pub(crate) held_max: usize,
    /// The turn at which the owner refused this write: wait for another one even if the gate is open.
    pub(crate) refused_at: Option<u64>,
}

/// Why a write did not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Too many are waiting.
    Full,
    /// Waited for the whole budget.
    Expired,
    /// The downstream left.
    Left,
}

/// The right to send one write; counts as in flight until dropped.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Arc<Gate>,
    /// Where to send it.
    pub(crate) side: Side,
    /// The turn of the gate it passed at.
    pub(crate) turn: u64,
    /// How long it was held.
    pub(crate) waited: Duration,
}

/// Counts one waiting write.
struct Held<'g>(&'g Gate);

impl Gate {
    /// A gate that is open to `side`; `drained` is notified when the last write in flight of a closed
    /// gate ends.
    pub(crate) fn new(side: Side, drained: Arc<Notify>) -> Self {
        Self {
            word: AtomicU64::new(encode(0, Position::Open(side))),
            inflight: AtomicU64::new(0),
            held: AtomicU64::new(0),
            next_ticket: AtomicU64::new(0),
            first_ticket: AtomicU64::new(0),
            longest_hold_ms: AtomicU64::new(0),
            turned: Notify::new(),
            drained,
        }
    }

    /// Turns the gate. Only one task may call this; nothing happens when it already stands there.
    pub(crate) fn turn(&self, position: Position) {
        let (turn, current) = decode(self.word.load(SeqCst));
        if current == position {
            return;
        }
        if position == Position::Closed {
            self.first_ticket.store(self.next_ticket.load(SeqCst), SeqCst);
            self.longest_hold_ms.store(0, SeqCst);
        }
        self.word.store(encode(turn + 1, position), SeqCst);
        self.turned.notify_waiters();
    }

    /// Where the gate stands.
    pub(crate) fn position(&self) -> Position {
        decode(self.word.load(SeqCst)).1
    }

    /// For a report: `holding` with nothing in flight means that no write can be sent any more until
    /// the gate turns again. The position is read first; the other order would prove nothing.
    pub(crate) fn traffic(&self) -> Traffic {
        let holding = self.position() == Position::Closed;
        Traffic {
            holding,
            inflight: self.inflight.load(SeqCst),
            held: self.held.load(SeqCst),
            longest_hold: Duration::from_millis(self.longest_hold_ms.load(SeqCst)),
        }
    }

    /// Passes at once when open; otherwise waits for the gate to open, paced, until `left` completes
    /// or the patience ends. Dropping the future gives up the place.
    ///
    /// # Errors
    /// Says why the write must not be sent.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        patience: Patience,
        left: impl Future<Output = ()>,
    ) -> Result<Pass, Refusal> {
        if let Some(pass) = self.try_enter(patience.refused_at) {
            return Ok(pass);
        }
        let _held = Held::new(self, patience.held_max).ok_or(Refusal::Full)?;
        let arrived = Instant::now();
        let admitted = timeout_at(arrived + patience.budget, self.admit(patience.refused_at));
        let mut pass = tokio::select! {
            biased;
            () = left => return Err(Refusal::Left),
            pass = admitted => pass.map_err(|_elapsed| Refusal::Expired)?,
        };
        pass.waited = arrived.elapsed();
        self.longest_hold_ms.fetch_max(millis(pass.waited), SeqCst);
        Ok(pass)
    }

    async fn admit(self: &Arc<Self>, refused_at: Option<u64>) -> Pass {
        loop {
            let turned = self.turned.notified();
            if let Some(pass) = self.try_enter(refused_at) {
                return pass;
            }
            let ticket = self.next_ticket.fetch_add(1, SeqCst);
            turned.await;
            let place = ticket.saturating_sub(self.first_ticket.load(SeqCst));
            let batch = u32::try_from(place / RELEASE_BATCH).unwrap_or(u32::MAX);
            if batch > 0 {
                sleep(RELEASE_INTERVAL.saturating_mul(batch)).await;
            }
        }
    }

    fn try_enter(self: &Arc<Self>, refused_at: Option<u64>) -> Option<Pass> {
        // A first look without registering: arrivals must not disturb the count of a closed gate.
        self.look(refused_at)?;
        self.inflight.fetch_add(1, SeqCst);
        let mut pass =
            Pass { gate: Arc::clone(self), side: Side::Source, turn: 0, waited: Duration::ZERO };
        (pass.turn, pass.side) = self.look(refused_at)?;
        Some(pass)
    }

    fn look(&self, refused_at: Option<u64>) -> Option<(u64, Side)> {
        let (turn, position) = decode(self.word.load(SeqCst));
        match position {
            Position::Open(side) if refused_at != Some(turn) => Some((turn, side)),
            Position::Open(_) | Position::Closed => None,
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let before = self.gate.inflight.fetch_sub(1, SeqCst);
        if before == 1 && self.gate.position() == Position::Closed {
            self.gate.drained.notify_one();
        }
    }
}

impl<'g> Held<'g> {
    fn new(gate: &'g Gate, max: usize) -> Option<Self> {
        let held = Self(gate);
        let before = gate.held.fetch_add(1, SeqCst);
        (before < u64::try_from(max).unwrap_or(u64::MAX)).then_some(held)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, SeqCst);
    }
}

fn encode(turn: u64, position: Position) -> u64 {
    let bits = match position {
        Position::Closed => 0,
        Position::Open(Side::Source) => 1,
        Position::Open(Side::Target) => 2,
    };
    turn << 2 | bits
}

fn decode(word: u64) -> (u64, Position) {
    let position = match word & 3 {
        1 => Position::Open(Side::Source),
        2 => Position::Open(Side::Target),
        _ => Position::Closed,
    };
    (word >> 2, position)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
