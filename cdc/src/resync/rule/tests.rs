//! The rule, and a table that is copied while it changes.

use std::collections::BTreeMap;

use pg::Snapshot;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::{
    Snapshots,
    Verdict::{Counts, Seen, Undecided},
};

fn snapshots(texts: &[&str], is_whole: bool) -> Snapshots {
    let mut snapshots = Snapshots::default();
    for (place, text) in texts.iter().enumerate() {
        let is_last = is_whole && place + 1 == texts.len();
        snapshots.add(Snapshot::parse(text).expect("it is a snapshot"), is_last);
    }
    snapshots
}

#[test]
fn a_change_counts_where_its_chunk_was_read_without_it() {
    let read = snapshots(&["10:10:", "12:14:12"], false);
    assert_eq!([9, 10, 13].map(|xid| read.verdict(0, xid)), [Seen, Counts, Counts]);
    assert_eq!([9, 12, 13, 14].map(|xid| read.verdict(1, xid)), [Seen, Counts, Seen, Counts]);
    assert_eq!([9, 12, 13, 14].map(|xid| read.verdict(2, xid)), [Seen, Undecided, Seen, Undecided]);
    assert_eq!(Snapshots::default().verdict(0, 3), Undecided);
}

#[test]
fn a_truncation_empties_the_chunks_that_were_read_before_it_and_waits_for_the_others() {
    let texts = ["10:10:", "12:12:"];
    assert_eq!(snapshots(&texts, false).truncated(11), Some(vec![0]));
    assert_eq!(snapshots(&texts, false).truncated(12), None);
    assert_eq!(snapshots(&texts, true).truncated(12), Some(vec![0, 1]));
    assert_eq!(snapshots(&texts, true).truncated(9), Some(Vec::new()));
    assert_eq!(Snapshots::default().truncated(9), None);
}

/// What a transaction does: the key's value, or `None` when it is deleted.
type Write = (u64, Option<u64>);

/// Ten keys are copied in five chunks while transactions of one or two writes begin and commit in any
/// order; afterwards the stage must be what the table is.
#[test]
fn a_copy_with_the_changes_that_count_is_the_table() {
    for seed in 0..500 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut table: BTreeMap<u64, u64> = (0..10).map(|key| (key, 0)).collect();
        let mut stage: BTreeMap<u64, u64> = BTreeMap::new();
        let mut running: Vec<(u64, Vec<Write>)> = Vec::new();
        let mut parked: Vec<(u64, Write)> = Vec::new();
        let (mut next_xid, mut read) = (100_u64, Snapshots::default());
        for step in 0..120 {
            match random.random_range(0..3) {
                0 => {
                    let write = |random: &mut StdRng| {
                        (random.random_range(0..10), random.random_bool(0.7).then_some(next_xid))
                    };
                    let writes =
                        (0..random.random_range(1..3)).map(|_| write(&mut random)).collect();
                    running.push((next_xid, writes));
                    next_xid += 1;
                }
                1 if !running.is_empty() => {
                    let (xid, writes) = running.swap_remove(random.random_range(0..running.len()));
                    for (key, value) in writes {
                        match value {
                            Some(value) => table.insert(key, value),
                            None => table.remove(&key),
                        };
                        parked.push((xid, (key, value)));
                    }
                }
                _ if step % 10 == 0 && !read.is_whole() => {
                    let mut xids: Vec<u64> = running.iter().map(|(xid, _)| *xid).collect();
                    xids.sort_unstable();
                    let xmin = xids.first().copied().unwrap_or(next_xid);
                    let list: Vec<String> = xids.iter().map(u64::to_string).collect();
                    let text = format!("{xmin}:{next_xid}:{}", list.join(","));
                    let from = 2 * read.count() as u64;
                    stage.extend(table.range(from..from + 2).map(|(key, value)| (*key, *value)));
                    read.add(Snapshot::parse(&text).expect("it is a snapshot"), from == 8);
                }
                _ => {}
            }
            // What can be decided is replayed at any time, in order.
            while let Some((xid, (key, value))) = parked.first().copied() {
                let chunk = usize::try_from(key / 2).expect("it is small").min(read.count());
                match (read.verdict(chunk, u32::try_from(xid).expect("it is small")), value) {
                    (Undecided, _) => break,
                    (Counts, Some(value)) => drop(stage.insert(key, value)),
                    (Counts, None) => drop(stage.remove(&key)),
                    (Seen, _) => {}
                }
                parked.remove(0);
            }
        }
        if read.is_whole() {
            assert!(parked.is_empty(), "seed {seed}");
            assert_eq!(stage, table, "seed {seed}");
        }
    }
}
