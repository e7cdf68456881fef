//! The fencing number of a capability.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Fencing number of a capability, kept in its guard rows. Grows with every fence and every expiry
/// and never goes back. `Epoch::NONE` (0) stands for "never prepared" and "closed from birth".
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// No epoch yet.
    pub const NONE: Self = Self(0);

    /// The epoch after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
