//! The keeper by itself: what it hears, and in which order others see it.

use std::{
    future::pending,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
};

use cutover::{Epoch, GuardState};
use futures::FutureExt;

use super::*;
use crate::gate::{Pass, Patience};

const TEXT: &str = r#"version = 1
[control]
database = "postgres://control"
[upstreams.monolith]
peers = ["127.0.0.1:1"]
database = "postgres://monolith"
[upstreams.ticket]
peers = ["127.0.0.1:2"]
database = "postgres://ticket"
[capabilities.tickets]
upstream = "ticket"
routes = [{ match = "GET /tickets" }, { match = "POST /tickets" }]
tables = [{ source = "public.ticket", target = "public.tickets" }]
"#;

fn keeper() -> Keeper {
    let config = Config::parse_without_secrets("routes.toml", TEXT, &|_| None);
    let config = config.expect("the configuration is valid");
    let drained = Arc::new(Notify::new());
    let (created, _) = mpsc::unbounded_channel();
    let mut registry = Registry::new(Arc::clone(&drained), created);
    let plan = Plan::compile(config, None, |name| registry.get(name)).expect("a valid plan");
    let shared = Arc::new(Shared::new(first_snapshot(&Arc::new(plan)), drained));
    Keeper::new(shared, registry, Intents::default(), watch::Sender::new(Intents::default()))
}

fn table(generation: u64, phase: &str, owner: Side, epoch: u64, hold: bool) -> Update {
    let state = v1::RouteState {
        capability: "tickets".to_owned(),
        phase: phase.to_owned(),
        owner: owner.as_str().to_owned(),
        epoch,
        hold,
        hold_lease_ms: 2_000,
    };
    Update::Table(v1::RouteTable { generation, capabilities: vec![state] })
}

fn guards(source: (GuardState, u64), target: (GuardState, u64)) -> Update {
    let side = |(state, epoch)| {
        let row = GuardRow { state, epoch: Epoch(epoch), prepared: Epoch::NONE, overdue: false };
        Some(row.into())
    };
    let view = v1::GuardView {
        capability: "tickets".to_owned(),
        source: side(source),
        target: side(target),
    };
    Update::Guards(vec![view])
}

impl Keeper {
    fn gate(&self) -> Arc<crate::gate::Gate> {
        Arc::clone(&self.plan.capabilities[0].live.gate)
    }

    fn standing(&self) -> Standing {
        self.shared.snapshot.load().standings[0]
    }
}

#[tokio::test(start_paused = true)]
async fn an_older_table_changes_nothing() {
    let mut keeper = keeper();
    keeper.hear(table(7, "switched", Side::Target, 4, false));
    keeper.hear(table(6, "monolith", Side::Source, 3, true));
    assert_eq!(keeper.shared.applied(), 7);
    assert_eq!(keeper.standing().phase, Phase::Switched);
    assert_eq!(keeper.gate().position(), Position::Open(Side::Target));
}

#[tokio::test(start_paused = true)]
async fn a_state_with_unknown_words_leaves_the_capability_where_it_was() {
    let mut keeper = keeper();
    keeper.hear(table(7, "switched", Side::Target, 4, false));
    keeper.hear(table(8, "dancing", Side::Source, 5, false));
    assert_eq!(keeper.shared.applied(), 8);
    assert_eq!(keeper.gate().position(), Position::Open(Side::Target));
}

#[tokio::test(start_paused = true)]
async fn a_capability_that_a_table_does_not_name_stays_where_it_was() {
    let mut keeper = keeper();
    keeper.hear(table(7, "switched", Side::Target, 4, true));
    keeper.hear(Update::Table(v1::RouteTable { generation: 8, capabilities: Vec::new() }));
    assert_eq!(keeper.standing().phase, Phase::Switched);
    assert_eq!(keeper.gate().position(), Position::Open(Side::Target));
}

#[tokio::test(start_paused = true)]
async fn a_sign_of_life_prolongs_the_lease_and_silence_ends_the_hold() {
    let mut keeper = keeper();
    let gate = keeper.gate();
    keeper.hear(table(7, "shadowing", Side::Source, 3, true));
    tokio::time::advance(Duration::from_millis(1_500)).await;
    keeper.hear(table(7, "shadowing", Side::Source, 3, true));
    tokio::time::advance(Duration::from_millis(1_500)).await;
    keeper.publish();
    assert_eq!(gate.position(), Position::Closed);
    let (_updates, receiver) = mpsc::channel(1);
    let stop = CancellationToken::new();
    let running = tokio::spawn(keeper.run(receiver, stop.clone()));
    tokio::time::sleep(Duration::from_millis(501)).await;
    assert_eq!(gate.position(), Position::Open(Side::Source));
    stop.cancel();
    running.await.expect("no panic");
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_goes_on_is_not_closed_again_after_the_guards_released_it() {
    let mut keeper = keeper();
    keeper.hear(guards((GuardState::Open, 3), (GuardState::Moved, 0)));
    keeper.hear(table(7, "shadowing", Side::Source, 3, true));
    keeper.hear(guards((GuardState::Moved, 4), (GuardState::Open, 4)));
    assert_eq!(keeper.gate().position(), Position::Open(Side::Target));
    keeper.hear(table(8, "shadowing", Side::Source, 3, true));
    assert_eq!(keeper.gate().position(), Position::Open(Side::Target));
}

#[tokio::test(start_paused = true)]
async fn a_new_hold_holds_even_if_the_end_of_the_last_one_was_never_told() {
    let mut keeper = keeper();
    keeper.hear(table(7, "shadowing", Side::Source, 3, true));
    keeper.hear(guards((GuardState::Open, 5), (GuardState::Moved, 0)));
    assert_eq!(keeper.gate().position(), Position::Open(Side::Source));
    keeper.hear(table(9, "shadowing", Side::Source, 5, true));
    assert_eq!(keeper.gate().position(), Position::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_hold_asked_for_with_an_old_epoch_is_not_released_by_the_side_that_was_open_then() {
    let mut keeper = keeper();
    keeper.hear(guards((GuardState::Open, 5), (GuardState::Moved, 0)));
    keeper.hear(table(7, "shadowing", Side::Source, 3, true));
    assert_eq!(keeper.gate().position(), Position::Closed);
}

#[tokio::test(start_paused = true)]
async fn guards_that_are_lost_no_longer_overrule_control() {
    let mut keeper = keeper();
    keeper.hear(table(7, "shadowing", Side::Source, 3, false));
    keeper.hear(guards((GuardState::Fenced, 4), (GuardState::Moved, 0)));
    assert_eq!(keeper.gate().position(), Position::Closed);
    keeper.hear(Update::GuardsLost);
    assert_eq!(keeper.gate().position(), Position::Open(Side::Source));
}

/// With real threads: once a write has passed to a side, every request that begins finds that side as
/// the owner, so no read is answered by the one that fell behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_finds_the_old_owner_after_a_write_passed_to_the_new_one() {
    const ROUNDS: u64 = 3_000;
    let mut keeper = keeper();
    let (gate, shared) = (keeper.gate(), Arc::clone(&keeper.shared));
    let (stop, looked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (stopped, looks) = (Arc::clone(&stop), Arc::clone(&looked));
    let runtime = tokio::runtime::Handle::current();
    let looking = std::thread::spawn(move || {
        let _timers = runtime.enter();
        let patience = Patience { budget: Duration::from_secs(1), held_max: 1, refused_at: None };
        let pass = || -> Option<Pass> { gate.enter(patience, pending()).now_or_never()?.ok() };
        while !stopped.load(SeqCst) {
            let Some(written) = pass() else { continue };
            let owner = shared.snapshot.load().standings[0].owner;
            if pass().is_some_and(|again| again.turn == written.turn) {
                assert_eq!(owner, written.side);
                looks.fetch_add(1, SeqCst);
            }
        }
    });
    for round in 0..ROUNDS {
        let owner = if round % 2 == 0 { Side::Target } else { Side::Source };
        keeper.hear(table(2 * round + 1, "switched", owner.other(), round, true));
        keeper.hear(table(2 * round + 2, "switched", owner, round, false));
        while looked.load(SeqCst) < round && !looking.is_finished() {
            std::hint::spin_loop();
        }
    }
    stop.store(true, SeqCst);
    looking.join().expect("a read found the old owner");
    assert!(looked.load(SeqCst) >= ROUNDS - 1);
}
