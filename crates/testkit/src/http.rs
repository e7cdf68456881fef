//! Requests as bytes, as an attacker or a broken program would send them, and an upstream that writes
//! down what reached it.

pub mod cases;
mod exchange;
pub mod frames;
mod recorder;
pub mod streams;

pub use cases::{Case, Expect};
pub use exchange::{Answers, exchange, exchange_over};
pub use recorder::{Recorded, Recorder};
