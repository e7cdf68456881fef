//! A seeded simulation of one transfer after another: the machine, the guard rules, replicators,
//! proxies and a watcher, with delayed messages, and crashes of everything but the databases. Virtual
//! time, one thread, no IO: the same seed always gives the same run.

mod coordinator;
mod report;
mod rng;
mod world;

pub use report::Report;

use world::World;

/// Virtual time after which nothing new is started, in milliseconds.
const WORK_UNTIL_MS: u64 = 15_000;
/// Virtual time by which everything must have settled, in milliseconds.
const SETTLED_BY_MS: u64 = 25_000;

/// Runs one seed: several transfers there and back under load and crashes, then everything is left to
/// settle. Violations name what was broken and when; the log hash tells two runs apart.
#[must_use]
pub fn simulate(seed: u64) -> Report {
    let mut world = World::new(seed);
    while let Some(now) = world.advance() {
        world.check(now);
        if now > SETTLED_BY_MS {
            break;
        }
    }
    world.finish()
}

#[cfg(test)]
mod tests;
