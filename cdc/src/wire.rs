//! The replication connection: what SQL drivers do not speak. It logs in, manages slots and streams
//! the log; it neither decodes messages of the plugin nor writes to a target.
//!
//! ```text
//!                 socket task                                  consumer
//! server ──bytes──> frames ──[queue, bounded in bytes]──> ReplicationStream::next
//!        <─status── timer, requests <────────────────── Progress::confirm
//! ```
//!
//! The socket task never waits for the consumer: when the queue is full it stops reading, the
//! server stops sending, and status updates go on. No row value is ever logged.

mod client;
mod connection;
mod error;
mod login;
mod options;
mod pace;
mod progress;
mod pump;
mod socket;
mod stream;

pub use client::{CreatedSlot, ReplicationClient, ServerVersion, SystemIdentity};
pub use error::{ServerError, WireError};
pub use options::StartOptions;
use pace::Pace;
pub use progress::Progress;
pub use stream::{Frame, ReplicationStream};
