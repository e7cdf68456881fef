//! What was touched in one table: keys, blocks of keys, or anything.

use std::{
    collections::HashSet,
    hash::{BuildHasherDefault, Hasher},
};

use bytes::Bytes;

use super::cover::{LeadRange, Parts, cover};
use crate::{change::Key, mapping::TablePlan};

/// Memory of a block and of a key beside its own bytes, roughly.
const BLOCK_BYTES: usize = 20;
const KEY_BYTES: usize = 64;

/// How the rows of a table are identified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyShape {
    /// Columns of the key.
    pub(crate) columns: usize,
    /// The column that both databases have in order, and what it is; without it there are no ranges.
    pub(crate) lead: Option<(usize, Lead)>,
}

/// A column whose values are numbers in the order of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lead {
    /// An integer.
    Integer,
    /// A uuid, by its first half.
    Uuid,
}

/// Numbers are taken note of for every change: hashing them must cost next to nothing.
type Blocks = HashSet<i64, BuildHasherDefault<Mix>>;

/// Spreads every bit of a number over the whole hash.
#[derive(Debug, Default)]
pub(super) struct Mix(u64);

/// What was touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Touched {
    /// Single keys: the length and the bytes of each value.
    Keys { keys: HashSet<Box<[u8]>>, bytes: usize },
    /// Numbers of the lead column, without their last `shift` bits.
    Blocks { blocks: Blocks, shift: u32 },
    /// Anything.
    Whole,
}

impl Hasher for Mix {
    fn write_i64(&mut self, number: i64) {
        let number = number.cast_unsigned();
        let mixed = (number ^ (number >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 29);
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_i64((self.0.rotate_left(8) ^ u64::from(*byte)).cast_signed());
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl KeyShape {
    /// How a stream identifies the rows of a table; `order` has the places of its key's columns in the
    /// order of touched keys.
    pub(crate) fn of(plan: &TablePlan, order: &[usize]) -> Self {
        let lead = plan.key.first().and_then(|key| {
            let read = plan.columns.get(key.read).map(|column| column.cast.as_str())?;
            let lead = match (Lead::of(read)?, Lead::of(&key.write_type)?) {
                (read, written) if read == written => read,
                (Lead::Integer | Lead::Uuid, _) => return None,
            };
            Some((order.iter().position(|place| *place == 0)?, lead))
        });
        Self { columns: order.len(), lead }
    }

    /// The key is one integer: a block of one number is a key.
    const fn is_integer(self) -> bool {
        matches!(self, Self { columns: 1, lead: Some((_, Lead::Integer)) })
    }
}

impl Lead {
    fn of(type_name: &str) -> Option<Self> {
        match type_name {
            "smallint" | "integer" | "bigint" => Some(Self::Integer),
            "uuid" => Some(Self::Uuid),
            _ => None,
        }
    }

    /// The number of a value's text, in the order of the values.
    pub(crate) fn number(self, text: &[u8]) -> Option<i64> {
        match self {
            Self::Integer => integer(text),
            Self::Uuid => uuid_first_half(text),
        }
    }
}

impl Touched {
    pub(super) fn none() -> Self {
        Self::Keys { keys: HashSet::new(), bytes: 0 }
    }

    /// Adds a key; `scratch` is written over.
    pub(super) fn add<'k>(
        &mut self,
        shape: KeyShape,
        values: impl IntoIterator<Item = &'k [u8]>,
        scratch: &mut Vec<u8>,
    ) {
        if shape.is_integer() && self.is_empty() {
            *self = Self::Blocks { blocks: Blocks::default(), shift: 0 };
        }
        match self {
            Self::Whole => {}
            Self::Blocks { blocks, shift } => {
                let number = shape.lead.and_then(|(place, lead)| {
                    values.into_iter().nth(place).and_then(|value| lead.number(value))
                });
                match number {
                    Some(number) => drop(blocks.insert(number >> *shift)),
                    None => *self = Self::Whole,
                }
            }
            Self::Keys { keys, bytes } => {
                encode(values, scratch);
                if !keys.contains(scratch.as_slice()) {
                    *bytes += scratch.len();
                    keys.insert(scratch.as_slice().into());
                }
            }
        }
    }

    /// Adds a key that is one integer; `false` where keys are something else.
    pub(super) fn add_number(&mut self, shape: KeyShape, number: i64) -> bool {
        if !shape.is_integer() {
            return false;
        }
        if self.is_empty() {
            *self = Self::Blocks { blocks: Blocks::default(), shift: 0 };
        }
        match self {
            Self::Whole => true,
            Self::Blocks { blocks, shift } => {
                blocks.insert(number >> *shift);
                true
            }
            Self::Keys { .. } => false,
        }
    }

    pub(super) fn merge(&mut self, other: Self, shape: KeyShape) {
        if self.is_empty() {
            *self = other;
            return;
        }
        if other.is_empty() {
            return;
        }
        match (&mut *self, other) {
            (Self::Keys { keys, bytes }, Self::Keys { keys: more, .. }) => {
                keys.extend(more);
                *bytes = keys.iter().map(|key| key.len()).sum();
            }
            (Self::Blocks { blocks, shift }, Self::Blocks { blocks: more, shift: theirs }) => {
                let common = (*shift).max(theirs);
                coarsen_to(blocks, common - *shift);
                blocks.extend(more.into_iter().map(|block| block >> (common - theirs)));
                *shift = common;
            }
            (Self::Whole, _) | (_, Self::Whole) => *self = Self::Whole,
            (Self::Keys { .. }, blocks @ Self::Blocks { .. }) => {
                let keys = std::mem::replace(self, blocks);
                self.merge(keys.in_blocks(Some(shape)), shape);
            }
            (Self::Blocks { .. }, keys @ Self::Keys { .. }) => {
                self.merge(keys.in_blocks(Some(shape)), shape);
            }
        }
    }

    /// Takes less memory, and stands for more.
    pub(super) fn coarsen(&mut self, shape: Option<KeyShape>) {
        match self {
            Self::Whole => {}
            Self::Keys { .. } => {
                *self = std::mem::replace(self, Self::Whole).in_blocks(shape);
            }
            Self::Blocks { blocks, shift } => {
                let wanted = blocks.len() / 2;
                while blocks.len() > wanted && *shift < 60 {
                    coarsen_to(blocks, 2);
                    *shift += 2;
                }
                if blocks.len() > wanted {
                    *self = Self::Whole;
                }
            }
        }
    }

    pub(super) fn parts(self, shape: KeyShape) -> Parts {
        match (self, shape.lead) {
            (Self::Keys { keys, .. }, _) => {
                let keys = keys.iter().map(|key| decode(key)).collect();
                Parts { keys, ..Parts::default() }
            }
            (Self::Blocks { blocks, shift }, Some((_, lead))) => {
                let mut blocks: Vec<i64> = blocks.into_iter().collect();
                blocks.sort_unstable();
                if shift == 0 && shape.is_integer() {
                    return cover(&blocks);
                }
                Parts { ranges: LeadRange::of_blocks(&blocks, shift, lead), ..Parts::default() }
            }
            (Self::Blocks { .. } | Self::Whole, _) => Parts::whole(),
        }
    }

    pub(super) fn memory(&self) -> usize {
        match self {
            Self::Whole => 0,
            Self::Keys { keys, bytes } => keys.len() * KEY_BYTES + bytes,
            Self::Blocks { blocks, .. } => blocks.len() * BLOCK_BYTES,
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Whole => 0,
            Self::Keys { keys, .. } => keys.len(),
            Self::Blocks { blocks, .. } => blocks.len(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.is_whole() && self.len() == 0
    }

    pub(super) const fn is_whole(&self) -> bool {
        matches!(self, Self::Whole)
    }

    pub(super) const fn is_keys(&self) -> bool {
        matches!(self, Self::Keys { .. })
    }

    /// Whether each member is one key.
    pub(super) const fn is_exact(&self, shape: KeyShape) -> bool {
        match self {
            Self::Keys { .. } => true,
            Self::Blocks { shift, .. } => *shift == 0 && shape.is_integer(),
            Self::Whole => false,
        }
    }

    fn in_blocks(self, shape: Option<KeyShape>) -> Self {
        let Self::Keys { keys, .. } = self else { return self };
        let Some((place, lead)) = shape.and_then(|shape| shape.lead) else { return Self::Whole };
        let number = |key: &[u8]| decode(key).0.get(place).and_then(|value| lead.number(value));
        let blocks: Option<Blocks> = keys.iter().map(|key| number(key)).collect();
        blocks.map_or(Self::Whole, |blocks| Self::Blocks { blocks, shift: 0 })
    }
}

fn coarsen_to(blocks: &mut Blocks, shift: u32) {
    if shift > 0 {
        *blocks = blocks.iter().map(|block| block >> shift).collect();
    }
}

fn encode<'k>(values: impl IntoIterator<Item = &'k [u8]>, key: &mut Vec<u8>) {
    key.clear();
    for value in values {
        let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
        key.extend_from_slice(&length.to_le_bytes());
        key.extend_from_slice(value);
    }
}

fn decode(mut key: &[u8]) -> Key {
    let mut values = Vec::new();
    while let Some((length, rest)) = key.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let (value, rest) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        values.push(Bytes::copy_from_slice(value));
        key = rest;
    }
    Key(values)
}

/// The text of an integer of at most eight bytes, as PostgreSQL writes it.
fn integer(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text.split_first() {
        Some((b'-', digits)) => (true, digits),
        _ => (false, text),
    };
    if digits.is_empty() {
        return None;
    }
    let mut number: i64 = 0;
    for digit in digits {
        let digit = i64::from(digit.checked_sub(b'0').filter(|digit| *digit <= 9)?);
        // Downwards: the least number has no positive counterpart.
        number = number.checked_mul(10)?.checked_sub(digit)?;
    }
    if is_negative { Some(number) } else { number.checked_neg() }
}

/// The first eight bytes, moved so that their order as a signed number is the order of the bytes.
fn uuid_first_half(text: &[u8]) -> Option<i64> {
    let mut half: u64 = 0;
    let mut digits = 0;
    for byte in text.iter().filter(|byte| **byte != b'-').take(16) {
        let digit = char::from(*byte).to_digit(16)?;
        half = half << 4 | u64::from(digit);
        digits += 1;
    }
    (digits == 16).then_some((half ^ (1 << 63)).cast_signed())
}
