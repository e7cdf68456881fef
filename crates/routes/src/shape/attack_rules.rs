//! `attack_rules` of a policy.

use super::{
    Key, Kind, Shape,
    key::{WAIT, default, optional, required},
};

/// `attack_rules = { … }` of a policy.
pub(crate) const fn of_policy() -> Key {
    optional(
        "attack_rules",
        Kind::Table(&ATTACK_RULES),
        "Ask a rule set in the language of ModSecurity, such as the OWASP core rule set 4, about every request; \
         costs one to three milliseconds of CPU each. No rule set is asked without.",
    )
    .live("{ file = \"/etc/ficus/crs/main.conf\" }")
}

static ATTACK_RULES: Shape = Shape {
    doc: "A rule set against attacks.",
    keys: &[
        required(
            "file",
            Kind::Text,
            "The rules, or a file that includes them, with `SecRuleEngine On`. Read again when asked to (SIGHUP), \
             when it or a file beside or below it has changed.",
        )
        .live("\"/etc/ficus/crs/main.conf\""),
        default(
            "mode",
            Kind::Choice(&["detect", "block"]),
            "\"detect\"",
            "`detect` counts and logs what the rules would deny, and nothing waits for them; `block` answers it \
             403, and a body waits until they have seen it whole. Begin with `detect`.",
        )
        .live("\"block\""),
        default(
            "body_max",
            Kind::Size,
            "\"128KiB\"",
            "Longest body the rules are asked about. Where they block, a longer one is answered 413.",
        )
        .live("\"256KiB\""),
        default(
            "budget",
            WAIT,
            "\"100ms\"",
            "Longest time a request waits for rules that block, and for its turn to be examined.",
        )
        .live("\"50ms\""),
        default(
            "over_budget",
            Kind::Choice(&["refuse", "pass"]),
            "\"refuse\"",
            "What becomes of a request that rules that block say nothing about in time: it is answered 503, or \
             passes and is counted.",
        )
        .live("\"pass\""),
    ],
};
