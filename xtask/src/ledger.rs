//! What clients were told was done, and whether both databases agree.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use testkit::tokio_postgres::Client;
use tokio::time::Instant;

/// How sure the client is that a write was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Answered with success.
    Acknowledged,
    /// Answered with an error: must be nowhere, unless the error left it open (502, 504, no answer).
    Refused,
    /// No answer, or one that leaves it open.
    Unknown,
}

/// What a write put into the database.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Written {
    /// A ticket with this title.
    Ticket(String),
    /// An article with this subject.
    Article(String),
}

/// One write as its client saw it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub written: Written,
    pub outcome: Outcome,
    pub sent: Instant,
    pub answered: Instant,
}

/// All writes of a run.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: Mutex<Vec<Entry>>,
    titles: Mutex<HashMap<u64, Title>>,
    changes: Mutex<Vec<(Instant, Instant)>>,
}

/// The title a ticket must have; `open` when a later change was left without an answer.
#[derive(Clone, Debug)]
struct Title {
    text: String,
    open: bool,
}

/// What comparing the ledger with both databases found.
#[derive(Clone, Debug, Default, Serialize, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Acknowledged writes.
    pub acked: u64,
    /// Acknowledged writes missing on a side, and titles that went back.
    pub lost: u64,
    /// Writes that exist more than once on a side.
    pub duplicated: u64,
    /// Writes refused for sure that exist all the same.
    pub unexpected: u64,
    /// Unanswered writes that exist on one side only.
    pub torn: u64,
    /// The first few, in words.
    pub examples: Vec<String>,
}

/// Examples kept.
const EXAMPLES_MAX: usize = 10;

impl Ledger {
    /// Notes a write that inserts.
    pub(crate) fn record(&self, entry: Entry) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }

    /// Notes a change of a ticket's title.
    pub(crate) fn retitle(&self, ticket: u64, title: String, outcome: Outcome, sent: Instant) {
        let mut titles = self.titles.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Outcome::Acknowledged => {
                titles.insert(ticket, Title { text: title, open: false });
                self.changes
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push((sent, Instant::now()));
            }
            Outcome::Unknown => {
                titles.insert(ticket, Title { text: title, open: true });
            }
            Outcome::Refused => {}
        }
    }

    /// Acknowledged writes so far.
    pub(crate) fn acked(&self) -> u64 {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let inserts = entries.iter().filter(|e| e.outcome == Outcome::Acknowledged).count();
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner).len();
        u64::try_from(inserts + changes).unwrap_or(u64::MAX)
    }

    /// How long each acknowledged write took that was under way at some time between `from` and `to`, in ms.
    pub(crate) fn waits_between(&self, from: Instant, to: Instant) -> Vec<u64> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let inserts = entries
            .iter()
            .filter(|entry| entry.outcome == Outcome::Acknowledged)
            .map(|entry| (entry.sent, entry.answered));
        inserts
            .chain(changes.iter().copied())
            .filter(|(sent, answered)| *sent < to && *answered > from)
            .map(|(sent, answered)| {
                u64::try_from((answered - sent).as_millis()).unwrap_or(u64::MAX)
            })
            .collect()
    }

    /// Compares with the monolith's and the service's database. Both must be at rest.
    ///
    /// # Errors
    /// When a database can not be asked.
    pub(crate) async fn check(
        &self,
        monolith: &Client,
        service: &Client,
    ) -> anyhow::Result<Findings> {
        let source = counts(monolith, "SELECT title, count(*) FROM ticket WHERE title LIKE 'ledger %' GROUP BY 1", "SELECT a_subject, count(*) FROM article_data_mime WHERE a_subject LIKE 'ledger %' GROUP BY 1").await?;
        let target = counts(
            service,
            "SELECT title, count(*) FROM tickets WHERE title LIKE 'ledger %' GROUP BY 1",
            "SELECT subject, count(*) FROM article_bodies WHERE subject LIKE 'ledger %' GROUP BY 1",
        )
        .await?;
        let mut findings = Findings { acked: self.acked(), ..Findings::default() };
        self.check_inserts(&source, &target, &mut findings);
        let source =
            titles(monolith, "SELECT id, title FROM ticket WHERE title LIKE 'retitled %'").await?;
        let target =
            titles(service, "SELECT id, title FROM tickets WHERE title LIKE 'retitled %'").await?;
        self.check_titles(&source, &target, &mut findings);
        Ok(findings)
    }

    fn check_inserts(&self, source: &Counted, target: &Counted, findings: &mut Findings) {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let retitled = self.titles.lock().unwrap_or_else(PoisonError::into_inner);
        let renamed: std::collections::HashSet<&str> =
            retitled.values().filter_map(|title| title.text.split(" of ").nth(1)).collect();
        for entry in entries.iter() {
            let (Written::Ticket(marker) | Written::Article(marker)) = &entry.written;
            if matches!(entry.written, Written::Ticket(_)) && renamed.contains(marker.as_str()) {
                continue; // its title was changed since; the title check covers it
            }
            let on = |side: &Counted| side.get(&entry.written).copied().unwrap_or(0);
            findings.judge(marker, entry.outcome, on(source), on(target));
        }
    }

    fn check_titles(
        &self,
        source: &HashMap<u64, String>,
        target: &HashMap<u64, String>,
        findings: &mut Findings,
    ) {
        let titles = self.titles.lock().unwrap_or_else(PoisonError::into_inner);
        for (ticket, expected) in titles.iter() {
            for (side, found) in [("monolith", source.get(ticket)), ("service", target.get(ticket))]
            {
                if !expected.open && found != Some(&expected.text) {
                    findings.lost += 1;
                    findings.example(format!(
                        "ticket {ticket} on the {side}: {found:?}, expected {:?}",
                        expected.text
                    ));
                }
            }
        }
    }
}

impl Findings {
    fn judge(&mut self, marker: &str, outcome: Outcome, source: i64, target: i64) {
        if source > 1 || target > 1 {
            self.duplicated += 1;
            self.example(format!("{marker:?} exists {source} and {target} times"));
        }
        let missing = source == 0 || target == 0;
        match outcome {
            Outcome::Acknowledged if missing => {
                self.lost += 1;
                self.example(format!(
                    "{marker:?} was acknowledged, exists {source} and {target} times"
                ));
            }
            Outcome::Refused if source + target > 0 => {
                self.unexpected += 1;
                self.example(format!("{marker:?} was refused, exists {source} and {target} times"));
            }
            Outcome::Unknown if (source == 0) != (target == 0) => {
                self.torn += 1;
                self.example(format!("{marker:?} exists {source} and {target} times"));
            }
            Outcome::Acknowledged | Outcome::Refused | Outcome::Unknown => {}
        }
    }

    fn example(&mut self, text: String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(text);
        }
    }
}

type Counted = HashMap<Written, i64>;

async fn counts(client: &Client, tickets: &str, articles: &str) -> anyhow::Result<Counted> {
    let mut counted = HashMap::new();
    for row in client.query(tickets, &[]).await? {
        counted.insert(Written::Ticket(row.try_get(0)?), row.try_get(1)?);
    }
    for row in client.query(articles, &[]).await? {
        counted.insert(Written::Article(row.try_get(0)?), row.try_get(1)?);
    }
    Ok(counted)
}

async fn titles(client: &Client, sql: &str) -> anyhow::Result<HashMap<u64, String>> {
    let rows = client.query(sql, &[]).await?;
    rows.iter()
        .map(|row| {
            let id: i64 = row.try_get(0)?;
            Ok((u64::try_from(id)?, row.try_get(1)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Findings, Outcome};

    #[test]
    fn an_acknowledged_write_missing_on_one_side_is_lost() {
        let mut findings = Findings::default();
        findings.judge("m", Outcome::Acknowledged, 1, 0);
        assert_eq!((findings.lost, findings.duplicated), (1, 0));
    }

    #[test]
    fn a_write_found_twice_is_duplicated_whatever_the_client_was_told() {
        for outcome in [Outcome::Acknowledged, Outcome::Unknown] {
            let mut findings = Findings::default();
            findings.judge("m", outcome, 2, 1);
            assert_eq!((findings.lost, findings.duplicated), (0, 1));
        }
    }

    #[test]
    fn an_unanswered_write_may_exist_on_both_sides_or_on_none() {
        for (source, target, torn) in [(0, 0, 0), (1, 1, 0), (1, 0, 1), (0, 1, 1)] {
            let mut findings = Findings::default();
            findings.judge("m", Outcome::Unknown, source, target);
            assert_eq!(findings.torn, torn);
        }
    }

    #[test]
    fn a_refused_write_that_exists_is_reported() {
        let mut findings = Findings::default();
        findings.judge("m", Outcome::Refused, 1, 1);
        assert_eq!(findings.unexpected, 1);
    }
}
