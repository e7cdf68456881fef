//! Connections that do what SQL drivers do not: they manage slots, stream the log, and pass copied
//! rows from one server to another as they are. The messages of the plugin are not decoded here.
//!
//! ```text
//!                 socket task                                  consumer
//! server ──bytes──> frames ──[queue, bounded in bytes]──> ReplicationStream::next
//!        <─status── timer, requests <────────────────── Progress::confirm
//! ```
//!
//! The socket task never waits for the consumer: when the queue is full it stops reading, the
//! server stops sending, and status updates go on. No row value is ever logged.

mod calm;
mod client;
mod connection;
mod error;
mod login;
mod options;
mod pace;
mod pass;
mod progress;
mod pump;
mod session;
mod socket;
mod stream;

pub use client::{CreatedSlot, ReplicationClient, ServerVersion, SystemIdentity};
pub use error::{ServerError, WireError};
pub(crate) use login::Mode;
pub use options::StartOptions;
pub use pace::Hurry;
use pace::Pace;
pub(crate) use pass::{PassError, Passed, pass};
pub use progress::Progress;
pub(crate) use session::{Answer, Session};
pub use stream::{Frame, ReplicationStream};
