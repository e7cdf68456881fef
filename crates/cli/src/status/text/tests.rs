//! What an operator reads, for one status after another.

use serde_json::{Value, json};

use super::{bar, cut, screen};

/// One capability in the middle of its move, as control writes it.
fn sample() -> Value {
    let table = |state: &str, reason: &str| {
        json!({ "source": "public.ticket", "target": "public.tickets", "state": state,
            "rows_copied": 10, "rows_estimated": 20, "reason": reason })
    };
    let stream = |kind: &str, state: &str, ms: Value| {
        json!({ "kind": kind, "state": state, "reason": "", "lag_bytes": null, "lag_ms": ms,
            "applied_lsn": "0/1", "rows_applied": 1, "transactions_applied": 1, "conflicts": 0,
            "breaches": 0, "tables": [table("ready", "")],
            "wal": { "level": "ok", "slot_status": "reserved", "retained_bytes": 33_554_432,
                "limit_bytes": 10_737_418_240_u64, "limit_set_by": "wal_budget",
                "used_ratio": 0.003, "eta_s": 7_300, "server_spilled_bytes": null,
                "oldest_transaction_s": 12 } })
    };
    json!({
        "leader": true, "generation": 42, "now_unix_ms": 1_000_000,
        "replicator": { "connected": true, "error": "" },
        "proxies": [{ "id": "p-1", "connected": true, "generation": 42, "silent_ms": 9,
            "other_config": false }],
        "capabilities": [{
            "name": "tickets", "upstream": "ticket",
            "phase": { "name": "reading", "percent": 10 },
            "read_percent": 10, "owner": "source", "epoch": 4, "paused": false,
            "source_guard": { "state": "OPEN", "epoch": 4, "prepared": 0, "overdue": false },
            "target_guard": null,
            "streams": [stream("forward", "streaming", json!(38)), stream("reverse", "stopped", Value::Null)],
            "verification": { "rows": 1_204_882, "differences": 0, "finished_unix_ms": 400_000,
                "dirty_keys": 312, "dirty_overflow": false, "samples": [] },
            "traffic": { "held": 0, "inflight_writes": 3, "requests_source": 1840, "requests_target": 24,
                "errors_source": 1, "errors_target": 0, "shadow_compared": 884,
                "shadow_mismatched": 2, "shadow_skipped": 0, "p99_source_ms": 48.2,
                "p99_target_ms": 0.0 },
            "transfer": { "id": 3, "direction": "back", "outcome": "done", "reason": "",
                "actor": "anna@cli", "started_unix_ms": 400_000, "total_ms": 492, "hold_ms": 214,
                "steps": [{ "step": "preflight", "ms": 188.4, "detail": "" },
                    { "step": "hold", "ms": 3.17, "detail": "" }] },
            "advice": [{ "warning": true, "text": "2 shadow reads differ", "command": null },
                { "warning": false, "text": "the next step is 50 %",
                    "command": "ficus shift tickets 50" }]
        }]
    })
}

fn text(status: Value) -> String {
    screen(&serde_json::from_value(status).unwrap(), false)
}

#[test]
fn one_screen_tells_where_a_capability_stands() {
    let expected = "\
control leads · generation 42

tickets → ticket
  phase       monolith ✓ → replicating ✓ → shadowing ✓ → [reading 10%] → switched → completed
  reads       ██░░░░░░░░░░░░░░░░░░ 10 % service, 90 % monolith
  writes      monolith at epoch 4 · guards: monolith OPEN(4), ticket unknown
  traffic     monolith 1 840 answered, 1 error, p99 48 ms
              ticket 24 answered, 0 errors
              writes: 0 held now, 3 in flight
  shadow      ! 2 of 884 compared differ (0.2 %)
  verified    ✓ 10 min ago: 1 204 882 rows equal · 312 touched since
  streams     forward   streaming lag 38 ms · 32.0 MiB of 10.0 GiB WAL kept, full in 2 h · 1 of 1 tables ready
              reverse   stopped   lag unknown · 32.0 MiB of 10.0 GiB WAL kept, full in 2 h · 1 of 1 tables ready
  rollback    3 done · 10 min ago by anna@cli · 492 ms in all, writes held 214 ms
              preflight 188 ms · hold 3.2 ms
  ! 2 shadow reads differ
  → the next step is 50 %
      ficus shift tickets 50

proxy p-1  connected · generation 42
";
    assert_eq!(text(sample()), expected);
}

#[test]
fn figures_that_nobody_knows_are_not_shown_as_zero() {
    let mut status = sample();
    status["proxies"] = json!([{ "id": "p-1", "connected": false, "generation": 41,
        "silent_ms": 48_200, "other_config": true }]);
    status["replicator"] = json!({ "connected": false, "error": "connection refused" });
    status["capabilities"][0]["verification"] = Value::Null;
    status["capabilities"][0]["streams"][0]["wal"] = Value::Null;
    let text = text(status);
    for expected in [
        "! the replicator does not answer: connection refused",
        "traffic     unknown: no proxy is connected",
        "verified    never",
        "lag 38 ms · WAL kept unknown ·",
        "proxy p-1  ! away for 48.2 s · generation 41  ! behind  ! reads another routes.toml",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    assert!(!text.contains("answered"), "{text}");
}

#[test]
fn troubles_of_a_stream_stand_below_it() {
    let mut status = sample();
    let stream = &mut status["capabilities"][0]["streams"][0];
    stream["state"] = json!("copying");
    stream["reason"] = json!("a column was added: email");
    stream["copy"] = json!({ "rows": 12_000, "rows_expected": 40_000, "bytes": 9_000_000,
        "bytes_per_second": 32_505_856, "eta_ms": 240_000 });
    stream["indexes_left"] = json!(3);
    stream["breaches"] = json!(2);
    stream["tables"][0]["state"] = json!("quarantined");
    stream["wal"]["level"] = json!("alarm");
    stream["wal"]["oldest_transaction_s"] = json!(900);
    let text = text(status);
    for expected in [
        "copying   lag 38 ms · ! 32.0 MiB of 10.0 GiB WAL kept, full in 2 h · oldest transaction 15 min · 0 of 1 tables ready, 12 000 of about 40 000 rows \
         copied, 31.0 MiB/s, 4 min left, 3 indexes to build\n",
        "! a column was added: email\n",
        "! 2 writes by the side that does not own them\n",
        "! public.ticket is quarantined: no reason given\n",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
}

#[test]
fn what_others_wrote_can_not_steer_the_terminal() {
    let mut status = sample();
    for pointer in
        ["/capabilities/0/name", "/capabilities/0/advice/0/text", "/capabilities/0/transfer/actor"]
    {
        *status.pointer_mut(pointer).unwrap() = json!("\u{1b}[2Jgone\n");
    }
    assert!(!text(status).contains('\u{1b}'));
}

#[test]
fn colours_change_nothing_but_the_colour() {
    let status = serde_json::from_value(sample()).unwrap();
    let (mut coloured, plain) = (screen(&status, true), screen(&status, false));
    for code in ["0", "1", "2", "31", "32", "33"] {
        coloured = coloured.replace(&format!("\u{1b}[{code}m"), "");
    }
    assert_eq!(coloured, plain);
}

#[test]
fn a_share_between_nothing_and_all_never_looks_like_either() {
    assert_eq!(bar(0), "░".repeat(20));
    assert_eq!(bar(1), format!("█{}", "░".repeat(19)));
    assert_eq!(bar(99), format!("{}░", "█".repeat(19)));
    assert_eq!(bar(100), "█".repeat(20));
}

#[test]
fn a_screen_that_does_not_fit_says_what_is_missing() {
    assert_eq!(cut("a\nb\nc\n", 4), "a\nb\nc\n");
    assert_eq!(cut("a\nb\nc\n", 3), "a\n… 2 more lines: make the window taller\n");
}
