//! How the peers of an upstream are chosen, left out for a while, and asked again.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::{SubjectSource, view};
use crate::scalar;

/// What `[upstreams.NAME]` says about failing and busy peers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Resilience {
    /// Which peer a request goes to.
    pub balance: Balance,
    /// How long a peer that comes back is given less than its share; zero: its full share at once.
    #[serde(serialize_with = "view::duration")]
    pub slow_start: Duration,
    /// When a single peer is left out because of what its answers were.
    pub ejection: Ejection,
    /// When the upstream as a whole is not asked any more; never when not given.
    pub breaker: Option<Breaker>,
    /// When a request is sent once more.
    pub retry: Retry,
    /// How many requests the upstream gets at once; any number when not given.
    pub limits: Option<UpstreamLimits>,
}

/// `balance = "least_loaded"`: which peer a request goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Balance {
    /// The one of two random peers that has fewer requests under way.
    LeastLoaded,
    /// The same peer for the same subject, as `proxy.subject` finds it.
    Subject,
    /// The same peer for the same value of this header (lower case).
    Header(String),
    /// The same peer for the same value of this cookie.
    Cookie(String),
}

/// `ejection = { failures = 5, error_share = "50%", … }`: leaves a peer out because of its answers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ejection {
    /// Failures in a row.
    pub failures: u32,
    /// Share of failed requests within one window, 0 to 1.
    #[serde(serialize_with = "view::percent")]
    pub error_share: f64,
    /// Requests a window must have before its share counts.
    pub min_requests: u32,
    /// Length of one window.
    #[serde(serialize_with = "view::duration")]
    pub window: Duration,
    /// How long a peer is left out the first time; twice as long each time that follows soon.
    #[serde(serialize_with = "view::duration")]
    pub time: Duration,
    /// Longest time a peer is left out.
    #[serde(serialize_with = "view::duration")]
    pub max_time: Duration,
    /// Share of the peers that may be left out at once, 0 to 1, rounded down; 0 turns ejection off.
    #[serde(serialize_with = "view::percent")]
    pub max_share: f64,
}

/// `breaker = { failures = 20, open = "5s", probes = 3 }`, kept for reads and writes apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Breaker {
    /// Failures in a row that open it.
    pub failures: u32,
    /// How long nothing is sent.
    #[serde(serialize_with = "view::duration")]
    pub open: Duration,
    /// Requests let through afterwards, which must all succeed before it closes.
    pub probes: u32,
}

/// `retry = { attempts = 2, budget = "20%", backoff = "25ms" }`
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Retry {
    /// How often one request is sent again.
    pub attempts: u32,
    /// Requests sent again as a share of all requests, 0 to 1, after the first ten.
    #[serde(serialize_with = "view::percent")]
    pub budget: f64,
    /// Longest wait before the first time; doubles each time, and a random part of it is waited.
    #[serde(serialize_with = "view::duration")]
    pub backoff: Duration,
}

/// `limits = { requests = 1000, pending = 1000, wait = "1s" }`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct UpstreamLimits {
    /// Requests under way at once; over HTTP/1 as many connections.
    pub requests: u32,
    /// Requests that wait for their turn.
    pub pending: u32,
    /// Longest time one waits.
    #[serde(serialize_with = "view::duration")]
    pub wait: Duration,
}

impl Balance {
    /// Reads `least_loaded`, `subject`, `header:NAME` or `cookie:NAME`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "least_loaded" => Some(Self::LeastLoaded),
            "subject" => Some(Self::Subject),
            _ => match scalar::subject(text)? {
                SubjectSource::Header(name) => Some(Self::Header(name)),
                SubjectSource::Cookie(name) => Some(Self::Cookie(name)),
                SubjectSource::JwtClaim(_) | SubjectSource::Ip => None,
            },
        }
    }

    /// As it is written in the file.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::LeastLoaded => "least_loaded".to_owned(),
            Self::Subject => "subject".to_owned(),
            Self::Header(name) => format!("header:{name}"),
            Self::Cookie(name) => format!("cookie:{name}"),
        }
    }
}

impl Serialize for Balance {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_text())
    }
}

/// What the file means when it says nothing.
impl Default for Resilience {
    fn default() -> Self {
        Self {
            balance: Balance::LeastLoaded,
            slow_start: Duration::from_secs(10),
            ejection: Ejection::default(),
            breaker: None,
            retry: Retry::default(),
            limits: None,
        }
    }
}

impl Default for Ejection {
    fn default() -> Self {
        Self {
            failures: 5,
            error_share: 0.5,
            min_requests: 20,
            window: Duration::from_secs(10),
            time: Duration::from_secs(10),
            max_time: Duration::from_secs(300),
            max_share: 0.5,
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 2, budget: 0.2, backoff: Duration::from_millis(25) }
    }
}
