//! SQL sessions over TLS with a real server.

#[path = "tls/authority.rs"]
mod authority;
#[path = "tls/binding.rs"]
mod binding;
#[path = "tls/certificates.rs"]
mod certificates;
#[path = "tls/server.rs"]
mod server;
#[path = "tls/without.rs"]
mod without;
