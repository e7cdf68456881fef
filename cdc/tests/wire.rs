//! The replication connection against a real server, and against one that misbehaves.

#[path = "wire/fake_server.rs"]
mod fake_server;
#[path = "wire/faults.rs"]
mod faults;
#[path = "wire/login.rs"]
mod login;
#[path = "wire/progress.rs"]
mod progress;
#[path = "wire/slots.rs"]
mod slots;
#[path = "wire/source.rs"]
mod source;
#[path = "wire/stream.rs"]
mod stream;
#[path = "wire/tls.rs"]
mod tls;
