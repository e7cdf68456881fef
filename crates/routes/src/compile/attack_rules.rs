//! Reads the rule set a policy asks.

use crate::{AttackRules, OverBudget, RuleMode, field::Field, reader::Section, scalar};

/// `attack_rules = { … }`
pub(super) fn table(section: &Section<'_>) -> Option<AttackRules> {
    let file = section.read("file", Field::text);
    let mode = section.read("mode", |field| field.parsed(RuleMode::from_name));
    let body_max = section.read("body_max", |field| field.parsed(scalar::size));
    let budget = section.read("budget", Field::duration);
    let over_budget = section.read("over_budget", |field| field.parsed(OverBudget::from_name));
    Some(AttackRules {
        file: file?.into(),
        mode: mode?,
        body_max: body_max?,
        budget: budget?,
        over_budget: over_budget?,
    })
}
