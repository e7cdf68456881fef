//! Puts together what a person or a script wants to see. Asks nobody but control's own store: guards,
//! streams and proxies are shown as last heard.

mod advice;

use std::sync::Arc;

use cutover::StreamKind;
use rpc::v1;

use crate::{
    api::{
        CapabilityStatus, CopyStatus, ReplicatorStatus, Status, StepsStatus, StreamStatus,
        TableStatus, VerificationRun, VerificationStatus, WalStatus,
    },
    board::Published,
    clock,
    core::Core,
    replicator::Heard,
    steps::Next,
    store::StoreError,
    verdict::Verdict,
};

/// Everything.
pub(crate) async fn status(core: &Arc<Core>) -> Result<Status, StoreError> {
    let leads = core.term().is_some();
    let heard = core.replicator.heard();
    let mut capabilities = Vec::new();
    for name in core.config.capabilities.keys() {
        capabilities.push(capability(core, name, &heard, leads).await?);
    }
    Ok(Status {
        leader: leads,
        generation: core.board.generation(),
        now_unix_ms: clock::unix_ms(),
        capabilities,
        proxies: core.proxies.statuses(&core.config.digest),
        replicator: ReplicatorStatus {
            connected: heard.status.is_ok(),
            error: heard.status.as_ref().err().cloned().unwrap_or_default(),
        },
    })
}

async fn capability(
    core: &Arc<Core>,
    name: &str,
    heard: &Heard,
    leads: bool,
) -> Result<CapabilityStatus, StoreError> {
    let row = core.store.capability(name).await?;
    // a standby publishes nothing and shows what the leader recorded
    let published = core.board.get(name).filter(|_| leads).unwrap_or_else(|| Published {
        phase: row.phase,
        owner: row.phase.owner(),
        epoch: row.epoch,
    });
    let pair = core.guards(name).and_then(Result::ok);
    let transfer = match core.running(name) {
        Some(running) => Some(running.record.borrow().clone()),
        None => core.store.last_transfer(name).await?,
    };
    let reply = heard.status.as_ref().ok();
    let mut status = CapabilityStatus {
        name: name.to_owned(),
        upstream: core.capability(name).map(|each| each.upstream.clone()).unwrap_or_default(),
        phase: published.phase,
        read_percent: published.phase.read_percent(),
        owner: published.owner,
        epoch: published.epoch,
        paused: row.paused,
        steps: steps(core, name).await?,
        source_guard: pair.map(|pair| pair.source),
        target_guard: pair.map(|pair| pair.target),
        streams: reply.map(|reply| streams(reply, name)).unwrap_or_default(),
        verification: verification(core, name, reply).await?,
        traffic: core.proxies.traffic(name),
        transfer,
        advice: Vec::new(),
    };
    status.advice = advice::advice(core, &status, heard);
    Ok(status)
}

fn streams(reply: &v1::StatusReply, name: &str) -> Vec<StreamStatus> {
    [StreamKind::Forward, StreamKind::Reference, StreamKind::Reverse]
        .into_iter()
        .filter_map(|kind| crate::replicator::stream_of(reply, name, kind))
        .map(stream)
        .collect()
}

fn stream(seen: &v1::StreamStatus) -> StreamStatus {
    StreamStatus {
        kind: seen.kind.clone(),
        state: seen.state.clone(),
        reason: seen.reason.clone(),
        lag_bytes: seen.lag_bytes,
        lag_ms: seen.lag_ms,
        applied_lsn: seen.applied_lsn.clone(),
        rows_applied: seen.rows_applied,
        transactions_applied: seen.transactions_applied,
        conflicts: seen.conflicts,
        breaches: seen.breaches,
        wal: seen.wal.as_ref().map(wal),
        tables: seen.tables.iter().map(table).collect(),
        copy: seen.copy.as_ref().map(copy),
        indexes_left: seen.indexes_left,
    }
}

const fn copy(seen: &v1::CopyProgress) -> CopyStatus {
    CopyStatus {
        rows: seen.rows,
        rows_expected: seen.rows_expected,
        bytes: seen.bytes,
        rows_per_second: seen.rows_per_second,
        bytes_per_second: seen.bytes_per_second,
        eta_ms: seen.eta_ms,
    }
}

fn wal(seen: &v1::WalStatus) -> WalStatus {
    WalStatus {
        level: seen.level.clone(),
        slot_status: seen.slot_status.clone(),
        retained_bytes: seen.retained_bytes,
        limit_bytes: seen.limit_bytes,
        limit_set_by: seen.limit_set_by.clone(),
        used_ratio: seen.used_ratio,
        eta_s: seen.eta_s,
        server_spilled_bytes: seen.server_spilled_bytes,
        oldest_transaction_s: seen.oldest_transaction_s,
    }
}

fn table(seen: &v1::TableStatus) -> TableStatus {
    TableStatus {
        source: seen.source.clone(),
        target: seen.target.clone(),
        state: seen.state.clone(),
        rows_copied: seen.rows_copied,
        rows_estimated: seen.rows_estimated,
        reason: seen.reason.clone(),
        copy: seen.copy.as_ref().map(copy),
        parked_rows: seen.parked_rows,
        parked_bytes: seen.parked_bytes,
        skipped: seen.skipped,
        needs_resync: seen.needs_resync,
    }
}

/// As the store remembers it, with the leader's last verdict.
async fn steps(core: &Core, name: &str) -> Result<StepsStatus, StoreError> {
    let row = core.store.steps(name).await?;
    let (verdict, next) = core.verdict(name).unzip();
    let (verdict, reason) = match verdict {
        None => ("", String::new()),
        Some(Verdict::Good) => ("good", String::new()),
        Some(Verdict::Bad(reason)) => ("bad", reason),
        Some(Verdict::Inconclusive(reason)) => ("inconclusive", reason),
    };
    Ok(StepsStatus {
        automatic: row.automatic,
        paused: row.paused,
        step_backs: row.step_backs,
        wait_ms: u64::try_from(row.wait.as_millis()).unwrap_or(u64::MAX),
        verdict: verdict.to_owned(),
        reason,
        next: match next {
            None => String::new(),
            Some(Next::Stay(why)) => why,
            Some(Next::Back { .. }) => "takes the reads back".to_owned(),
            Some(Next::On(percent)) => format!("goes on to {percent}%"),
        },
    })
}

/// The replicator's own memory of it is fresher; the store remembers over its restarts.
async fn verification(
    core: &Core,
    name: &str,
    reply: Option<&v1::StatusReply>,
) -> Result<Option<VerificationStatus>, StoreError> {
    let seen =
        reply.and_then(|reply| reply.verifications.iter().find(|seen| seen.capability == name));
    let running = seen.and_then(|seen| seen.running.as_ref()).map(run);
    match seen.filter(|seen| seen.finished_unix_ms > 0) {
        Some(seen) => Ok(Some(VerificationStatus {
            rows: seen.rows,
            differences: seen.differences,
            finished_unix_ms: seen.finished_unix_ms,
            dirty_keys: seen.dirty_keys,
            dirty_ranges: seen.dirty_ranges,
            dirty_overflow: seen.dirty_overflow,
            samples: seen.samples.clone(),
            clean_unix_ms: (seen.clean_unix_ms > 0).then_some(seen.clean_unix_ms),
            running,
        })),
        None => {
            let last = core.store.last_verification(name).await?;
            Ok(last.map(|last| VerificationStatus { running, ..last }))
        }
    }
}

fn run(seen: &v1::VerificationRun) -> VerificationRun {
    VerificationRun {
        by: seen.by.clone(),
        table: seen.table.clone(),
        rows: seen.rows,
        rows_total: seen.rows_total,
        differences: seen.differences,
        began_unix_ms: seen.began_unix_ms,
    }
}
