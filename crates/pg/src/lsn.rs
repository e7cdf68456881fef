//! A position in the write-ahead log. Positions are only comparable within one lineage
//! (system identifier and timeline); this type does not know the lineage.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A byte position in a server's write-ahead log, in PostgreSQL's text form `16/B374D848`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(u64);

/// Why a text is not an [`Lsn`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a log position, write it like 16/B374D848")]
pub struct ParseLsnError {
    text: String,
}

impl Lsn {
    /// The position that PostgreSQL calls invalid: "nothing yet", smaller than every real one.
    pub const ZERO: Self = Self(0);
    /// Larger than every position that a server can reach.
    pub const MAX: Self = Self(u64::MAX);

    /// The position with this byte number.
    #[must_use]
    pub const fn new(byte: u64) -> Self {
        Self(byte)
    }

    /// The byte number, as the wire protocol carries it.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Whether this is [`Lsn::ZERO`].
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The position `bytes` further on, or `None` beyond the end of the number space.
    #[must_use]
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(byte) => Some(Self(byte)),
            None => None,
        }
    }

    /// The position `bytes` earlier, or `None` before the beginning of the log.
    #[must_use]
    pub const fn checked_sub(self, bytes: u64) -> Option<Self> {
        match self.0.checked_sub(bytes) {
            Some(byte) => Some(Self(byte)),
            None => None,
        }
    }

    /// Bytes of log between `earlier` and this position, or `None` when `earlier` is the later one.
    #[must_use]
    pub const fn checked_since(self, earlier: Self) -> Option<u64> {
        self.0.checked_sub(earlier.0)
    }

    /// Bytes of log between `earlier` and this position; 0 when `earlier` is the later one.
    /// For lag figures, where two readings may cross.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Lsn {
    type Err = ParseLsnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseLsnError { text: text.to_owned() };
        let (high, low) = text.split_once('/').ok_or_else(error)?;
        let high = parse_half(high).ok_or_else(error)?;
        let low = parse_half(low).ok_or_else(error)?;
        Ok(Self(u64::from(high) << 32 | u64::from(low)))
    }
}

/// `from_str_radix` takes a sign, PostgreSQL does not.
fn parse_half(text: &str) -> Option<u32> {
    let is_hex = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u32::from_str_radix(text, 16).ok()).flatten()
}

impl From<u64> for Lsn {
    fn from(byte: u64) -> Self {
        Self(byte)
    }
}

impl From<Lsn> for u64 {
    fn from(lsn: Lsn) -> Self {
        lsn.0
    }
}

impl Serialize for Lsn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Lsn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
