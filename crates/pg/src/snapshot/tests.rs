//! What snapshots see, and which texts are none.

use super::Snapshot;

fn visible(snapshot: &str, xids: std::ops::Range<u32>) -> Vec<u32> {
    let snapshot = Snapshot::parse(snapshot).expect("it is a snapshot");
    xids.filter(|xid| snapshot.is_visible(*xid)).collect()
}

#[test]
fn a_snapshot_sees_what_had_ended_and_nothing_that_ran_or_came_later() {
    assert_eq!(visible("10:15:10,12", 8..17), [8, 9, 11, 13, 14]);
    assert_eq!(visible("10:10:", 8..12), [8, 9]);
    assert_eq!(visible("10:14:10", 8..17), [8, 9, 11, 12, 13]);
}

#[test]
fn every_small_snapshot_agrees_with_its_definition() {
    for xmin in 3..7_u64 {
        for xmax in xmin..9 {
            for mask in 0..(1_u64 << (xmax - xmin)) {
                let running: Vec<u64> =
                    (xmin..xmax).filter(|xid| mask >> (xid - xmin) & 1 == 1).collect();
                let list: Vec<String> = running.iter().map(u64::to_string).collect();
                let text = format!("{xmin}:{xmax}:{}", list.join(","));
                let snapshot = Snapshot::parse(&text).expect("it is a snapshot");
                assert_eq!(snapshot.to_string(), text);
                for xid in 0..12_u32 {
                    let number = u64::from(xid);
                    let sees = number < xmax && !running.contains(&number);
                    assert_eq!(snapshot.is_visible(xid), sees, "{xid} in {text}");
                }
            }
        }
    }
}

#[test]
fn numbers_without_epoch_are_read_next_to_the_snapshot() {
    const EPOCH: u64 = 1 << 32;
    // The counter has just wrapped: large numbers are old, small ones are young.
    let snapshot =
        Snapshot::parse(&format!("{}:{}:{}", 3 * EPOCH - 5, 3 * EPOCH + 10, 3 * EPOCH - 2))
            .expect("it is a snapshot");
    assert!(snapshot.is_visible(u32::MAX - 100));
    assert!(!snapshot.is_visible(u32::MAX - 1), "it was running");
    assert!(snapshot.is_visible(u32::MAX));
    assert!(snapshot.is_visible(9));
    assert!(!snapshot.is_visible(10));
    assert!(!snapshot.is_visible(1_000_000));
    // It is about to wrap: small numbers are young already.
    let snapshot = Snapshot::parse(&format!("{0}:{0}:", 3 * EPOCH - 1)).expect("it is a snapshot");
    assert!(snapshot.is_visible(u32::MAX - 1));
    assert!(!snapshot.is_visible(u32::MAX));
    assert!(!snapshot.is_visible(3));
    // In the first epoch nothing lies before it.
    assert!(!Snapshot::parse("800:800:").expect("it is a snapshot").is_visible(u32::MAX));
}

#[test]
fn a_text_that_no_server_prints_is_refused() {
    for text in [
        "",
        "1",
        "1:2",
        "1:2:3:4",
        "2:1:",
        "0:1:",
        "1:2:2",
        "2:4:1",
        "1:5:3,2",
        "1:5:2,2",
        "1:5:2,",
        "+1:2:",
        " 1:2:",
        "-1:2:",
        "a:2:",
        "1:99999999999999999999:",
    ] {
        assert!(Snapshot::parse(text).is_err(), "{text:?}");
    }
}
