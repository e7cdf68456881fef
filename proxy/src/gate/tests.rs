//! The gate under paused time, and under real threads.

use std::{
    future::{pending, ready},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
};

use tokio::{task::JoinHandle, time::advance};

use super::*;

const PATIENCE: Patience =
    Patience { budget: Duration::from_secs(10), held_max: 2000, refused_at: None };

fn gate() -> Arc<Gate> {
    Arc::new(Gate::new(Side::Source, Arc::new(Notify::new())))
}

fn enter(gate: &Arc<Gate>, patience: Patience) -> JoinHandle<Result<Pass, Refusal>> {
    let gate = Arc::clone(gate);
    tokio::spawn(async move { gate.enter(patience, pending()).await })
}

/// Lets every spawned task run until it waits; time is paused, so nothing else can happen.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_gate_lets_writes_through_at_once_and_counts_them() {
    let gate = gate();
    let pass = gate.enter(PATIENCE, pending()).await.expect("the gate is open");
    assert_eq!((pass.side, pass.waited), (Side::Source, Duration::ZERO));
    assert_eq!(gate.traffic().inflight, 1);
    drop(pass);
    assert_eq!(gate.traffic().inflight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_closed_gate_holds_until_it_opens_and_sends_to_the_new_side() {
    let gate = gate();
    gate.turn(Position::Closed);
    let writer = enter(&gate, PATIENCE);
    settle().await;
    advance(Duration::from_secs(3)).await;
    settle().await;
    assert!(!writer.is_finished());
    assert_eq!((gate.traffic().held, gate.traffic().inflight), (1, 0));
    gate.turn(Position::Open(Side::Target));
    let pass = writer.await.expect("no panic").expect("released");
    assert_eq!(pass.side, Side::Target);
    assert_eq!(pass.waited, Duration::from_secs(3));
    assert_eq!(gate.traffic().longest_hold, Duration::from_secs(3));
    assert_eq!((gate.traffic().held, gate.traffic().inflight), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_write_waits_no_longer_than_its_budget() {
    let gate = gate();
    gate.turn(Position::Closed);
    let began = Instant::now();
    let refused = gate.enter(PATIENCE, pending()).await.expect_err("nobody opens");
    assert_eq!(refused, Refusal::Expired);
    assert_eq!(began.elapsed(), PATIENCE.budget);
    assert_eq!(gate.traffic().held, 0);
}

#[tokio::test(start_paused = true)]
async fn one_write_more_than_may_be_held_is_refused_at_once() {
    let gate = gate();
    gate.turn(Position::Closed);
    let patience = Patience { held_max: 2, ..PATIENCE };
    let (first, second) = (enter(&gate, patience), enter(&gate, patience));
    settle().await;
    let third = gate.enter(patience, pending()).await.expect_err("full");
    assert_eq!(third, Refusal::Full);
    assert_eq!(gate.traffic().held, 2);
    gate.turn(Position::Open(Side::Source));
    assert!(first.await.expect("no panic").is_ok() && second.await.expect("no panic").is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_downstream_left_gives_up_its_place() {
    let gate = gate();
    gate.turn(Position::Closed);
    let refused = gate.enter(PATIENCE, ready(())).await.expect_err("left");
    assert_eq!(refused, Refusal::Left);
    assert_eq!((gate.traffic().held, gate.traffic().inflight), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn held_writes_are_released_in_batches_in_the_order_they_came() {
    let gate = gate();
    gate.turn(Position::Closed);
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut writers = Vec::new();
    for number in 0..100_usize {
        let (gate, order) = (Arc::clone(&gate), Arc::clone(&order));
        writers.push(tokio::spawn(async move {
            let pass = gate.enter(PATIENCE, pending()).await.expect("released");
            order.lock().expect("no panic").push(number / 32);
            drop(pass);
        }));
        settle().await;
    }
    let opened = Instant::now();
    gate.turn(Position::Open(Side::Target));
    for writer in writers {
        writer.await.expect("no panic");
    }
    assert_eq!(opened.elapsed(), 3 * RELEASE_INTERVAL);
    let order = order.lock().expect("no panic");
    assert!(order.is_sorted(), "batches overtook each other: {order:?}");
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_closes_again_during_the_release_keeps_the_rest() {
    let gate = gate();
    gate.turn(Position::Closed);
    let writers: Vec<_> = (0..100).map(|_| enter(&gate, PATIENCE)).collect();
    settle().await;
    gate.turn(Position::Open(Side::Target));
    settle().await;
    gate.turn(Position::Closed);
    advance(Duration::from_secs(1)).await;
    settle().await;
    let passed = writers.iter().filter(|writer| writer.is_finished()).count();
    assert_eq!(passed, 32);
    assert_eq!(gate.traffic().held, 68);
}

#[tokio::test(start_paused = true)]
async fn the_last_write_out_of_a_closed_gate_is_announced() {
    let drained = Arc::new(Notify::new());
    let gate = Arc::new(Gate::new(Side::Source, Arc::clone(&drained)));
    let pass = gate.enter(PATIENCE, pending()).await.expect("open");
    gate.turn(Position::Closed);
    assert_eq!((gate.traffic().holding, gate.traffic().inflight), (true, 1));
    drop(pass);
    drained.notified().await;
    assert_eq!((gate.traffic().holding, gate.traffic().inflight), (true, 0));
}

#[tokio::test(start_paused = true)]
async fn a_write_refused_by_the_owner_waits_for_another_turn() {
    let gate = gate();
    let turn = gate.enter(PATIENCE, pending()).await.expect("open").turn;
    let writer = enter(&gate, Patience { refused_at: Some(turn), ..PATIENCE });
    advance(Duration::from_secs(1)).await;
    settle().await;
    assert!(!writer.is_finished());
    gate.turn(Position::Open(Side::Target));
    assert_eq!(writer.await.expect("no panic").expect("turned").side, Side::Target);
}

/// The invariant the transfer rests on, with real threads that the kernel interrupts anywhere: once the
/// keeper saw `holding` and nothing in flight, no writer holds a pass until the keeper opens the gate.
#[tokio::test]
async fn no_write_passes_between_an_empty_closed_gate_and_its_opening() {
    const TAKES: Duration = Duration::from_secs(1);
    let gate = gate();
    let (shut, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (sent, wrong) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let writer = || {
        let (gate, shut, stop) = (Arc::clone(&gate), Arc::clone(&shut), Arc::clone(&stop));
        let (sent, wrong) = (Arc::clone(&sent), Arc::clone(&wrong));
        std::thread::spawn(move || {
            while !stop.load(SeqCst) {
                let Some(pass) = gate.try_enter(None) else { continue };
                sent.fetch_add(1, SeqCst);
                wrong.fetch_add(u64::from(shut.load(SeqCst)), SeqCst);
                drop(pass);
            }
        })
    };
    let writers: Vec<_> = (0..3).map(|_| writer()).collect();
    let (began, mut rounds) = (Instant::now(), 0);
    while began.elapsed() < TAKES {
        rounds += 1;
        let before = sent.load(SeqCst);
        while sent.load(SeqCst) < before + 10 {
            std::thread::yield_now();
        }
        gate.turn(Position::Closed);
        while gate.traffic().inflight > 0 {
            std::hint::spin_loop();
        }
        shut.store(true, SeqCst);
        // long enough for a writer that was interrupted between two steps to come back
        std::thread::yield_now();
        std::thread::yield_now();
        shut.store(false, SeqCst);
        gate.turn(Position::Open(Side::Source));
    }
    stop.store(true, SeqCst);
    for writer in writers {
        writer.join().expect("no panic");
    }
    assert_eq!(wrong.load(SeqCst), 0);
    assert!(rounds > 1 && sent.load(SeqCst) >= 10 * rounds, "{rounds} rounds");
}
