//! A status with something of everything, for tests and for looking at the page.

use cutover::{Direction, Epoch, GuardRow, GuardState, Phase, Side};

use crate::api::{
    Advice, CapabilityStatus, CopyStatus, JournalEntry, ProxyStatus, ReplicatorStatus, Status,
    Step, StepsStatus, StreamStatus, TableStatus, Traffic, Transfer, VerificationStatus, WalStatus,
};

pub(super) const NOW: u64 = 1_790_000_000_000;

/// A capability that was not started: nothing is known of it.
pub(super) fn fresh(name: &str, upstream: &str) -> CapabilityStatus {
    CapabilityStatus {
        name: name.to_owned(),
        upstream: upstream.to_owned(),
        phase: Phase::Monolith,
        read_percent: 0,
        owner: Side::Source,
        epoch: Epoch(1),
        paused: false,
        steps: StepsStatus::default(),
        source_guard: None,
        target_guard: None,
        streams: Vec::new(),
        verification: None,
        traffic: Traffic::default(),
        transfer: None,
        advice: vec![advice(false, "nothing runs yet", Some(&format!("ficus start {name}")))],
    }
}

pub(super) fn advice(warning: bool, text: &str, command: Option<&str>) -> Advice {
    Advice { warning, text: text.to_owned(), command: command.map(str::to_owned) }
}

pub(super) fn guard(state: GuardState, epoch: u64) -> Option<GuardRow> {
    Some(GuardRow { state, epoch: Epoch(epoch), prepared: Epoch::NONE, overdue: false })
}

pub(super) fn stream(kind: &str, state: &str) -> StreamStatus {
    let table = |source: &str, target: &str| TableStatus {
        source: source.to_owned(),
        target: target.to_owned(),
        state: "ready".to_owned(),
        rows_copied: 120_000,
        rows_estimated: 118_000,
        reason: String::new(),
        copy: None,
        parked_rows: 0,
        parked_bytes: 0,
        skipped: 0,
        needs_resync: false,
    };
    StreamStatus {
        kind: kind.to_owned(),
        state: state.to_owned(),
        reason: String::new(),
        lag_bytes: Some(4_210),
        lag_ms: Some(38),
        applied_lsn: "0/5A3F2C8".to_owned(),
        rows_applied: 1_482_911,
        transactions_applied: 402_118,
        conflicts: 0,
        breaches: 0,
        wal: Some(WalStatus {
            level: "ok".to_owned(),
            slot_status: "reserved".to_owned(),
            retained_bytes: Some(33_554_432),
            limit_bytes: Some(10_737_418_240),
            limit_set_by: "wal_budget".to_owned(),
            used_ratio: Some(0.003),
            eta_s: Some(7_200),
            server_spilled_bytes: Some(0),
            oldest_transaction_s: Some(4),
        }),
        copy: None,
        indexes_left: 0,
        tables: vec![
            table("public.ticket", "public.tickets"),
            table("public.article_data_mime", "public.article_bodies"),
        ],
    }
}

pub(super) fn transfer() -> Transfer {
    let step = |step: &str, ms: f64, detail: &str| Step {
        step: step.to_owned(),
        ms,
        detail: detail.to_owned(),
    };
    Transfer {
        id: 3,
        direction: Direction::Back,
        outcome: "done".to_owned(),
        reason: String::new(),
        actor: "anna@cli".to_owned(),
        started_unix_ms: NOW - 840_000,
        total_ms: 492,
        hold_ms: 214,
        steps: vec![
            step("preflight", 188.4, "14 checks"),
            step("reverse", 90.0, "slot ficus_tickets_forward"),
            step("hold", 31.7, "2 proxies, 0 in flight"),
            step("fence", 18.2, "epoch 4, attempt 1"),
            step("drain", 96.1, "barrier at 0/5A3F2C8"),
            step("verify", 41.9, "312 rows, 0 differences"),
            step("prepare", 9.3, "3 sequences"),
            step("decide", 4.8, "epoch 4"),
            step("open", 5.5, ""),
            step("publish", 6.2, "generation 1000042"),
        ],
    }
}

/// Three capabilities: one reading, one copying with trouble, one not started.
pub(super) fn status() -> Status {
    Status {
        leader: true,
        generation: 1_000_042,
        now_unix_ms: NOW,
        capabilities: vec![reading(), copying(), fresh("notifications", "notification")],
        proxies: vec![
            proxy("p-7f3a91c2", true, 1_000_042, 180, false),
            proxy("p-02bd11ee", false, 1_000_040, 48_200, true),
        ],
        replicator: ReplicatorStatus { connected: true, error: String::new() },
    }
}

fn proxy(id: &str, connected: bool, generation: u64, silent_ms: u64, other: bool) -> ProxyStatus {
    ProxyStatus {
        id: id.to_owned(),
        connected,
        generation,
        silent_ms,
        other_config: other,
        cut_off: !connected,
        version: "0.1.0".to_owned(),
        host: "edge-1".to_owned(),
        addresses: vec!["10.0.0.1:8080".to_owned()],
        acknowledged_after_ms: Some(3),
    }
}

fn reading() -> CapabilityStatus {
    CapabilityStatus {
        phase: Phase::Reading { percent: 10 },
        read_percent: 10,
        epoch: Epoch(4),
        source_guard: guard(GuardState::Open, 4),
        target_guard: guard(GuardState::Moved, 3),
        streams: vec![
            stream("forward", "streaming"),
            StreamStatus {
                lag_ms: None,
                lag_bytes: None,
                wal: None,
                ..stream("reverse", "stopped")
            },
            stream("reference", "streaming"),
        ],
        verification: Some(VerificationStatus {
            rows: 1_204_882,
            differences: 0,
            finished_unix_ms: NOW - 1_260_000,
            dirty_keys: 312,
            dirty_ranges: 0,
            dirty_overflow: false,
            samples: Vec::new(),
            clean_unix_ms: Some(NOW - 1_260_000),
            running: None,
        }),
        traffic: Traffic {
            held: 0,
            inflight_writes: 3,
            requests_source: 1_840_221,
            requests_target: 24_106,
            errors_source: 12,
            errors_target: 1,
            shadow_compared: 88_410,
            shadow_mismatched: 2,
            shadow_skipped: 140,
            p99_source_ms: 48.2,
            p99_target_ms: 9.6,
        },
        transfer: Some(transfer()),
        advice: vec![
            advice(
                true,
                "2 shadow reads differ: GET /api/v1/tickets/{id}, /data/change_time",
                None,
            ),
            advice(
                false,
                "the next step is 50 %, in 6 min by itself or now by hand",
                Some("ficus shift tickets 50"),
            ),
        ],
        ..fresh("tickets", "ticket")
    }
}

fn copying() -> CapabilityStatus {
    let mut forward = stream("forward", "copying");
    forward.lag_ms = None;
    forward.reason = "public.users: a column was added: email; map it in routes.toml".to_owned();
    let copy = CopyStatus {
        rows: 168_000,
        rows_expected: Some(238_000),
        bytes: 24_000_000,
        rows_per_second: Some(41_000),
        bytes_per_second: Some(5_900_000),
        eta_ms: Some(1_700),
    };
    if let Some(table) = forward.tables.first_mut() {
        table.state = "copying".to_owned();
        table.rows_copied = 48_000;
        table.copy = Some(CopyStatus { rows: 48_000, rows_expected: Some(118_000), ..copy });
    }
    forward.copy = Some(copy);
    if let Some(table) = forward.tables.last_mut() {
        table.state = "changed".to_owned();
        table.reason = "public.users changed: a column was added: email".to_owned();
        table.parked_rows = 12;
        table.parked_bytes = 4_096;
    }
    forward.conflicts = 1;
    CapabilityStatus {
        phase: Phase::Replicating,
        paused: true,
        source_guard: guard(GuardState::Open, 1),
        target_guard: guard(GuardState::Moved, 0),
        streams: vec![forward],
        advice: vec![advice(
            true,
            "public.users is changed: a column was added: email",
            Some("ficus ddl show users"),
        )],
        ..fresh("users", "user")
    }
}

pub(super) fn journal() -> Vec<JournalEntry> {
    let entry = |seconds: u64, transfer, what: &str, detail: &str| JournalEntry {
        at_unix_ms: NOW - seconds * 1000,
        capability: "tickets".to_owned(),
        transfer,
        actor: "anna@cli".to_owned(),
        what: what.to_owned(),
        detail: detail.to_owned(),
    };
    vec![
        entry(240, None, "shift", "reading 10%"),
        entry(839, Some(3), "rollback done", "writes held 214 ms"),
        entry(840, Some(3), "rollback", ""),
        entry(4_000, Some(2), "cutover done", "writes held 198 ms"),
        entry(180_000, None, "start", "6 tables, 8 references"),
    ]
}
