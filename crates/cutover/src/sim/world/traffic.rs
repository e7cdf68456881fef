//! Clients and proxies: writes arrive, are held or sent, and get at most one answer. Nothing is ever
//! sent twice.

use super::{Task, World};
use crate::Side;

const LEASE_MS: u64 = 3000;

/// What became of a write, as its client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Success was answered.
    Acknowledged,
    /// An error that means "nothing was done".
    Refused,
    /// No answer.
    Unknown,
}

/// What control publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) generation: u64,
    pub(crate) owner: Side,
    pub(crate) hold: bool,
}

#[derive(Debug)]
pub(super) struct Proxy {
    life: u32,
    table: Table,
    inflight: usize,
    held: Vec<u64>,
}

impl Default for Proxy {
    fn default() -> Self {
        let table = Table { generation: 0, owner: Side::Source, hold: false };
        Self { life: 0, table, inflight: 0, held: Vec::new() }
    }
}

impl Proxy {
    pub(super) fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }
}

impl World {
    fn proxy(&mut self, index: usize) -> &mut Proxy {
        self.proxies.get_mut(index).expect("proxies are numbered from 0 and never removed")
    }

    pub(super) fn arrive(&mut self) {
        if !self.is_working() {
            return;
        }
        let write = self.next_write;
        self.next_write += 1;
        self.outcomes.insert(write, Outcome::Unknown);
        let chosen = self.rng.between(0, u64::try_from(self.proxies.len()).unwrap_or(1));
        let chosen = usize::try_from(chosen).unwrap_or(0);
        if self.proxy(chosen).table.hold {
            self.proxy(chosen).held.push(write);
        } else {
            self.forward(chosen, write);
        }
        let next = self.rng.between(1, 60);
        self.after(next, Task::Arrive);
    }

    fn forward(&mut self, proxy: usize, write: u64) {
        let sender = self.proxy(proxy);
        sender.inflight += 1;
        let (side, life) = (sender.table.owner, sender.life);
        self.send(Task::Deliver { write, side, proxy, life });
    }

    pub(super) fn deliver(&mut self, write: u64, side: Side, proxy: usize, life: u32) {
        if self.database(side).begin(write) {
            let busy = self.rng.between(1, 15);
            self.after(busy, Task::Commit { write, side, proxy, life });
        } else {
            self.send(Task::Answer { write, acknowledged: false, proxy, life });
        }
    }

    pub(super) fn commit(&mut self, write: u64, side: Side, proxy: usize, life: u32) {
        self.database(side).commit(write);
        self.send(Task::Answer { write, acknowledged: true, proxy, life });
    }

    pub(super) fn answer(&mut self, write: u64, acknowledged: bool, proxy: usize, life: u32) {
        if self.proxy(proxy).life != life {
            return;
        }
        self.proxy(proxy).inflight -= 1;
        let outcome = if acknowledged { Outcome::Acknowledged } else { Outcome::Refused };
        self.outcomes.insert(write, outcome);
        self.tell(proxy);
    }

    /// A table with an older generation is refused; the same one renews the lease.
    pub(super) fn publish(&mut self, proxy: usize, table: Table) {
        let receiver = self.proxy(proxy);
        if table.generation < receiver.table.generation {
            return;
        }
        receiver.table = table;
        let life = receiver.life;
        if table.hold {
            let generation = table.generation;
            self.after(LEASE_MS, Task::LeaseEnds { proxy, life, generation });
        } else {
            self.let_go(proxy);
        }
        self.tell(proxy);
    }

    pub(super) fn lease_ends(&mut self, proxy: usize, life: u32, generation: u64) {
        let holder = self.proxy(proxy);
        if holder.life == life && holder.table.generation == generation && holder.table.hold {
            holder.table.hold = false;
            self.let_go(proxy);
        }
    }

    fn let_go(&mut self, proxy: usize) {
        for write in std::mem::take(&mut self.proxy(proxy).held) {
            self.forward(proxy, write);
        }
    }

    fn tell(&mut self, proxy: usize) {
        let Proxy { table, inflight, .. } = *self.proxy(proxy);
        let (generation, holding) = (table.generation, table.hold);
        self.send(Task::Report { proxy, generation, holding, inflight });
    }

    /// It forgets everything but the persisted table; its clients see a reset. What it sent goes on.
    pub(super) fn crash_some_proxy(&mut self) {
        let victim = self.rng.between(0, u64::try_from(self.proxies.len()).unwrap_or(1));
        let dead = self.proxy(usize::try_from(victim).unwrap_or(0));
        let table = Table { hold: false, ..dead.table };
        *dead = Proxy { life: dead.life + 1, table, ..Proxy::default() };
    }
}
