//! The whole decision table, and the properties of buckets.

use cutover::{Phase, Side};
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use super::{BUCKETS, Bucket, Verdict, decide};
use crate::Effect;

const PHASES: [Phase; 8] = [
    Phase::Monolith,
    Phase::Replicating,
    Phase::Shadowing,
    Phase::Reading { percent: 0 },
    Phase::Reading { percent: 50 },
    Phase::Reading { percent: 100 },
    Phase::Switched,
    Phase::Completed,
];

/// One cell as text: `S` source, `T` target, `S+T` source compared with target, `hold`.
fn cell(verdict: Verdict) -> &'static str {
    let (source, target) = (Side::Source, Side::Target);
    match verdict {
        Verdict::Hold => "hold",
        Verdict::Send { to, shadow: None } if to == source => "S",
        Verdict::Send { to, shadow: None } if to == target => "T",
        Verdict::Send { to, shadow: Some(shadow) } if (to, shadow) == (source, target) => "S+T",
        Verdict::Send { .. } => "unexpected",
    }
}

#[test]
fn every_phase_owner_hold_effect_and_freshness_goes_where_the_table_says() {
    let (low, high) = (Bucket(4_999), Bucket(5_000));
    let mut table = String::new();
    for phase in PHASES {
        for owner in [Side::Source, Side::Target] {
            table.push_str(&format!("{:13}{owner:6}", phase.to_string()));
            for holding in [false, true] {
                for caught_up in [true, false] {
                    for bucket in [low, high] {
                        let read = decide(phase, owner, holding, Effect::Read, bucket, caught_up);
                        table.push_str(&format!(" {:4}", cell(read)));
                    }
                }
                let writes: Vec<_> = [(low, true), (low, false), (high, true), (high, false)]
                    .into_iter()
                    .map(|(bucket, fresh)| {
                        cell(decide(phase, owner, holding, Effect::Write, bucket, fresh))
                    })
                    .collect();
                assert!(writes.iter().all(|write| Some(write) == writes.first()), "{writes:?}");
                table.push_str(&format!(" | {:4} |", writes[0]));
            }
            table = table.trim_end_matches([' ', '|']).to_owned();
            table.push('\n');
        }
    }
    // Columns: reads of (caught up: bucket 4999, 5000; behind: 4999, 5000), the write; then the same
    // while writes are held.
    let expected = "\
monolith     source S    S    S    S    | S    | S    S    S    S    | hold
monolith     target T    T    T    T    | T    | T    T    T    T    | hold
replicating  source S    S    S    S    | S    | S    S    S    S    | hold
replicating  target T    T    T    T    | T    | T    T    T    T    | hold
shadowing    source S+T  S+T  S+T  S+T  | S    | S+T  S+T  S+T  S+T  | hold
shadowing    target T    T    T    T    | T    | T    T    T    T    | hold
reading 0%   source S+T  S+T  S+T  S+T  | S    | S+T  S+T  S+T  S+T  | hold
reading 0%   target T    T    T    T    | T    | T    T    T    T    | hold
reading 50%  source T    S+T  S+T  S+T  | S    | T    S+T  S+T  S+T  | hold
reading 50%  target T    T    T    T    | T    | T    T    T    T    | hold
reading 100% source T    T    S+T  S+T  | S    | T    T    S+T  S+T  | hold
reading 100% target T    T    T    T    | T    | T    T    T    T    | hold
switched     source S    S    S    S    | S    | S    S    S    S    | hold
switched     target T    T    T    T    | T    | T    T    T    T    | hold
completed    source S    S    S    S    | S    | S    S    S    S    | hold
completed    target T    T    T    T    | T    | T    T    T    T    | hold
";
    assert_eq!(table, expected);
}

#[test]
fn buckets_of_known_subjects_never_change() {
    let buckets = ["", "agent", "192.0.2.1"].map(|subject| Bucket::of(subject.as_bytes()).get());
    assert_eq!(buckets, [8400, 1068, 752]);
}

#[test]
fn a_share_of_the_buckets_is_exact() {
    for percent in 0..=100_u8 {
        let below = (0..BUCKETS).filter(|bucket| Bucket(*bucket).is_below(percent)).count();
        assert_eq!(below, usize::from(percent) * 100);
    }
}

#[test]
fn subjects_spread_evenly_over_the_buckets() {
    let below = (0..100_000_u32)
        .filter(|subject| Bucket::of(subject.to_string().as_bytes()).is_below(10))
        .count();
    assert!((9_700..=10_300).contains(&below), "{below} of 100000 subjects are in the first 10 %");
}

proptest! {
    #[test]
    fn a_subject_once_moved_stays_moved_while_the_share_grows(
        subject in any::<Vec<u8>>(),
        smaller in 0..=100_u8,
        larger in 0..=100_u8,
    ) {
        let bucket = Bucket::of(&subject);
        prop_assert!(bucket.get() < BUCKETS);
        prop_assert_eq!(bucket, Bucket::of(&subject));
        if smaller <= larger && bucket.is_below(smaller) {
            prop_assert!(bucket.is_below(larger));
        }
    }
}
