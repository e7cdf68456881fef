//! Cuts tables into units of work. Pure.

use std::{cmp::Reverse, collections::VecDeque};

use pg::TableName;

use crate::catalog::Part;

/// A unit has about this much on disk: a fraction of a second to a few seconds of work.
const UNIT_BYTES: u64 = 64 << 20;

/// A table is cut into at least so many units for each worker, so that all end together.
const UNITS_PER_WORKER: u64 = 4;

/// What is smaller is not cut: a unit costs a few round trips and a commit.
const UNIT_BYTES_MIN: u64 = 4 << 20;

/// A part of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    /// Index of the table's plan.
    pub(super) table: usize,
    /// The table itself or one of its partitions.
    pub(super) read: TableName,
    pub(super) range: Range,
    /// About this much of the table on disk.
    pub(super) bytes: u64,
}

/// Which rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Range {
    /// All of them.
    Whole,
    /// Those in the blocks from `from` up to and without `to`.
    Pages { from: u64, to: Option<u64> },
}

/// The units of a table, in the order of its blocks; at least one.
pub(super) fn units(table: usize, read: &TableName, parts: &[Part], workers: u16) -> Vec<Unit> {
    let bytes: u64 = parts.iter().map(|part| part.bytes).sum();
    let is_one = parts.is_empty() || parts.iter().any(|part| !part.has_ranges);
    if is_one {
        return vec![Unit { table, read: read.clone(), range: Range::Whole, bytes }];
    }
    let wanted = bytes / (u64::from(workers.max(1)) * UNITS_PER_WORKER);
    let unit_bytes = wanted.clamp(UNIT_BYTES_MIN, UNIT_BYTES);
    let mut units = Vec::new();
    for part in parts {
        let ranges = ranges(part, unit_bytes);
        let each = part.bytes / u64::try_from(ranges.len()).unwrap_or(1).max(1);
        let unit = |range| Unit { table, read: part.name.clone(), range, bytes: each };
        units.extend(ranges.into_iter().map(unit));
    }
    units
}

/// Units of the largest table first; within a table the order stays.
pub(super) fn largest_first(mut tables: Vec<Vec<Unit>>) -> VecDeque<Unit> {
    tables.sort_by_key(|units| Reverse(units.iter().map(|unit| unit.bytes).sum::<u64>()));
    tables.into_iter().flatten().collect()
}

/// The last range is open: the table may have grown, and the snapshot does not see by how much.
fn ranges(part: &Part, unit_bytes: u64) -> Vec<Range> {
    let count = (part.bytes / unit_bytes).min(part.pages);
    if count < 2 {
        return vec![Range::Whole];
    }
    let pages = part.pages.div_ceil(count);
    let mut ranges = Vec::new();
    let mut from = 0;
    while from + pages < part.pages {
        ranges.push(Range::Pages { from, to: Some(from + pages) });
        from += pages;
    }
    ranges.push(Range::Pages { from, to: None });
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, pages: u64, bytes: u64) -> Part {
        Part { name: TableName::new("public", name), pages, bytes, has_ranges: true }
    }

    fn cut(parts: &[Part], workers: u16) -> Vec<Unit> {
        units(0, &TableName::new("public", "t"), parts, workers)
    }

    #[test]
    fn ranges_cover_a_table_without_gap_and_the_last_one_is_open() {
        for pages in [1_024, 1_025, 9_216, 100_001] {
            for workers in [1, 2, 7] {
                let units = cut(&[part("t", pages, pages * 8_192)], workers);
                assert!(units.len() >= 2, "{pages} blocks are worth more than one unit");
                let mut expected_from = 0;
                for unit in &units {
                    let Range::Pages { from, to } = unit.range else { panic!("it is cut") };
                    assert_eq!(from, expected_from);
                    expected_from = to.unwrap_or(u64::MAX);
                }
                assert_eq!(expected_from, u64::MAX);
            }
        }
    }

    #[test]
    fn a_table_whose_values_lie_outside_its_rows_is_cut_by_all_its_bytes() {
        let units = cut(&[part("wide", 1_500, 800 << 20)], 2);
        assert!(units.len() >= 12, "{} units", units.len());
    }

    #[test]
    fn every_worker_has_several_units_of_a_table_that_is_not_small() {
        assert_eq!(cut(&[part("t", 9_216, 72 << 20)], 2).len(), 8);
        assert_eq!(cut(&[part("t", 200, 200 * 8_192)], 2).len(), 1, "a small table is one unit");
        assert_eq!(cut(&[part("t", 0, 0)], 2).len(), 1, "an empty one too: it has to get ready");
    }

    #[test]
    fn partitions_are_units_of_their_own_unless_one_cannot_be_read_by_itself() {
        let mut parts = [part("a", 10, 81_920), part("b", 20_000, 20_000 * 8_192)];
        let reads = |units: &[Unit]| {
            let mut names: Vec<String> = units.iter().map(|unit| unit.read.name.clone()).collect();
            names.dedup();
            names
        };
        assert_eq!(reads(&cut(&parts, 2)), ["a", "b"]);
        parts[0].has_ranges = false;
        assert_eq!(reads(&cut(&parts, 2)), ["t"]);
        assert_eq!(reads(&cut(&[], 2)), ["t"], "no partition, no row");
    }

    #[test]
    fn the_largest_table_comes_first_and_each_in_the_order_of_its_blocks() {
        let small = units(0, &TableName::new("public", "s"), &[part("s", 1, 8_192)], 2);
        let large = units(1, &TableName::new("public", "l"), &[part("l", 9_216, 72 << 20)], 2);
        let order = largest_first(vec![small.clone(), large.clone()]);
        assert_eq!(order, [large, small].concat());
    }
}
