//! What was touched in a capability's tables since they were last found equal: what a check under the
//! fence has to look at again. Bounded in memory: single keys at first, ranges of keys when there are
//! many, at last the whole table; never less than what was touched.
//!
//! ```text
//! touched ──> newest generation        begin(table): a new generation; clean(table, mark): the older
//! one key -> range of keys -> table    ones are forgotten, what was touched meanwhile stays
//! ```

mod cover;
mod touched;

#[cfg(test)]
mod tests;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) use cover::{LeadRange, Parts};
use touched::Touched;
pub(crate) use touched::{KeyShape, Lead};

/// Memory for one capability's touched keys, in bytes; a fuller set gets coarser.
const MEMORY_MAX: usize = 16 * 1024 * 1024;

/// Generations of one table: one for each comparison that is under way, and the newest.
const GENERATIONS_MAX: usize = 4;

/// Touched rows of one capability, by table; keys are in the order of the touched columns' names on
/// the target side, which both directions know.
#[derive(Debug)]
pub(crate) struct DirtyKeys {
    state: Mutex<State>,
}

/// A moment in the life of a table: what was touched before it is older than the mark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark(u64);

/// How much was touched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    /// Single keys.
    pub(crate) keys: usize,
    /// Ranges of keys.
    pub(crate) ranges: usize,
    /// Tables of which nothing is known.
    pub(crate) tables: usize,
}

#[derive(Debug)]
struct State {
    tables: Vec<Table>,
    memory_max: usize,
}

#[derive(Debug)]
struct Table {
    /// Not known before a stream has described it.
    shape: Option<KeyShape>,
    /// From the oldest to the newest; never empty.
    generations: Vec<(u64, Touched)>,
}

/// Takes note of many keys under one lock.
#[derive(Debug)]
pub(crate) struct Touching<'a> {
    state: MutexGuard<'a, State>,
    scratch: Vec<u8>,
}

impl DirtyKeys {
    /// Nothing is known of this many tables.
    pub(crate) fn new(tables: usize) -> Self {
        Self::within(tables, MEMORY_MAX)
    }

    fn within(tables: usize, memory_max: usize) -> Self {
        let table = || Table { shape: None, generations: vec![(0, Touched::Whole)] };
        let tables = std::iter::repeat_with(table).take(tables).collect();
        Self { state: Mutex::new(State { tables, memory_max }) }
    }

    /// Says how a stream identifies the rows of a table; where two streams disagree no ranges are made.
    pub(crate) fn describe(&self, table: usize, shape: KeyShape) {
        let mut state = self.lock();
        let Some(table) = state.tables.get_mut(table) else { return };
        match table.shape {
            Some(known) if known == shape => {}
            None => table.shape = Some(shape),
            Some(known) => {
                let same_columns = known.columns == shape.columns;
                table.shape = Some(KeyShape { columns: shape.columns, lead: None });
                for (_, touched) in &mut table.generations {
                    if !touched.is_keys() || !same_columns {
                        *touched = Touched::Whole;
                    }
                }
            }
        }
    }

    /// Takes note of keys, before their changes are applied.
    pub(crate) fn touching(&self) -> Touching<'_> {
        Touching { state: self.lock(), scratch: Vec::new() }
    }

    /// Takes note of changes whose keys are not known.
    pub(crate) fn touch_all(&self) {
        let mut state = self.lock();
        for table in &mut state.tables {
            table.touch_whole();
        }
    }

    /// A comparison of a table begins: what is touched from now on is newer than the mark.
    pub(crate) fn begin(&self, table: usize) -> Mark {
        self.lock().tables.get_mut(table).map_or(Mark(0), Table::begin)
    }

    /// The table was found equal by a comparison that began at the mark.
    pub(crate) fn clean(&self, table: usize, mark: Mark) {
        if let Some(table) = self.lock().tables.get_mut(table) {
            table.generations.retain(|(number, _)| *number > mark.0);
            if table.generations.is_empty() {
                table.generations.push((mark.0 + 1, Touched::none()));
            }
        }
    }

    /// What was touched in a table and not found equal since.
    pub(crate) fn parts(&self, table: usize) -> Parts {
        let taken = {
            let state = self.lock();
            let Some(table) = state.tables.get(table) else { return Parts::default() };
            (table.shape, table.generations.clone())
        };
        let (Some(shape), generations) = taken else { return Parts::whole() };
        let mut all = Touched::none();
        for (_, touched) in generations {
            all.merge(touched, shape);
        }
        all.parts(shape)
    }

    /// How much was touched.
    pub(crate) fn size(&self) -> Size {
        let state = self.lock();
        let mut size = Size::default();
        for table in &state.tables {
            table.add_to(&mut size);
        }
        size
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Touching<'_> {
    /// One key, as its columns' texts.
    pub(crate) fn key<'k>(&mut self, table: usize, values: impl IntoIterator<Item = &'k [u8]>) {
        let Some(table) = self.state.tables.get_mut(table) else { return };
        match (table.shape, table.generations.last_mut()) {
            (Some(shape), Some((_, touched))) => touched.add(shape, values, &mut self.scratch),
            (_, _) => table.touch_whole(),
        }
    }

    /// One key that is an integer; `false` where keys are something else, or not known to be.
    pub(crate) fn number(&mut self, table: usize, number: i64) -> bool {
        let table = self.state.tables.get_mut(table);
        match table.and_then(|table| Some((table.shape?, table.generations.last_mut()?))) {
            Some((shape, (_, touched))) => touched.add_number(shape, number),
            None => false,
        }
    }

    /// Whether every row of a table counts as touched just now.
    pub(crate) fn is_whole(&self, table: usize) -> bool {
        let last = self.state.tables.get(table).and_then(|table| table.generations.last());
        last.is_some_and(|(_, touched)| touched.is_whole())
    }

    /// All rows of a table.
    pub(crate) fn table(&mut self, table: usize) {
        if let Some(table) = self.state.tables.get_mut(table) {
            table.touch_whole();
        }
    }
}

/// The bound is looked at once for each lot of keys.
impl Drop for Touching<'_> {
    fn drop(&mut self) {
        self.state.shrink();
    }
}

impl State {
    /// Makes the largest sets coarser until all fit.
    fn shrink(&mut self) {
        loop {
            let sets = || self.tables.iter().flat_map(|table| &table.generations);
            let total: usize = sets().map(|(_, touched)| touched.memory()).sum();
            if total <= self.memory_max {
                return;
            }
            let shaped = self.tables.iter_mut().flat_map(|table| {
                let shape = table.shape;
                table.generations.iter_mut().map(move |(_, touched)| (shape, touched))
            });
            let Some((shape, largest)) = shaped.max_by_key(|(_, touched)| touched.memory()) else {
                return;
            };
            largest.coarsen(shape);
        }
    }
}

impl Table {
    fn begin(&mut self) -> Mark {
        let (number, is_empty) =
            self.generations.last().map_or((0, false), |(number, last)| (*number, last.is_empty()));
        if is_empty && number > 0 {
            return Mark(number - 1);
        }
        self.generations.push((number + 1, Touched::none()));
        if self.generations.len() > GENERATIONS_MAX {
            // The newer number: nothing is forgotten before its time.
            let (_, oldest) = self.generations.remove(0);
            match (self.shape, self.generations.first_mut()) {
                (Some(shape), Some((_, next))) => next.merge(oldest, shape),
                (_, Some((_, next))) => *next = Touched::Whole,
                (_, None) => {}
            }
        }
        Mark(number)
    }

    fn touch_whole(&mut self) {
        if let Some((_, touched)) = self.generations.last_mut() {
            *touched = Touched::Whole;
        }
    }

    fn add_to(&self, size: &mut Size) {
        if self.generations.iter().any(|(_, touched)| touched.is_whole()) {
            size.tables += 1;
            return;
        }
        for (_, touched) in &self.generations {
            let is_exact = self.shape.is_some_and(|shape| touched.is_exact(shape));
            if is_exact {
                size.keys += touched.len();
            } else {
                size.ranges += touched.len();
            }
        }
    }
}
