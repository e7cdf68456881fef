//! Free TCP ports on the loopback interface.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

use anyhow::Context;

/// Ports this process has handed out: the kernel may offer the same one twice while the first
/// taker has not bound it yet.
static HANDED_OUT: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// A TCP port on 127.0.0.1 that nothing listens on, never the same one twice in a process.
///
/// Another process may still take it first: where a program can bind port 0 itself, prefer that.
///
/// # Errors
/// When no socket can be bound on the loopback interface.
pub fn free_port() -> anyhow::Result<u16> {
    let mut handed_out = HANDED_OUT.lock().unwrap_or_else(PoisonError::into_inner);
    let handed_out = handed_out.get_or_insert_with(HashSet::new);
    loop {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("bind a port on 127.0.0.1")?;
        let port = listener.local_addr().context("read the bound port")?.port();
        if handed_out.insert(port) {
            return Ok(port);
        }
    }
}
