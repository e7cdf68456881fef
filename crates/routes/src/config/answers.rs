//! The validated form of what the gateway does to bodies and with answers, and of shared limits.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::{Secret, view};

/// `cache = { … }` of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AnswerCache {
    /// How long a 200 is fresh that does not say; zero: it is not kept. Default zero.
    #[serde(serialize_with = "view::duration")]
    pub fresh: Duration,
    /// Bytes of the longest body that is kept. Default 1 MiB.
    pub max_body: usize,
}

/// `request_body = { … }` or `response_body = { … }` of a policy. Pointers are those of RFC 6901, with
/// `*` for every member or element.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JsonChanges {
    /// Bytes of the longest body. Default 1 MiB.
    pub max: usize,
    /// What becomes the document.
    pub unwrap: Option<String>,
    /// What is taken out.
    pub remove: Vec<String>,
    /// Pointer and new name.
    pub rename: BTreeMap<String, String>,
    /// Pointer and JSON text.
    pub set: BTreeMap<String, String>,
    /// Member that the document becomes.
    pub wrap: Option<String>,
}

/// `[shared_limits]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SharedLimits {
    /// Address of the Redis.
    pub redis: Secret,
    /// Of one request. Default 50 ms.
    #[serde(serialize_with = "view::duration")]
    pub timeout: Duration,
    /// Default `local`.
    pub on_failure: OnFailure,
}

/// What counts while the shared limits cannot be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The proxy's own count.
    Local,
    /// Nothing: every request passes.
    Allow,
    /// Every request is answered 503.
    Refuse,
}

impl OnFailure {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        match name {
            "local" => Some(Self::Local),
            "allow" => Some(Self::Allow),
            "refuse" => Some(Self::Refuse),
            _ => None,
        }
    }
}
