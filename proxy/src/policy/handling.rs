//! What a policy does to bodies and with answers.

use std::sync::Arc;

use super::body::BodyRule;
use crate::answer_cache::{KeepRules, Writes};

/// What one policy does, ready to be done.
#[derive(Debug)]
pub(crate) struct Handling {
    /// Which answers are kept.
    pub(crate) keep: Option<KeepRules>,
    /// Of requests no capability claims.
    pub(crate) writes: Writes,
    pub(crate) request_body: Option<Arc<BodyRule>>,
    pub(crate) answer_body: Option<Arc<BodyRule>>,
}

impl Handling {
    /// `None` when a value is not JSON.
    pub(super) fn new(config: &routes::Policy) -> Option<Self> {
        let keep = |cache: &routes::AnswerCache| KeepRules {
            fresh: cache.fresh,
            body_max: cache.max_body,
        };
        let rule = |changes: &Option<routes::JsonChanges>| match changes {
            None => Some(None),
            Some(changes) => BodyRule::new(changes).map(|rule| Some(Arc::new(rule))),
        };
        Some(Self {
            keep: config.cache.as_ref().map(keep),
            writes: Writes::default(),
            request_body: rule(&config.request_body)?,
            answer_body: rule(&config.response_body)?,
        })
    }
}
