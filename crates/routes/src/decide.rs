//! The routing decision for one request of a capability: a pure function of what the caller saw.
//!
//! ```text
//! phase              reads                                              writes
//! monolith,          source                                             owner
//! replicating
//! shadowing          source, copied to the target                       owner
//! reading p %        buckets below p: target when caught up,            owner
//!                    else source, copied to the target
//! switched,          target                                             owner
//! completed
//! ```
//!
//! While writes are held, reads go on as before. When the owner is not the one the phase names, a
//! transfer has been decided a moment ago: the owner then answers everything, because the other side
//! may already be behind.

use std::hash::Hasher;

use cutover::{Phase, Side};
use siphasher::sip::SipHasher13;

use crate::Effect;

/// Number of buckets; a percent is exactly 100 of them.
pub const BUCKETS: u16 = 10_000;

/// Fixed for all time and all processes: a subject must fall into the same bucket everywhere. They
/// guard nothing; a client that chooses its bucket only chooses which side answers its reads.
const BUCKET_KEYS: (u64, u64) = (0x6669_6375_735f_6275, 0x636b_6574_735f_7631);

/// Where a subject stands in the order in which reads are moved: 0 to 9 999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(u16);

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Send it to this side.
    Send {
        /// The side that answers the downstream.
        to: Side,
        /// The side that is asked too, if the route has a shadow, to compare the answers.
        shadow: Option<Side>,
    },
    /// Keep it at the gate, body unread, until the transfer ends.
    Hold,
}

impl Bucket {
    /// The bucket of a subject, the same in every process and version.
    #[must_use]
    pub fn of(subject: &[u8]) -> Self {
        let mut hasher = SipHasher13::new_with_keys(BUCKET_KEYS.0, BUCKET_KEYS.1);
        hasher.write(subject);
        let bucket = hasher.finish() % u64::from(BUCKETS);
        Self(u16::try_from(bucket).expect("a remainder of 10 000 fits 16 bits"))
    }

    /// The number, 0 to 9 999.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Whether the bucket belongs to the first `percent` of all subjects. A larger share contains
    /// every smaller one.
    #[must_use]
    pub fn is_below(self, percent: u8) -> bool {
        self.0 < u16::from(percent) * (BUCKETS / 100)
    }
}

impl Verdict {
    const fn send(to: Side) -> Self {
        Self::Send { to, shadow: None }
    }
}

/// Decides where a request of a capability goes.
///
/// `owner` is the side whose guard is open, or was last; `holding` says that the gate is closed;
/// `caught_up` says that the service has applied everything this subject was told it wrote, and is
/// `false` when that is not known.
#[must_use]
pub fn decide(
    phase: Phase,
    owner: Side,
    holding: bool,
    effect: Effect,
    bucket: Bucket,
    caught_up: bool,
) -> Verdict {
    match effect {
        Effect::Write if holding => Verdict::Hold,
        Effect::Write => Verdict::send(owner),
        Effect::Read if owner != phase.owner() => Verdict::send(owner),
        Effect::Read => decide_read(phase, bucket, caught_up),
    }
}

fn decide_read(phase: Phase, bucket: Bucket, caught_up: bool) -> Verdict {
    let compared = Verdict::Send { to: Side::Source, shadow: Some(Side::Target) };
    match phase {
        Phase::Monolith | Phase::Replicating => Verdict::send(Side::Source),
        Phase::Shadowing => compared,
        Phase::Reading { percent } if bucket.is_below(percent) && caught_up => {
            Verdict::send(Side::Target)
        }
        Phase::Reading { .. } => compared,
        Phase::Switched | Phase::Completed => Verdict::send(Side::Target),
    }
}

#[cfg(test)]
mod tests;
