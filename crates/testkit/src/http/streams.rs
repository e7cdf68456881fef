//! HTTP/2 connections for a server, and what a strict gateway does with them, from RFC 9113 and the
//! published floods.

mod fields;
mod floods;
mod framing;

use super::{
    Recorded,
    cases::{Fault, HIDDEN},
    frames::{Outcome, converse, converse_raw},
};

/// One sequence of frames on a new connection.
#[derive(Clone, Debug)]
pub struct StreamCase {
    /// What is sent, in a few words; unique.
    pub name: &'static str,
    /// Where the rule stands, or the class of attack.
    pub rule: &'static str,
    /// What is sent after the preface and SETTINGS; with `is_raw` without them.
    pub bytes: Vec<u8>,
    /// The bytes begin with a preface of their own.
    pub is_raw: bool,
    /// What a strict gateway does.
    pub expect: StreamExpect,
}

/// What a strict gateway does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamExpect {
    /// So many requests are answered with 200.
    Passed(usize),
    /// No request completes at the upstream; the stream is answered with 4xx or 5xx, or reset, or the
    /// connection ends.
    Refused,
    /// The connection ends with an error.
    Ended,
    /// The connection ends, or everything is answered; at most so many requests reach the upstream.
    Bounded(usize),
}

/// Every case, by group.
#[must_use]
pub fn all() -> Vec<(&'static str, Vec<StreamCase>)> {
    vec![
        ("h2 fields", fields::cases()),
        ("h2 frames", framing::cases()),
        ("h2 floods", floods::cases()),
    ]
}

impl StreamCase {
    /// Sends the case.
    ///
    /// # Errors
    /// When no connection can be opened.
    pub async fn send(&self, address: std::net::SocketAddr) -> std::io::Result<Outcome> {
        let streams = match self.expect {
            StreamExpect::Passed(count) => count,
            StreamExpect::Refused => 1,
            // one that never comes: until the connection ends
            StreamExpect::Ended => usize::MAX,
            StreamExpect::Bounded(_) => 0,
        };
        match self.is_raw {
            true => converse_raw(address, &self.bytes, streams).await,
            false => converse(address, &self.bytes, streams).await,
        }
    }

    /// Judges what a strict gateway did, and what reached the upstream behind it.
    ///
    /// # Errors
    /// When it did something else than expected.
    pub fn judge(&self, outcome: &Outcome, seen: &[Recorded]) -> Result<(), Fault> {
        if let Some(bad) =
            seen.iter().find(|request| request.is_malformed || request.line().contains(HIDDEN))
        {
            return Err(Fault(format!("reached the upstream: {:?}", bad.line())));
        }
        let complete = seen.iter().filter(|request| request.is_complete).count();
        let good = outcome.statuses.values().filter(|status| (200..400).contains(*status)).count();
        let has_ended = outcome.goaway.is_some_and(|code| code != 0) || outcome.is_closed;
        let is_refused = has_ended
            || !outcome.resets.is_empty()
            || outcome.statuses.values().any(|status| *status >= 400);
        let is_right = match self.expect {
            StreamExpect::Passed(count) => good == count && complete == count,
            StreamExpect::Refused => complete == 0 && good == 0 && is_refused,
            StreamExpect::Ended => complete == 0 && has_ended,
            StreamExpect::Bounded(count) => seen.len() <= count,
        };
        if is_right {
            return Ok(());
        }
        Err(Fault(format!(
            "expected {:?}; {outcome:?}; {complete} complete of {} reached the upstream",
            self.expect,
            seen.len()
        )))
    }
}

fn case(
    name: &'static str,
    rule: &'static str,
    expect: StreamExpect,
    bytes: impl Into<Vec<u8>>,
) -> StreamCase {
    StreamCase { name, rule, bytes: bytes.into(), is_raw: false, expect }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_case_has_a_name_of_its_own() {
        let cases: Vec<_> = all().into_iter().flat_map(|(_, cases)| cases).collect();
        let names: BTreeSet<_> = cases.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), cases.len());
    }

    #[test]
    fn an_answer_to_what_must_be_refused_is_a_fault() {
        let case = case("x", "y", StreamExpect::Refused, Vec::new());
        let good = Outcome { statuses: [(1, 200)].into(), ..Outcome::default() };
        let refused = Outcome { statuses: [(1, 400)].into(), ..Outcome::default() };
        let reset = Outcome { resets: [(1, 1)].into(), ..Outcome::default() };
        assert!(case.judge(&good, &[]).is_err());
        assert!(case.judge(&Outcome::default(), &[]).is_err());
        assert!(case.judge(&refused, &[]).is_ok());
        assert!(case.judge(&reset, &[]).is_ok());
    }
}
