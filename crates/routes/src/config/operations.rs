//! How a proxy stops, hands over, and defends itself against too much work.

use std::{path::PathBuf, time::Duration};

use serde::Serialize;

use super::view;

/// What `[proxy]` says about running one process; every key has a default.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Operations {
    /// Unix socket by which a new process takes the listening sockets over; none when not given.
    pub handover: Option<PathBuf>,
    /// After being told to stop: how long new requests are still served, with `Connection: close`.
    #[serde(serialize_with = "view::duration")]
    pub lame_duck: Duration,
    /// After that: how long requests that began may take to end.
    #[serde(serialize_with = "view::duration")]
    pub drain: Duration,
    /// Above which load requests are refused.
    pub shed: Shed,
    /// Which requests are logged, and where.
    pub access_log: AccessLog,
}

/// `access_log = { sample = 1.0, slow = "1s", file = "/var/log/ficus/access.log" }`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AccessLog {
    /// Share of the requests that are logged, 0 to 1; failed and slow ones always are.
    pub sample: f64,
    /// Requests that take so long are slow.
    #[serde(serialize_with = "view::duration")]
    pub slow: Duration,
    /// Opened again on SIGHUP; the process's log when not given.
    pub file: Option<PathBuf>,
}

/// `shed = { requests = 20000, memory = "1GiB" }`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Shed {
    /// Requests under way at the same time, held ones included.
    pub requests: usize,
    /// Resident memory of the process in bytes; no limit when not given.
    pub memory: Option<u64>,
}

impl Default for Operations {
    /// What a `[proxy]` without any of these keys means.
    fn default() -> Self {
        Self {
            handover: None,
            lame_duck: Duration::from_millis(500),
            drain: Duration::from_secs(10),
            shed: Shed { requests: 20_000, memory: None },
            access_log: AccessLog { sample: 1.0, slow: Duration::from_secs(1), file: None },
        }
    }
}
