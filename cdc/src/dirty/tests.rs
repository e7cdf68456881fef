//! Nothing touched is ever forgotten, however coarse the set becomes.

use super::*;
use crate::change::Key;

const INTEGER: KeyShape = KeyShape { columns: 1, lead: Some((0, Lead::Integer)) };
const TEXT: KeyShape = KeyShape { columns: 1, lead: None };
const UUID: KeyShape = KeyShape { columns: 1, lead: Some((0, Lead::Uuid)) };

/// One table that was found equal once.
fn compared(shape: KeyShape, memory_max: usize) -> DirtyKeys {
    let dirty = DirtyKeys::within(1, memory_max);
    dirty.describe(0, shape);
    let mark = dirty.begin(0);
    dirty.clean(0, mark);
    dirty
}

fn touch(dirty: &DirtyKeys, key: &str) {
    dirty.touching().key(0, [key.as_bytes()]);
}

fn key(value: &str) -> Key {
    Key(vec![value.to_owned().into()])
}

fn holds(parts: &Parts, number: i64) -> bool {
    let in_range = |range: &LeadRange| {
        let bound = |text: &str| text.parse::<i64>().expect("bounds are numbers");
        (bound(&range.first)..=bound(&range.last)).contains(&number)
    };
    parts.is_whole
        || parts.keys.contains(&key(&number.to_string()))
        || parts.ranges.iter().any(in_range)
}

#[test]
fn before_the_first_clean_comparison_the_whole_table_counts_as_touched() {
    let dirty = DirtyKeys::new(2);
    dirty.describe(0, INTEGER);
    assert_eq!(dirty.size(), Size { tables: 2, ..Size::default() });
    assert!(dirty.parts(0).is_whole && dirty.parts(1).is_whole);
    let mark = dirty.begin(0);
    dirty.clean(0, mark);
    assert_eq!(dirty.size(), Size { tables: 1, ..Size::default() });
    assert!(dirty.parts(0).is_empty());
}

#[test]
fn a_clean_comparison_leaves_only_what_was_touched_while_it_ran() {
    let dirty = compared(INTEGER, MEMORY_MAX);
    touch(&dirty, "1");
    let mark = dirty.begin(0);
    touch(&dirty, "2");
    touch(&dirty, "2");
    assert_eq!(dirty.size().keys, 2);
    dirty.clean(0, mark);
    assert_eq!(dirty.parts(0).keys, [key("2")]);
}

#[test]
fn a_comparison_that_found_differences_or_was_given_up_forgets_nothing() {
    let dirty = compared(INTEGER, MEMORY_MAX);
    for number in 0..20 {
        touch(&dirty, &(number * 100).to_string());
        let _given_up = dirty.begin(0);
    }
    let parts = dirty.parts(0);
    assert!((0..20).all(|number| holds(&parts, number * 100)), "{parts:?}");
}

#[test]
fn of_two_comparisons_at_once_each_forgets_only_what_it_covers() {
    let dirty = compared(INTEGER, MEMORY_MAX);
    touch(&dirty, "1");
    let slow = dirty.begin(0);
    touch(&dirty, "2");
    let fast = dirty.begin(0);
    touch(&dirty, "3");
    dirty.clean(0, slow);
    assert_eq!(dirty.size().keys, 2, "2 and 3 were touched after the slow one began");
    dirty.clean(0, fast);
    assert_eq!(dirty.parts(0).keys, [key("3")]);
    dirty.clean(0, slow);
    assert_eq!(dirty.parts(0).keys, [key("3")], "an old mark forgets nothing new");
}

#[test]
fn a_million_numbers_become_ranges_that_hold_every_one_of_them() {
    let dirty = compared(INTEGER, 1024 * 1024);
    let numbers: Vec<i64> = (0..1_000_000).map(|number: i64| number * 7_919 - 3_000_000).collect();
    for lot in numbers.chunks(5_000) {
        let mut touching = dirty.touching();
        for number in lot {
            touching.key(0, [number.to_string().as_bytes()]);
        }
    }
    let size = dirty.size();
    assert_eq!(size.tables, 0, "no full pass is needed");
    assert!(size.ranges * 20 <= 1024 * 1024, "{size:?}");
    let parts = dirty.parts(0);
    let mut ranges = parts.ranges.iter().map(|range| {
        let bound = |text: &str| text.parse::<i64>().expect("bounds are numbers");
        bound(&range.first)..=bound(&range.last)
    });
    let mut range = ranges.next().expect("there is a range");
    for number in numbers {
        while *range.end() < number {
            range = ranges.next().expect("a range holds the number");
        }
        assert!(range.contains(&number), "{number} was lost");
    }
}

#[test]
fn numbers_that_lie_close_together_are_looked_up_as_one_range() {
    let dirty = compared(INTEGER, MEMORY_MAX);
    for number in (0..2_000).chain([1_000_000, -5]) {
        touch(&dirty, &number.to_string());
    }
    let parts = dirty.parts(0);
    assert_eq!(parts.keys, [key("1000000")]);
    let bounds: Vec<_> = parts.ranges.iter().map(|r| (r.first.as_str(), r.last.as_str())).collect();
    assert_eq!(bounds, [("-5", "1999")]);
}

#[test]
fn keys_without_an_order_that_both_sides_share_end_as_the_whole_table() {
    let dirty = compared(TEXT, 100_000);
    for number in 0..1_000 {
        touch(&dirty, &format!("ticket {number}"));
    }
    assert_eq!(dirty.size(), Size { keys: 1_000, ..Size::default() });
    for number in 0..10_000 {
        touch(&dirty, &format!("ticket {number}"));
    }
    assert_eq!(dirty.size(), Size { tables: 1, ..Size::default() });
    let mark = dirty.begin(0);
    touch(&dirty, "later");
    dirty.clean(0, mark);
    assert_eq!(dirty.parts(0).keys, [key("later")], "and recover with the next comparison");
}

#[test]
fn uuids_become_ranges_of_their_first_half() {
    let dirty = compared(UUID, 50_000);
    for number in 0..1_000_u32 {
        touch(&dirty, &format!("0190{number:04x}-0000-7000-8000-{number:012x}"));
    }
    let parts = dirty.parts(0);
    assert!(!parts.is_whole && parts.keys.is_empty());
    let all = |text: &str| parts.ranges.iter().any(|r| *r.first <= *text && *text <= *r.last);
    for number in 0..1_000_u32 {
        assert!(all(&format!("0190{number:04x}-0000-7000-8000-{number:012x}")));
    }
    assert!(!all("ffffffff-0000-7000-8000-000000000000"));
}

#[test]
fn streams_that_disagree_about_the_key_make_no_ranges() {
    let dirty = compared(INTEGER, MEMORY_MAX);
    touch(&dirty, "1");
    dirty.describe(0, KeyShape { columns: 1, lead: None });
    assert_eq!(dirty.size().tables, 1);
    dirty.describe(0, INTEGER);
    let mark = dirty.begin(0);
    dirty.clean(0, mark);
    touch(&dirty, "2");
    assert_eq!(dirty.parts(0).keys, [key("2")]);
}

#[test]
fn the_greatest_and_least_numbers_are_kept() {
    let dirty = compared(INTEGER, 0);
    touch(&dirty, &i64::MIN.to_string());
    touch(&dirty, &i64::MAX.to_string());
    let parts = dirty.parts(0);
    assert!(holds(&parts, i64::MIN) && holds(&parts, i64::MAX), "{parts:?}");
}
