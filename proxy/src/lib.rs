//! The data plane: a reverse proxy that moves capabilities from a monolith to services without losing
//! or repeating a write. It decides nothing about the migration and opens no database connection: it
//! does what control's route table says, unless the guard rows, told by the replicator, know better.
//!
//! ```text
//!             control ── route table ──> keeper ── turns ──> gates
//!          replicator ── guard rows ───────┘  └─ publishes ─> snapshot
//!                                                               │ once per request
//! downstream ─> strict ─> route ─> (write: gate) ─> side ─> upstream ─> answer ─> shadow, figures, log
//! ```

mod access_log;
mod admin;
mod admission;
mod answer;
mod answer_cache;
mod attack_rules;
mod backoff;
mod calling;
mod causal;
mod control_link;
mod examination;
mod exchange;
mod explain;
mod forward;
mod front;
mod gate;
mod gateway;
mod handling;
mod handover;
mod health;
mod intent;
mod json_body;
mod keeper;
mod latency;
mod live;
mod metrics;
mod ownership;
mod plan;
mod policy;
mod pressure;
mod reload;
mod replicator_link;
mod server;
mod service_manager;
mod shadow;
mod shared;
mod shared_limit;
mod strict;
mod subject;
mod trace_context;
mod upstream;

pub use explain::{
    AskError, Assumed, ExplainedPeer, Explanation, Outcome, Question, explain_offline,
};
pub use front::TlsError;
pub use reload::{ProxyStopped, ReloadHandle, Reloaded};
pub use server::{Options, Proxy, RunError, StartError, run};
