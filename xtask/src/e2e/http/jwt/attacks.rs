//! One request for each way tokens have been forged, mangled and misread, and the honest ones that are like
//! them and must pass. The rules are what counts: a case is one example of its rule.

mod carriers;
mod claims;
mod signatures;
mod spelling;

use super::forge::Forge;

/// One request on a new connection.
#[derive(Clone, Debug)]
pub(super) struct Attack {
    /// What is sent, in a few words; unique.
    pub(super) name: String,
    /// Where the rule stands, or the class of attack.
    pub(super) rule: &'static str,
    /// Everything but the field `Host`.
    pub(super) target: String,
    pub(super) fields: Vec<String>,
    pub(super) expect: Expect,
}

/// What a strict gateway does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// The upstream gets it, and is told who asks.
    Passes,
    /// 401 with a challenge; the upstream gets nothing.
    Unauthenticated,
    /// 403; the upstream gets nothing.
    Forbidden,
    /// Refused before it is read as a token, with one of these.
    Refused(&'static [u16]),
}

/// What every case is made with.
#[derive(Clone, Copy)]
pub(super) struct Made<'a> {
    pub(super) forge: &'a Forge,
    /// An address that nobody may ask.
    pub(super) trap: &'a str,
}

impl Attack {
    /// A request with a bearer token that must be refused.
    fn token(name: impl Into<String>, rule: &'static str, token: &str) -> Self {
        Self {
            name: name.into(),
            rule,
            target: "/case".to_owned(),
            fields: vec![format!("Authorization: Bearer {token}")],
            expect: Expect::Unauthenticated,
        }
    }

    const fn expecting(mut self, expect: Expect) -> Self {
        self.expect = expect;
        self
    }

    fn at(mut self, target: &str) -> Self {
        target.clone_into(&mut self.target);
        self
    }

    fn with(mut self, fields: Vec<String>) -> Self {
        self.fields = fields;
        self
    }
}

/// All of them.
pub(super) fn all(made: Made<'_>) -> Vec<Attack> {
    [
        signatures::all(made),
        spelling::all(made.forge),
        claims::all(made.forge),
        carriers::all(made.forge),
    ]
    .concat()
}
