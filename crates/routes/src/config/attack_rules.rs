//! A rule set against attacks, in the language of ModSecurity, that a policy asks.

use std::{path::PathBuf, time::Duration};

use serde::Serialize;

use super::view;

/// `attack_rules = { … }` of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AttackRules {
    /// The rules, or a file that includes them.
    pub file: PathBuf,
    /// What is done with requests that the rules would deny. Default `detect`.
    pub mode: RuleMode,
    /// Longest body the rules are asked about, in bytes. Default 128 KiB.
    pub body_max: usize,
    /// Longest time a request waits for the rules. Default 100 ms.
    #[serde(serialize_with = "view::duration")]
    pub budget: Duration,
    /// What is done with requests the rules say nothing about in time. Default `refuse`.
    pub over_budget: OverBudget,
}

/// What is done with requests that a rule set would deny.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleMode {
    /// They pass and are counted; nothing waits.
    Detect,
    /// They are answered 403.
    Block,
}

/// What is done with requests a rule set that blocks says nothing about in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OverBudget {
    /// They are answered 503.
    Refuse,
    /// They pass and are counted.
    Pass,
}

impl RuleMode {
    /// The mode of this name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        match name {
            "detect" => Some(Self::Detect),
            "block" => Some(Self::Block),
            _ => None,
        }
    }
}

impl OverBudget {
    /// The choice of this name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        match name {
            "refuse" => Some(Self::Refuse),
            "pass" => Some(Self::Pass),
            _ => None,
        }
    }
}
