//! Bytes for an HTTP/1.1 server and what a strict gateway does with them, from RFC 9112, 9110 and 3986
//! and the published classes of request smuggling. The rules are what counts: a case is one example of
//! its rule.
//!
//! A request that must never reach an upstream has the path [`HIDDEN`].

mod chunks;
mod codings;
mod connections;
mod hosts;
mod lengths;
mod lines;
mod paths;
mod targets;

use super::{Answers, Recorded};

/// The path of requests that are hidden in others.
pub const HIDDEN: &str = "/smuggled";

/// The field with the number of a case.
const MARK: &str = "x-case";

/// One sequence of bytes on a new connection.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is sent, in a few words; unique.
    pub name: &'static str,
    /// Where the rule stands, or the class of attack.
    pub rule: &'static str,
    /// What is sent.
    pub bytes: Vec<u8>,
    /// What a strict gateway does.
    pub expect: Expect,
    /// Texts (lower case) that no head at the upstream may have.
    pub never: &'static [&'static str],
}

/// What a strict gateway does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Answers with one of these and closes; the upstream sees nothing.
    Refused(&'static [u16]),
    /// So many requests reach the upstream, complete, and are answered by it in order.
    Passed(usize),
    /// So many reach the upstream; the next is refused with one of these.
    Then(usize, &'static [u16]),
    /// The body breaks its own grammar: the upstream may have seen the head, but no complete request, and
    /// nobody is told that it went well.
    Broken,
    /// Refused with one of these or passed, but at most so many reach the upstream.
    Either(usize, &'static [u16]),
}

/// What was wrong with what happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(pub String);

/// Every case, by group.
#[must_use]
pub fn all() -> Vec<(&'static str, Vec<Case>)> {
    vec![
        ("length", lengths::cases()),
        ("coding", codings::cases()),
        ("chunk", chunks::cases()),
        ("line", lines::cases()),
        ("host", hosts::cases()),
        ("target", targets::cases()),
        ("path", paths::cases()),
        ("connection", connections::cases()),
    ]
}

impl Case {
    /// How many requests of the bytes may reach an upstream at most, whatever stands between.
    #[must_use]
    pub const fn requests_max(&self) -> usize {
        match self.expect {
            Expect::Refused(_) | Expect::Broken => 1,
            Expect::Passed(count) | Expect::Either(count, _) => count,
            Expect::Then(count, _) => count + 1,
        }
    }

    /// The bytes with a number in the first head, by which a request that reaches the upstream after the
    /// answer is told from one of the next case.
    #[must_use]
    pub fn marked(&self, number: usize) -> Vec<u8> {
        const HOST: &[u8] = b"Host: ficus.test\r\n";
        let Some(at) = self.bytes.windows(HOST.len()).position(|window| window == HOST) else {
            return self.bytes.clone();
        };
        let (before, after) = self.bytes.split_at(at + HOST.len());
        [before, format!("{MARK}: {number}\r\n").as_bytes(), after].concat()
    }

    /// Judges what a strict gateway answered and what reached the upstream behind it. `seen` is what
    /// belongs to this case, as [`of_case`] says.
    ///
    /// # Errors
    /// When it did something else than expected.
    pub fn judge(&self, answers: &Answers, seen: &[Recorded]) -> Result<(), Fault> {
        self.judge_reached(seen)?;
        let complete = seen.iter().filter(|request| request.is_complete).count();
        let statuses = &answers.statuses;
        let is_right = match self.expect {
            Expect::Refused(allowed) => {
                seen.is_empty() && is_refusal(statuses, allowed) && answers.is_closed
            }
            Expect::Passed(count) => complete == count && *statuses == vec![200; count],
            Expect::Then(count, allowed) => {
                let passed = statuses.get(..count).is_some_and(|first| *first == vec![200; count]);
                let rest = statuses.get(count..).unwrap_or_default();
                complete == count && seen.len() == count && passed && is_refusal(rest, allowed)
            }
            Expect::Broken => {
                complete == 0
                    && answers.is_closed
                    && (statuses.is_empty() || is_refusal(statuses, &[400, 413, 431]))
            }
            Expect::Either(count, allowed) => {
                let passed = statuses.iter().take_while(|status| **status == 200).count();
                let rest = statuses.get(passed..).unwrap_or_default();
                passed <= count && (rest.is_empty() || is_refusal(rest, allowed))
            }
        };
        if is_right {
            return Ok(());
        }
        let reached: Vec<_> = seen.iter().map(Recorded::line).collect();
        let closed = if answers.is_closed { "closed" } else { "left open" };
        Err(Fault(format!(
            "expected {:?}; answered {statuses:?} and {closed}; {complete} complete of {reached:?} reached the upstream",
            self.expect
        )))
    }

    /// Judges what reached an upstream through a server of other people in front, which was told to be
    /// lenient: it may take for two requests what a strict server refuses, and then answers both. Never
    /// may more of them reach the upstream than it knows of. Which fields it took away is its own affair.
    ///
    /// # Errors
    /// When more did, or something that is no request.
    pub fn judge_behind(&self, answers: &Answers, seen: &[Recorded]) -> Result<(), Fault> {
        not_malformed(seen)?;
        let is_known = seen.len() <= answers.statuses.len();
        if is_known { Ok(()) } else { self.judge_count(seen) }
    }

    /// Never more requests than were sent, never one that was hidden in another, never a field that is
    /// not for the upstream.
    fn judge_reached(&self, seen: &[Recorded]) -> Result<(), Fault> {
        not_malformed(seen)?;
        self.judge_count(seen)?;
        for request in seen {
            let head = String::from_utf8_lossy(&request.head).to_ascii_lowercase();
            if let Some(text) = self.never.iter().find(|text| head.contains(**text)) {
                return Err(Fault(format!("{text:?} reached the upstream")));
            }
        }
        Ok(())
    }

    fn judge_count(&self, seen: &[Recorded]) -> Result<(), Fault> {
        if let Some(hidden) = seen.iter().find(|request| request.line().contains(HIDDEN)) {
            return Err(Fault(format!("smuggled: {:?}", hidden.line())));
        }
        if seen.len() > self.requests_max() {
            let lines: Vec<_> = seen.iter().map(Recorded::line).collect();
            return Err(Fault(format!("{} requests reached the upstream: {lines:?}", seen.len())));
        }
        Ok(())
    }
}

fn not_malformed(seen: &[Recorded]) -> Result<(), Fault> {
    match seen.iter().find(|request| request.is_malformed) {
        Some(garbage) => Err(Fault(format!("malformed at the upstream: {:?}", garbage.line()))),
        None => Ok(()),
    }
}

/// Leaves out what began in an earlier case and was broken off there: a gateway may have answered
/// before the upstream noticed the begin.
#[must_use]
pub fn of_case(number: usize, seen: Vec<Recorded>) -> Vec<Recorded> {
    let number = number.to_string();
    let is_late = |request: &Recorded| {
        !request.is_complete && request.field(MARK).is_some_and(|mark| mark != number)
    };
    seen.into_iter().filter(|request| !is_late(request)).collect()
}

fn is_refusal(statuses: &[u16], allowed: &[u16]) -> bool {
    matches!(statuses, [status] if allowed.contains(status))
}

const BAD: &[u16] = &[400];

/// A request that is complete in itself and must not be seen.
const HIDDEN_REQUEST: &str = "GET /smuggled HTTP/1.1\r\nHost: ficus.test\r\n\r\n";

fn case(name: &'static str, rule: &'static str, expect: Expect, bytes: impl AsRef<[u8]>) -> Case {
    Case { name, rule, bytes: bytes.as_ref().to_vec(), expect, never: &[] }
}

fn refused(name: &'static str, rule: &'static str, bytes: impl AsRef<[u8]>) -> Case {
    case(name, rule, Expect::Refused(BAD), bytes)
}

/// A POST with these field lines and this body, which asks for the end of the connection.
fn post(fields: &str, body: &str) -> String {
    format!("POST /case HTTP/1.1\r\nHost: ficus.test\r\nConnection: close\r\n{fields}\r\n{body}")
}

/// A GET with these field lines besides Host, which asks for the end of the connection.
fn get(fields: &str) -> String {
    format!("GET /case HTTP/1.1\r\nHost: ficus.test\r\nConnection: close\r\n{fields}\r\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn recorded(head: &str) -> Recorded {
        Recorded {
            head: head.as_bytes().to_vec(),
            body_bytes: 0,
            is_complete: true,
            is_malformed: false,
        }
    }

    fn answers(statuses: &[u16], is_closed: bool) -> Answers {
        Answers { statuses: statuses.to_vec(), is_closed, bytes: Vec::new() }
    }

    #[test]
    fn every_case_has_a_name_of_its_own() {
        let cases: Vec<Case> = all().into_iter().flat_map(|(_, cases)| cases).collect();
        let names: BTreeSet<_> = cases.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), cases.len());
        assert!(cases.len() >= 100, "{}", cases.len());
    }

    #[test]
    fn a_hidden_request_at_the_upstream_is_a_fault_whatever_is_expected() {
        let case = case("x", "y", Expect::Passed(1), get(""));
        let seen = [recorded("GET /smuggled HTTP/1.1\r\n\r\n")];
        assert!(case.judge(&answers(&[200], true), &seen).is_err());
        assert!(
            case.judge(&answers(&[200], true), &[recorded("GET /case HTTP/1.1\r\n\r\n")]).is_ok()
        );
    }

    #[test]
    fn behind_a_lenient_server_a_request_is_smuggled_when_that_server_does_not_know_of_it() {
        let case = refused("x", "y", get(""));
        let seen =
            [recorded("GET /case HTTP/1.1\r\n\r\n"), recorded("GET /smuggled HTTP/1.1\r\n\r\n")];
        assert!(case.judge_behind(&answers(&[200, 200], true), &seen).is_ok());
        assert!(case.judge_behind(&answers(&[200], true), &seen).is_err());
        assert!(case.judge_behind(&answers(&[], true), &seen).is_err());
        let garbage = [Recorded { is_malformed: true, ..recorded("GET") }];
        assert!(case.judge_behind(&answers(&[200], true), &garbage).is_err());
    }

    #[test]
    fn a_refusal_that_reached_the_upstream_or_stays_open_is_a_fault() {
        let case = refused("x", "y", get(""));
        assert!(case.judge(&answers(&[400], true), &[]).is_ok());
        assert!(case.judge(&answers(&[400], false), &[]).is_err());
        assert!(case.judge(&answers(&[200], true), &[]).is_err());
        assert!(case.judge(&answers(&[400, 400], true), &[]).is_err());
        assert!(case.judge(&answers(&[400], true), &[recorded("GET / HTTP/1.1\r\n\r\n")]).is_err());
    }

    #[test]
    fn a_broken_body_that_is_answered_well_or_ends_at_the_upstream_is_a_fault() {
        let case = case("x", "y", Expect::Broken, get(""));
        let begun = Recorded { is_complete: false, ..recorded("POST /case HTTP/1.1\r\n\r\n") };
        assert!(case.judge(&answers(&[], true), std::slice::from_ref(&begun)).is_ok());
        assert!(case.judge(&answers(&[400], true), std::slice::from_ref(&begun)).is_ok());
        assert!(case.judge(&answers(&[200], true), &[begun]).is_err());
        assert!(
            case.judge(&answers(&[400], true), &[recorded("POST / HTTP/1.1\r\n\r\n")]).is_err()
        );
    }
}
