//! Turns touched numbers into what databases select fast: ranges where numbers lie close together,
//! single keys elsewhere.

use bytes::Bytes;

use super::Lead;
use crate::change::Key;

/// Numbers this far apart still belong to one range: an index reads the rows between them for less
/// than looking each up.
const GAP_MAX: i64 = 8;
/// Fewer numbers than this are looked up one by one.
const RANGE_KEYS_MIN: usize = 64;

/// What was touched, in a form that can be selected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    /// Single keys.
    pub(crate) keys: Vec<Key>,
    /// Ranges of the lead column.
    pub(crate) ranges: Vec<LeadRange>,
    /// Every row.
    pub(crate) is_whole: bool,
}

/// The rows whose lead column is in a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeadRange {
    /// The least value, as text.
    pub(crate) first: String,
    /// The greatest value, as text.
    pub(crate) last: String,
    /// Values in it; a bound on the rows where the lead column is the key.
    pub(crate) width: u64,
}

impl Parts {
    pub(crate) fn whole() -> Self {
        Self { is_whole: true, ..Self::default() }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.ranges.is_empty() && !self.is_whole
    }
}

impl LeadRange {
    /// The ranges of sorted blocks, neighbours put together.
    pub(super) fn of_blocks(blocks: &[i64], shift: u32, lead: Lead) -> Vec<Self> {
        let mut ranges: Vec<(i64, i64)> = Vec::new();
        for block in blocks {
            match ranges.last_mut() {
                Some((_, last)) if last.checked_add(1) == Some(*block) => *last = *block,
                Some(_) | None => ranges.push((*block, *block)),
            }
        }
        let rest = (1_i64 << shift) - 1;
        let bounds = ranges.into_iter().map(|(first, last)| (first << shift, last << shift | rest));
        bounds.map(|(first, last)| Self::new(first, last, lead)).collect()
    }

    fn new(first: i64, last: i64, lead: Lead) -> Self {
        let width = last.abs_diff(first).saturating_add(1);
        match lead {
            Lead::Integer => Self { first: first.to_string(), last: last.to_string(), width },
            Lead::Uuid => Self { first: uuid(first, 0), last: uuid(last, u64::MAX), width },
        }
    }
}

/// Sorted numbers that are keys.
pub(super) fn cover(numbers: &[i64]) -> Parts {
    let mut parts = Parts::default();
    let is_near = |before: &i64, next: &i64| next.abs_diff(*before) <= GAP_MAX.unsigned_abs();
    for run in numbers.chunk_by(is_near) {
        match run {
            [first, .., last] if run.len() >= RANGE_KEYS_MIN => {
                parts.ranges.push(LeadRange::new(*first, *last, Lead::Integer));
            }
            _ => {
                let key = |number: &i64| Key(vec![Bytes::from(number.to_string())]);
                parts.keys.extend(run.iter().map(key));
            }
        }
    }
    parts
}

fn uuid(first_half: i64, second_half: u64) -> String {
    let first_half = first_half.cast_unsigned() ^ (1 << 63);
    let (high, middle, low) = (first_half >> 32, first_half >> 16 & 0xffff, first_half & 0xffff);
    let (clock, node) = (second_half >> 48, second_half & 0xffff_ffff_ffff);
    format!("{high:08x}-{middle:04x}-{low:04x}-{clock:04x}-{node:012x}")
}
