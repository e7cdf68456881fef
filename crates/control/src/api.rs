//! The JSON API's documents: what `GET /api/v1/status` and the commands answer. The CLI, the dashboard
//! and scripts read the same types.

use cutover::{Direction, Epoch, GuardRow, Phase, Side};
use serde::{Deserialize, Serialize};

/// `GET /api/v1/status`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// Whether this control leads; a standby answers reads only.
    pub leader: bool,
    /// Last published generation.
    pub generation: u64,
    /// When this was put together, milliseconds since 1970.
    pub now_unix_ms: u64,
    /// By name.
    pub capabilities: Vec<CapabilityStatus>,
    /// Proxies seen since this control started.
    pub proxies: Vec<ProxyStatus>,
    /// Whether the replicator answers, and what it said when it does not.
    pub replicator: ReplicatorStatus,
}

/// Where one capability stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CapabilityStatus {
    /// Key in routes.toml.
    pub name: String,
    /// The service's upstream.
    pub upstream: String,
    /// How far it has moved.
    pub phase: Phase,
    /// Share of reads the service answers, percent.
    pub read_percent: u8,
    /// Who owns the writes.
    pub owner: Side,
    /// The owner's epoch.
    pub epoch: Epoch,
    /// Streams and automatic steps are paused.
    pub paused: bool,
    /// How reads move by themselves.
    #[serde(default)]
    pub steps: StepsStatus,
    /// Both guard rows as last read; absent when unknown.
    pub source_guard: Option<GuardRow>,
    /// See above.
    pub target_guard: Option<GuardRow>,
    /// Forward, reference, reverse.
    pub streams: Vec<StreamStatus>,
    /// The last verification.
    pub verification: Option<VerificationStatus>,
    /// Summed over all connected proxies.
    pub traffic: Traffic,
    /// Running or last transfer.
    pub transfer: Option<Transfer>,
    /// What an operator should know or do next, most important first.
    pub advice: Vec<Advice>,
}

/// One sentence for the operator.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Advice {
    /// Something is wrong, rather than merely next.
    pub warning: bool,
    /// The sentence.
    pub text: String,
    /// The command that follows, when there is one.
    pub command: Option<String>,
}

/// One stream of the replicator.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StreamStatus {
    /// forward, reverse, reference
    pub kind: String,
    /// starting, copying, streaming, stopped, paused, retrying, failed
    pub state: String,
    /// Why it is retrying or failed, and what to do.
    pub reason: String,
    /// Absent: unknown, never to be taken for zero.
    pub lag_bytes: Option<u64>,
    /// Absent: unknown.
    pub lag_ms: Option<u64>,
    /// Commit end of the last transaction applied.
    pub applied_lsn: String,
    /// Rows applied since the replicator started.
    pub rows_applied: u64,
    /// Transactions applied since the replicator started.
    pub transactions_applied: u64,
    /// Rows that did not match and stopped the stream.
    pub conflicts: u64,
    /// Writes seen on a side that does not own the capability.
    pub breaches: u64,
    /// What the database that is read keeps for this stream; absent: unknown.
    #[serde(default)]
    pub wal: Option<WalStatus>,
    /// Per table.
    pub tables: Vec<TableStatus>,
    /// While it copies: all tables together.
    pub copy: Option<CopyStatus>,
    /// Indexes that are built after the copy.
    #[serde(default)]
    pub indexes_left: u32,
}

/// How far a copy is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CopyStatus {
    /// Rows read so far.
    pub rows: u64,
    /// Rows expected. Absent: unknown.
    pub rows_expected: Option<u64>,
    /// Copied data so far.
    pub bytes: u64,
    /// Over the last seconds. Absent: too early to say.
    pub rows_per_second: Option<u64>,
    /// Over the last seconds. Absent: too early to say.
    pub bytes_per_second: Option<u64>,
    /// Time that is left, milliseconds. Absent: unknown, or all rows are copied.
    pub eta_ms: Option<u64>,
}

/// What the database that is read keeps for a stream, and what holds its log back.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct WalStatus {
    /// ok, warning, alarm, exhausted, lost; empty: unknown
    pub level: String,
    /// `wal_status` of the slot; empty: unknown, or there is no slot
    pub slot_status: String,
    /// Log that is kept.
    pub retained_bytes: Option<u64>,
    /// Log that may be kept before the stream is given up.
    pub limit_bytes: Option<u64>,
    /// `wal_budget`, `max_slot_wal_keep_size`
    pub limit_set_by: String,
    /// Share of the limit, from 0.
    pub used_ratio: Option<f64>,
    /// Seconds until the limit at the rate of the last minute; absent: unknown, or it does not grow
    pub eta_s: Option<u64>,
    /// What decoding has put on the server's disk since its figures were reset.
    pub server_spilled_bytes: Option<u64>,
    /// How long the server's oldest transaction runs; 0: there is none
    pub oldest_transaction_s: Option<u64>,
}

/// One table of a stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TableStatus {
    /// In the database that is read.
    pub source: String,
    /// In the database that is written.
    pub target: String,
    /// pending, copying, indexing, ready; quarantined, changed, resyncing, replaying while its changes
    /// are parked
    pub state: String,
    /// Rows copied so far.
    pub rows_copied: u64,
    /// Rows expected, as the planner estimates.
    pub rows_estimated: u64,
    /// Why it waits.
    pub reason: String,
    /// While the stream copies.
    pub copy: Option<CopyStatus>,
    /// Changes that wait with it.
    #[serde(default)]
    pub parked_rows: u64,
    /// Their size.
    #[serde(default)]
    pub parked_bytes: u64,
    /// Changes that were left out on an operator's word.
    #[serde(default)]
    pub skipped: u64,
    /// Parked changes were dropped: only a resync helps.
    #[serde(default)]
    pub needs_resync: bool,
}

/// `GET /api/v1/changes`: a table that waits because its shape changed where it is read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChangedTable {
    /// Of the stream: forward, reverse, reference.
    pub stream: String,
    /// In the monolith.
    pub source: String,
    /// In the service.
    pub target: String,
    /// What the log said first.
    pub reason: String,
    /// What is different from when the mapping fitted.
    pub changes: Vec<String>,
    /// SQL for the table that is written, and keys of routes.toml.
    pub remedies: Vec<String>,
    /// Why it would not be accepted now; empty: it would.
    pub problems: Vec<String>,
    /// Parked changes were dropped: only a resync helps.
    pub needs_resync: bool,
}

/// Answer of `POST /api/v1/capabilities/{name}/table`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TableAnswer {
    /// Which stream of the capability.
    pub stream: String,
    /// As the monolith calls it.
    pub table: String,
    /// Its state now.
    pub state: String,
}

/// Result of a verification.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VerificationStatus {
    /// Rows compared.
    pub rows: u64,
    /// Rows that differ.
    pub differences: u64,
    /// When it ended, milliseconds since 1970.
    pub finished_unix_ms: u64,
    /// Keys touched since it began; they are compared under the fence.
    pub dirty_keys: u64,
    /// Ranges of keys touched since, where single keys were too many to remember.
    #[serde(default)]
    pub dirty_ranges: u64,
    /// Of some tables nothing is known, or not any more: a comparison of every row comes before a
    /// transfer.
    pub dirty_overflow: bool,
    /// Some differing rows: `public.ticket(42) missing`.
    pub samples: Vec<String>,
    /// When every row was last compared and found equal, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clean_unix_ms: Option<u64>,
    /// The comparison that runs now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<VerificationRun>,
}

/// A comparison that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerificationRun {
    /// `background`, `operator` or `transfer`.
    pub by: String,
    /// Table being compared.
    pub table: String,
    /// Rows compared so far.
    pub rows: u64,
    /// Rows to compare, as estimated.
    pub rows_total: u64,
    /// Rows that differ so far.
    pub differences: u64,
    /// When it began, milliseconds since 1970.
    pub began_unix_ms: u64,
}

/// What proxies report about a capability.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Traffic {
    /// Writes waiting at the gates now.
    pub held: u64,
    /// Writes sent and not answered yet.
    pub inflight_writes: u64,
    /// Requests answered by the monolith since the proxies started.
    pub requests_source: u64,
    /// Requests answered by the service.
    pub requests_target: u64,
    /// Errors (5xx, no answer) of the monolith.
    pub errors_source: u64,
    /// Errors of the service.
    pub errors_target: u64,
    /// Shadow reads compared.
    pub shadow_compared: u64,
    /// Of them, different even after waiting for the stream.
    pub shadow_mismatched: u64,
    /// Shadow reads left out because a budget was used up.
    pub shadow_skipped: u64,
    /// 99th percentile of reads answered by the monolith, ms; the worst proxy's.
    pub p99_source_ms: f64,
    /// Same for the service.
    pub p99_target_ms: f64,
}

/// One proxy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProxyStatus {
    /// Random per process.
    pub id: String,
    /// Its stream is open and it reported within two seconds.
    pub connected: bool,
    /// Last generation it applied.
    pub generation: u64,
    /// Milliseconds since its last report.
    pub silent_ms: u64,
    /// Reads another routes.toml than control.
    pub other_config: bool,
    /// Nothing is heard of it, and it did not say that it stops: it may serve its last state.
    #[serde(default)]
    pub cut_off: bool,
    /// Its version of Ficus.
    #[serde(default)]
    pub version: String,
    /// Name of its machine; empty: unknown.
    #[serde(default)]
    pub host: String,
    /// Where downstreams connect.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// How long the last table took until it was in force there, milliseconds. Absent: not yet.
    #[serde(default)]
    pub acknowledged_after_ms: Option<u64>,
}

/// How the reads of a capability move by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepsStatus {
    /// The share grows by the configured steps.
    pub automatic: bool,
    /// An operator paused the steps on; steps back are made all the same.
    pub paused: bool,
    /// How often they took the reads back since they were begun.
    pub step_backs: u32,
    /// Milliseconds left of the cool-down after a step back.
    pub wait_ms: u64,
    /// good, bad, inconclusive; empty: no reads are being moved.
    pub verdict: String,
    /// Why the verdict is not good; empty when it is.
    pub reason: String,
    /// What happens next, or what it waits for.
    pub next: String,
}

/// One entry of `GET /api/v1/capabilities/{name}/shifts`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShiftEntry {
    /// Milliseconds since 1970.
    pub at_unix_ms: u64,
    /// From then on.
    pub phase: String,
    /// Who asked; `automatic` for a step by itself.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// What an automatic step was decided on: counts of the last seconds and since the step before, times, lag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<serde_json::Value>,
}

/// One group of `GET /api/v1/mismatches`: where answers of a route differ, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MismatchGroup {
    /// Key in routes.toml.
    pub capability: String,
    /// Method and path as in routes.toml.
    pub route: String,
    /// JSON pointer with `*` for the numbers of elements, or what differs beside the body.
    pub path: String,
    /// missing, extra, type, value, length; head or bytes for what is not JSON.
    pub kind: String,
    /// Confirmed differences of the service from the monolith.
    pub raw: u64,
    /// Differences of the monolith from itself, asked twice.
    pub noise: u64,
    /// Comparisons of the route in which one could be told from the other.
    pub rounds: u64,
    /// It differs from itself as often: learned as noise, and not counted as a mismatch.
    pub noisy: bool,
    /// Milliseconds since 1970.
    pub first_unix_ms: u64,
    /// Milliseconds since 1970.
    pub last_unix_ms: u64,
    /// The newest ones. Values stand nowhere, only hashes with a key that each proxy makes at its start.
    pub samples: Vec<MismatchSample>,
}

/// One difference that was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MismatchSample {
    /// Milliseconds since 1970.
    pub at_unix_ms: u64,
    /// JSON pointer with the numbers of elements.
    pub pointer: String,
    /// Keyed hash of the monolith's value; empty: it is not there.
    pub expected: String,
    /// Keyed hash of the service's value; empty: it is not there.
    pub actual: String,
}

/// The replicator as control sees it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ReplicatorStatus {
    /// It answered the last question.
    pub connected: bool,
    /// What went wrong when it did not.
    pub error: String,
}

/// One cutover or rollback.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Transfer {
    /// Grows.
    pub id: i64,
    /// Forward: cutover. Back: rollback.
    pub direction: Direction,
    /// running, done, aborted, refused
    pub outcome: String,
    /// Why it was aborted or refused.
    pub reason: String,
    /// Who asked for it.
    pub actor: String,
    /// Milliseconds since 1970.
    pub started_unix_ms: u64,
    /// From the command to its end, ms; so far while it runs.
    pub total_ms: u64,
    /// From the published hold to the published owner, ms.
    pub hold_ms: u64,
    /// In order.
    pub steps: Vec<Step>,
}

/// One step of a transfer; also a line of the NDJSON answer of `cutover` and `rollback`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    /// preflight, reverse, hold, fence, drain, verify, prepare, decide, open, publish; expire, unprepare, release when undone
    pub step: String,
    /// How long it took, ms.
    pub ms: f64,
    /// Facts worth showing: epochs, rows, attempts.
    pub detail: String,
}

/// Last line of the NDJSON answer of `cutover` and `rollback`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TransferResult {
    /// done, aborted, refused; ready for a dry run that would be accepted
    pub outcome: String,
    /// Why it was aborted or refused.
    pub reason: String,
    /// All preflight findings of a refusal or a dry run.
    pub findings: Vec<Finding>,
    /// Absent for a refusal before anything began and for a dry run.
    pub transfer: Option<Transfer>,
}

/// One thing a preflight looked at.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// Short name: `stream_lag`, `verification`, `proxies`, `long_transactions`.
    pub check: String,
    /// It is as it must be.
    pub ok: bool,
    /// What was seen.
    pub evidence: String,
    /// What to do; empty when ok.
    pub remedy: String,
}

/// One line of the NDJSON answer of `verify`; the last one has `done`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct VerifyLine {
    /// The pass is over.
    pub done: bool,
    /// Table being compared.
    pub table: String,
    /// Rows compared so far, over all tables.
    pub rows: u64,
    /// Rows to compare, as estimated.
    pub rows_total: u64,
    /// Rows that differ so far; repaired ones are not among them.
    pub differences: u64,
    /// Some differing rows: `public.ticket(42) missing`.
    pub samples: Vec<String>,
    /// Differing rows that only the owner has.
    #[serde(default)]
    pub missing: u64,
    /// Differing rows that the owner does not have.
    #[serde(default)]
    pub extra: u64,
    /// Differing rows that both have.
    #[serde(default)]
    pub different: u64,
    /// Rows that differed and were written anew.
    #[serde(default)]
    pub repaired: u64,
    /// The pass could not be finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One line of `GET /api/v1/journal`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JournalEntry {
    /// Milliseconds since 1970.
    pub at_unix_ms: u64,
    /// Of which capability.
    pub capability: String,
    /// Of which transfer; absent for other commands.
    pub transfer: Option<i64>,
    /// Who asked.
    pub actor: String,
    /// What happened.
    pub what: String,
    /// Facts.
    pub detail: String,
}
