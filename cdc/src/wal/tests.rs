//! Every level, and that nothing unknown ends a stream.

use super::*;

const MIB: u64 = 1 << 20;
const BUDGET: u64 = 100 * MIB;

fn slot(status: SlotStatus, retained: Option<u64>, safe: Option<i64>) -> SlotReading {
    SlotReading { status, retained, safe, confirmed: None, spilled: None }
}

fn kept(retained: u64) -> SlotReading {
    slot(SlotStatus::Extended, Some(retained), None)
}

fn watch(last_resort: LastResort) -> WalWatch {
    WalWatch::new(Budget { bytes: BUDGET, last_resort })
}

fn level_of(reading: SlotReading) -> Option<Level> {
    let assessed = watch(LastResort::DropSlot).assess(Duration::ZERO, Some(&reading));
    assessed.expect("there is a slot").level
}

/// What is decided after each of these readings, one a second.
fn decisions(watch: &mut WalWatch, readings: &[Option<SlotReading>]) -> Vec<Option<GiveUp>> {
    let mut decided = Vec::new();
    for (second, reading) in (0..).zip(readings) {
        let now = Duration::from_secs(second);
        let assessed = watch.assess(now, reading.as_ref());
        decided.push(assessed.and_then(|assessed| watch.give_up(now, &assessed, false)));
    }
    decided
}

#[test]
fn the_levels_are_half_four_fifths_and_all_of_the_budget() {
    for (mib, expected) in [
        (0, Level::Ok),
        (49, Level::Ok),
        (50, Level::Warning),
        (79, Level::Warning),
        (80, Level::Alarm),
        (99, Level::Alarm),
        (100, Level::Exhausted),
        (5_000, Level::Exhausted),
    ] {
        assert_eq!(level_of(kept(mib * MIB)), Some(expected), "{mib} MiB");
    }
}

#[test]
fn what_the_server_says_about_the_slot_comes_before_the_numbers() {
    let reserved = slot(SlotStatus::Unreserved, Some(MIB), None);
    assert_eq!(level_of(reserved), Some(Level::Alarm));
    assert_eq!(level_of(slot(SlotStatus::Lost, None, None)), Some(Level::Lost));
    assert_eq!(level_of(slot(SlotStatus::Reserved, None, None)), None);
    assert_eq!(level_of(slot(SlotStatus::Unknown, None, None)), None);
}

#[test]
fn a_server_that_gives_slots_up_earlier_sets_the_limit_and_the_alarm_but_never_our_last_resort() {
    let mut watch = watch(LastResort::DropSlot);
    let near = slot(SlotStatus::Extended, Some(30 * MIB), Some(10 * 1024 * 1024));
    let assessed = watch.assess(Duration::ZERO, Some(&near)).expect("there is a slot");
    assert_eq!((assessed.limit, assessed.bound), (40 * MIB, Bound::Server));
    assert_eq!(assessed.level, Some(Level::Warning));
    let over = slot(SlotStatus::Extended, Some(30 * MIB), Some(-1024));
    assert_eq!(level_of(over), Some(Level::Alarm));
    assert_eq!(decisions(&mut watch, &[Some(over); 10]), [None; 10]);
}

#[test]
fn an_exhausted_budget_ends_the_stream_at_the_third_reading_and_again_while_the_slot_stays() {
    let mut watch = watch(LastResort::DropSlot);
    let decided = decisions(&mut watch, &[Some(kept(BUDGET)); 14]);
    let given_up = Some(GiveUp::Exhausted { retained: BUDGET, budget: BUDGET });
    let at: Vec<usize> = (0..14).filter(|index| decided[*index] == given_up).collect();
    assert_eq!(at, [2, 12]);
    assert!(decided.iter().all(|each| each.is_none() || *each == given_up));
}

#[test]
fn unknown_numbers_and_readings_that_failed_never_end_a_stream() {
    let over = Some(kept(BUDGET));
    let unknown = Some(slot(SlotStatus::Unknown, None, None));
    let readings = [over, over, None, over, over, unknown, over, over, Some(kept(1)), over, over];
    let mut watch = watch(LastResort::DropSlot);
    assert_eq!(decisions(&mut watch, &readings), [None; 11]);
}

#[test]
fn whoever_keeps_slots_at_any_price_gets_the_alarm_only() {
    let mut watch = watch(LastResort::Keep);
    assert_eq!(decisions(&mut watch, &[Some(kept(BUDGET * 9)); 20]), [None; 20]);
    let assessed = watch.assess(Duration::from_secs(20), Some(&kept(BUDGET)));
    assert_eq!(assessed.expect("there is a slot").level, Some(Level::Exhausted));
}

#[test]
fn a_slot_without_its_log_ends_the_stream_once_and_a_copy_already_when_it_is_about_to_lose_it() {
    let mut watch = watch(LastResort::Keep);
    let lost = Some(slot(SlotStatus::Lost, None, None));
    assert_eq!(decisions(&mut watch, &[lost; 3]), [Some(GiveUp::Lost), None, None]);
    let losing = slot(SlotStatus::Unreserved, Some(MIB), Some(-1));
    for (is_copying, expected) in [(false, None), (true, Some(GiveUp::Losing))] {
        let mut watch = self::watch(LastResort::Keep);
        let assessed = watch.assess(Duration::ZERO, Some(&losing)).expect("there is a slot");
        assert_eq!(watch.give_up(Duration::ZERO, &assessed, is_copying), expected);
    }
}

#[test]
fn the_time_that_is_left_follows_from_the_growth_of_the_last_minute() {
    let mut watch = watch(LastResort::Keep);
    let mut eta = |second: u64, mib: u64| {
        let assessed = watch.assess(Duration::from_secs(second), Some(&kept(mib * MIB)));
        assessed.expect("there is a slot").eta
    };
    assert_eq!(eta(0, 10), None);
    assert_eq!(eta(4, 14), None, "too early to say");
    assert_eq!(eta(10, 20), Some(Duration::from_secs(80)));
    // The slot moved on: nothing grows.
    assert_eq!(eta(20, 10), None);
    // Only the last minute counts.
    assert_eq!(eta(80, 40), Some(Duration::from_secs(120)));
    assert_eq!(eta(86, 200), Some(Duration::ZERO));
}

#[test]
fn the_reason_says_what_is_lost_on_each_way() {
    let given_up = GiveUp::Exhausted { retained: 3 << 29, budget: 1 << 30 };
    let reason =
        |kind| given_up.reason(&StreamSpec::for_test("tickets", kind, "postgres://nowhere"));
    let forward = reason(StreamKind::Forward);
    for part in ["source server kept 1.5 GiB", "wal_budget is 1.0 GiB", "copies its tables anew"] {
        assert!(forward.contains(part), "{part} in {forward}");
    }
    let reverse = reason(StreamKind::Reverse);
    assert!(reverse.contains("the way back is lost"), "{reverse}");
    assert!(given_up.drops_slot() && !GiveUp::Lost.drops_slot());
}
