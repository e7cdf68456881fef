//! How much log the database that is read keeps for a stream, whether that is too much, and what
//! then. Decisions only; [`read`] is the one place that asks.
//!
//! ```text
//! used share of the limit   0 ─── ok ─── 50 % ── warning ── 80 % ── alarm ── 100 % ── exhausted
//! ```
//!
//! The limit is the stream's budget, or less where the server itself gives slots up earlier. Only
//! numbers that the server gave lead to a decision: what is unknown raises no alarm and drops no slot.

mod reading;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, time::Duration};

use cutover::StreamKind;
use routes::LastResort;

use crate::spec::StreamSpec;

pub(crate) use reading::{Reading, SlotReading, SlotStatus, read};

const WARNING_FROM: f64 = 0.5;
const ALARM_FROM: f64 = 0.8;

/// So many readings in a row must be over the budget before a slot is dropped.
const EXHAUSTED_READINGS: u32 = 3;

/// Growth is measured over so long: the server lets go of log in jumps, about every 15 s.
const GROWTH_OVER: Duration = Duration::from_secs(60);

/// Over less time than this growth says nothing.
const GROWTH_AFTER: Duration = Duration::from_secs(5);

/// A slot that could not be dropped is tried again after this time.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// What the configuration allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    pub(crate) bytes: u64,
    pub(crate) last_resort: LastResort,
}

/// How serious it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Ok,
    Warning,
    Alarm,
    /// The budget is used up.
    Exhausted,
    /// The server has removed log that the slot needs.
    Lost,
}

/// Who would end the stream at the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    /// We, by `wal_budget`.
    Budget,
    /// The server, by `max_slot_wal_keep_size`.
    Server,
}

/// What one reading means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Assessment {
    /// `None`: the server did not give the numbers.
    pub(crate) level: Option<Level>,
    pub(crate) slot: SlotStatus,
    pub(crate) limit: u64,
    pub(crate) bound: Bound,
    pub(crate) retained: Option<u64>,
    /// Share of the limit.
    pub(crate) used: Option<f64>,
    /// Until the limit, as fast as the log has grown lately; `None`: unknown, or it does not grow.
    pub(crate) eta: Option<Duration>,
}

/// Why a stream must end now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GiveUp {
    /// The server has removed log that the slot needs.
    Lost,
    /// The server is about to, and a copy cannot hurry.
    Losing,
    /// The budget is used up: the slot goes, so that the database lives.
    Exhausted { retained: u64, budget: u64 },
}

/// Judges the readings of one stream, one after the other.
#[derive(Debug)]
pub(crate) struct WalWatch {
    budget: Budget,
    /// When how much was retained.
    history: VecDeque<(Duration, u64)>,
    /// Readings over the budget, in a row.
    exhausted: u32,
    gave_up_at: Option<Duration>,
}

impl Level {
    pub(crate) const ALL: [Self; 5] =
        [Self::Ok, Self::Warning, Self::Alarm, Self::Exhausted, Self::Lost];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Alarm => "alarm",
            Self::Exhausted => "exhausted",
            Self::Lost => "lost",
        }
    }
}

impl Bound {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Budget => "wal_budget",
            Self::Server => "max_slot_wal_keep_size",
        }
    }
}

impl WalWatch {
    pub(crate) const fn new(budget: Budget) -> Self {
        Self { budget, history: VecDeque::new(), exhausted: 0, gave_up_at: None }
    }

    /// Judges a reading of the slot. `None`: it could not be read, or there is no such slot.
    pub(crate) fn assess(
        &mut self,
        now: Duration,
        slot: Option<&SlotReading>,
    ) -> Option<Assessment> {
        let Some(slot) = slot else {
            self.exhausted = 0;
            return None;
        };
        let (limit, bound) = limit(self.budget.bytes, slot);
        let used = slot.retained.map(|retained| share(retained, limit));
        let assessment = Assessment {
            level: level(self.budget.bytes, slot, used),
            slot: slot.status,
            limit,
            bound,
            retained: slot.retained,
            used,
            eta: slot.retained.and_then(|retained| self.eta(now, retained, limit)),
        };
        self.exhausted = match assessment.level {
            Some(Level::Exhausted) => self.exhausted.saturating_add(1),
            Some(Level::Ok | Level::Warning | Level::Alarm | Level::Lost) | None => 0,
        };
        Some(assessment)
    }

    /// Whether the stream must end for what was just assessed; said once, and again while a slot
    /// that was to be dropped is still there.
    pub(crate) fn give_up(
        &mut self,
        now: Duration,
        assessment: &Assessment,
        is_copying: bool,
    ) -> Option<GiveUp> {
        let Some(why) = self.reason_to_give_up(assessment, is_copying) else {
            self.gave_up_at = None;
            return None;
        };
        let is_due = match (self.gave_up_at, why) {
            (None, _) => true,
            (Some(at), GiveUp::Exhausted { .. }) => now.saturating_sub(at) >= AGAIN_AFTER,
            (Some(_), GiveUp::Lost | GiveUp::Losing) => false,
        };
        if !is_due {
            return None;
        }
        self.gave_up_at = Some(now);
        Some(why)
    }

    fn reason_to_give_up(&self, assessment: &Assessment, is_copying: bool) -> Option<GiveUp> {
        match assessment.level? {
            Level::Lost => Some(GiveUp::Lost),
            Level::Exhausted => match self.budget.last_resort {
                LastResort::DropSlot if self.exhausted >= EXHAUSTED_READINGS => {
                    let retained = assessment.retained?;
                    Some(GiveUp::Exhausted { retained, budget: self.budget.bytes })
                }
                LastResort::DropSlot | LastResort::Keep => None,
            },
            Level::Ok | Level::Warning | Level::Alarm => {
                (is_copying && assessment.slot == SlotStatus::Unreserved).then_some(GiveUp::Losing)
            }
        }
    }

    fn eta(&mut self, now: Duration, retained: u64, limit: u64) -> Option<Duration> {
        self.history.push_back((now, retained));
        while self.history.front().is_some_and(|(at, _)| now.saturating_sub(*at) > GROWTH_OVER) {
            self.history.pop_front();
        }
        let (since, before) = *self.history.front()?;
        let over = now.saturating_sub(since);
        let grown = retained.checked_sub(before).filter(|grown| *grown > 0)?;
        if over < GROWTH_AFTER {
            return None;
        }
        let left = limit.saturating_sub(retained);
        Duration::try_from_secs_f64(over.as_secs_f64() * share(left, grown)).ok()
    }
}

impl GiveUp {
    /// Whether the slot goes.
    pub(crate) const fn drops_slot(self) -> bool {
        match self {
            Self::Exhausted { .. } => true,
            Self::Lost | Self::Losing => false,
        }
    }

    /// What happened, what is lost with it, and what to do.
    pub(crate) fn reason(self, spec: &StreamSpec) -> String {
        let (slot, side) = (spec.slot(), spec.reads());
        let what = match self {
            Self::Lost => format!(
                "the {side} server removed log that slot {slot} needs (max_slot_wal_keep_size, or a \
                 limit on idle slots)"
            ),
            Self::Losing => format!(
                "the {side} server is about to remove log that slot {slot} needs \
                 (max_slot_wal_keep_size) and the copy is not done: raise the limit"
            ),
            Self::Exhausted { retained, budget } => format!(
                "the {side} server kept {} of log for slot {slot}, wal_budget is {}: the slot was given \
                 up so that the disk does not fill",
                size(retained),
                size(budget)
            ),
        };
        let lost = match spec.kind {
            StreamKind::Forward | StreamKind::Reference => {
                "what the monolith writes does not reach the service any more: drop the stream and start \
                 it again, which copies its tables anew"
            }
            StreamKind::Reverse => {
                "the way back is lost: what the service writes does not reach the monolith any more, and \
                 a rollback is refused"
            }
        };
        format!("{what}; {lost}")
    }
}

/// The nearer one of the budget and the server's own limit.
fn limit(budget: u64, slot: &SlotReading) -> (u64, Bound) {
    let server = slot.retained.zip(slot.safe).map(|(retained, safe)| {
        if safe < 0 {
            retained.saturating_sub(safe.unsigned_abs())
        } else {
            retained.saturating_add(safe.unsigned_abs())
        }
    });
    match server {
        Some(server) if server < budget => (server, Bound::Server),
        Some(_) | None => (budget, Bound::Budget),
    }
}

fn level(budget: u64, slot: &SlotReading, used: Option<f64>) -> Option<Level> {
    if slot.status == SlotStatus::Lost {
        return Some(Level::Lost);
    }
    let (retained, used) = (slot.retained?, used?);
    Some(if retained >= budget {
        Level::Exhausted
    } else if used >= ALARM_FROM || slot.status == SlotStatus::Unreserved {
        Level::Alarm
    } else if used >= WARNING_FROM {
        Level::Warning
    } else {
        Level::Ok
    })
}

/// A share needs no more than the 52 bits of a float.
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// `1.5 GiB`, `40.0 MiB`
fn size(bytes: u64) -> String {
    const GIB: u64 = 1 << 30;
    if bytes >= GIB {
        format!("{:.1} GiB", share(bytes, GIB))
    } else {
        format!("{:.1} MiB", share(bytes, 1 << 20))
    }
}
