//! Everything that must be right before writes are touched. Looks, changes nothing, and answers with
//! all findings at once. What can not be read counts as not right.

mod databases;

use std::sync::Arc;

use cutover::{Direction, Epoch, GuardState, Ownership};
use rpc::v1::{StatusReply, StreamStatus, Verification};

use crate::{api::Finding, core::Core, replicator::stream_of};

/// What was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    /// In the order looked at.
    pub(crate) list: Vec<Finding>,
    epoch: Option<Epoch>,
}

impl Findings {
    fn add(&mut self, check: &str, evidence: impl Into<String>, remedy: Option<String>) {
        self.list.push(Finding {
            check: check.to_owned(),
            ok: remedy.is_none(),
            evidence: evidence.into(),
            remedy: remedy.unwrap_or_default(),
        });
    }

    pub(crate) fn passed(&mut self, check: &str, evidence: impl Into<String>) {
        self.add(check, evidence, None);
    }

    pub(crate) fn refused(
        &mut self,
        check: &str,
        evidence: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(check, evidence, Some(remedy.into()));
    }

    /// The owner's epoch when everything is right.
    pub(crate) fn verdict(&self) -> Result<Epoch, Vec<String>> {
        let wrong: Vec<String> = self
            .list
            .iter()
            .filter(|finding| !finding.ok)
            .map(|finding| format!("{}: {}", finding.check, finding.evidence))
            .collect();
        match self.epoch {
            Some(epoch) if wrong.is_empty() => Ok(epoch),
            Some(_) | None => Err(wrong),
        }
    }
}

/// Looks at everything a transfer of this capability in this direction needs.
pub(crate) async fn run(core: &Arc<Core>, capability: &str, direction: Direction) -> Findings {
    let mut findings = Findings::default();
    guards(core, capability, direction, &mut findings).await;
    let (answer, ()) = tokio::join!(
        core.replicator.ask(),
        databases::look(core, capability, direction, &mut findings)
    );
    match answer {
        Ok(reply) => {
            stream(core, capability, direction, &reply, &mut findings);
            verification(capability, &reply, &mut findings);
        }
        Err(error) => findings.refused(
            "replicator",
            error,
            "start it: ficus cdc; without it nothing can be drained",
        ),
    }
    proxies(core, &mut findings);
    findings
}

async fn guards(core: &Arc<Core>, name: &str, direction: Direction, findings: &mut Findings) {
    let Some(sides) = core.sides(name) else {
        findings.refused(
            "guards",
            "an upstream of the capability has no database",
            "give both upstreams a database in routes.toml",
        );
        return;
    };
    let pair = match sides.pair().await {
        Ok(pair) => pair,
        Err(error) => {
            findings.refused("guards", error.to_string(), "make both databases reachable");
            return;
        }
    };
    let (old, new) = (direction.old_owner(), direction.new_owner());
    match pair.ownership() {
        Ownership::Owned { by, epoch } if by == old => {
            let row = pair.side(new);
            if row.state == GuardState::Moved && row.prepared == Epoch::NONE {
                findings.epoch = Some(epoch);
                findings.passed("guards", format!("the {old} owns the writes at epoch {epoch}"));
            } else {
                findings.refused(
                    "guards",
                    format!("the {new} is still prepared for epoch {}", row.prepared),
                    "wait a second: what an aborted transfer left is being undone",
                );
            }
        }
        Ownership::Owned { by, epoch } => findings.refused(
            "guards",
            format!("the {by} already owns the writes at epoch {epoch}"),
            match direction {
                Direction::Forward => "nothing to do; the way back is: ficus rollback",
                Direction::Back => "nothing to do; the way there is: ficus cutover",
            },
        ),
        Ownership::InTransition { epoch } => findings.refused(
            "guards",
            format!("a transfer at epoch {epoch} is not finished"),
            "wait: it ends by itself within seconds",
        ),
        Ownership::Split => findings.refused(
            "guards",
            "both sides are open",
            "stop all writers and compare both guard rows and the journal before anything else",
        ),
    }
}

fn stream(
    core: &Core,
    capability: &str,
    direction: Direction,
    reply: &StatusReply,
    findings: &mut Findings,
) {
    let kind = direction.draining_stream();
    let Some(stream) = stream_of(reply, capability, kind) else {
        findings.refused(
            "stream",
            format!("there is no {} stream", kind.as_str()),
            format!("run: ficus start {capability}"),
        );
        return;
    };
    if stream.state == "streaming" {
        findings.passed("stream", format!("the {} stream is streaming", kind.as_str()));
    } else {
        findings.refused(
            "stream",
            format!("the {} stream is {}: {}", kind.as_str(), stream.state, stream.reason),
            "wait until it streams; a paused one is resumed by: ficus resume",
        );
    }
    lag(core, capability, stream, findings);
    wal_budget(stream, findings);
    tables(capability, stream, findings);
    contamination(capability, reply, findings);
}

/// A transfer needs log to be kept for as long as it takes, and afterwards for the way back.
fn wal_budget(stream: &StreamStatus, findings: &mut Findings) {
    let wal = stream.wal.as_ref();
    let used = wal.and_then(|wal| wal.used_ratio).map_or(0.0, |used| used * 100.0);
    match wal.map_or("", |wal| wal.level.as_str()) {
        level @ ("ok" | "warning") => {
            findings.passed("wal_budget", format!("{used:.0} % is used ({level})"));
        }
        "" => findings.refused(
            "wal_budget",
            "the replicator does not know what is kept for the stream",
            "make the database that is read reachable for the replicator",
        ),
        level => findings.refused(
            "wal_budget",
            format!("{used:.0} % is used ({level}): the stream may be given up at any moment"),
            "find what holds the slot back (ficus status), or raise cdc.wal_budget",
        ),
    }
}

fn lag(core: &Core, capability: &str, stream: &StreamStatus, findings: &mut Findings) {
    let limit = core.capability(capability).map(|capability| capability.abort.max_lag);
    let limit_ms = limit.map_or(0, |limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
    match stream.lag_ms {
        Some(lag) if lag <= limit_ms => {
            findings.passed("stream_lag", format!("{lag} ms, at most {limit_ms} ms"));
        }
        Some(lag) => findings.refused(
            "stream_lag",
            format!("{lag} ms, more than {limit_ms} ms (abort.max_lag)"),
            "wait until the stream has caught up, or find out what slows it: ficus status",
        ),
        None => findings.refused(
            "stream_lag",
            "unknown",
            "unknown is never taken for zero; look at the replicator's log",
        ),
    }
}

fn tables(capability: &str, stream: &StreamStatus, findings: &mut Findings) {
    let not_ready: Vec<String> = stream
        .tables
        .iter()
        .filter(|table| table.state != "ready")
        .map(|table| format!("{} is {} {}", table.source, table.state, table.reason))
        .collect();
    if not_ready.is_empty() {
        findings.passed("tables", format!("{} tables ready", stream.tables.len()));
    } else {
        findings.refused(
            "tables",
            not_ready.join("; "),
            format!("wait for copies and replays; what to do about a table that waits says: ficus table list {capability}"),
        );
    }
}

/// Writes where none should be, in any stream of the capability. A row that did not fit keeps its table
/// from being ready, and what was left out differs.
fn contamination(capability: &str, reply: &StatusReply, findings: &mut Findings) {
    let streams = || reply.streams.iter().filter(|stream| stream.capability == capability);
    let breaches: u64 = streams().map(|stream| stream.breaches).sum();
    if breaches == 0 {
        findings.passed("foreign_writes", "none");
    } else {
        findings.refused(
            "foreign_writes",
            format!("{breaches} writes on the side that does not own them"),
            format!("find the writer, then repair and compare again: ficus verify {capability}"),
        );
    }
}

fn verification(capability: &str, reply: &StatusReply, findings: &mut Findings) {
    let remedy = format!("run: ficus verify {capability}");
    let repair = format!("run: ficus verify {capability} --repair");
    let is_ours = |each: &&Verification| each.capability == capability && each.finished_unix_ms > 0;
    let Some(last) = reply.verifications.iter().find(is_ours) else {
        let evidence = "this replicator has compared nothing yet";
        findings.refused("verification", evidence, remedy);
        return;
    };
    if last.differences > 0 {
        findings.refused("verification", format!("{} rows differ", last.differences), repair);
    } else if last.dirty_overflow {
        findings.refused(
            "verification",
            "not every row was compared since the replicator started or a table was copied",
            remedy,
        );
    } else {
        findings.passed(
            "verification",
            format!(
                "{} rows equal, {} keys and {} ranges of keys touched since",
                last.rows, last.dirty_keys, last.dirty_ranges
            ),
        );
    }
}

fn proxies(core: &Core, findings: &mut Findings) {
    let mut statuses = core.proxies.statuses(&core.config.digest);
    // whether one that is cut off still runs is not known here; the fence in the database holds for it
    statuses.retain(|proxy| !proxy.cut_off);
    let generation = core.board.generation();
    let mut wrong = Vec::new();
    for proxy in &statuses {
        if !proxy.connected {
            wrong.push(format!("{} has been silent for {} ms", proxy.id, proxy.silent_ms));
        } else if proxy.generation != generation {
            wrong.push(format!(
                "{} is at generation {}, not {generation}",
                proxy.id, proxy.generation
            ));
        } else if proxy.other_config {
            wrong.push(format!("{} reads another routes.toml", proxy.id));
        }
    }
    if statuses.is_empty() {
        findings.refused("proxies", "none is connected", "start one: ficus proxy");
    } else if wrong.is_empty() {
        let evidence = format!("{} connected at generation {generation}", statuses.len());
        findings.passed("proxies", evidence);
    } else {
        findings.refused(
            "proxies",
            wrong.join("; "),
            "make them reach control and read the same routes.toml, or shut them down",
        );
    }
}

#[cfg(test)]
mod tests {
    use cutover::Epoch;

    use super::Findings;

    #[test]
    fn one_refused_check_refuses_and_so_does_an_unknown_owner() {
        let mut findings = Findings { epoch: Some(Epoch(3)), ..Findings::default() };
        findings.passed("stream", "streaming");
        assert_eq!(findings.verdict(), Ok(Epoch(3)));
        findings.refused("stream_lag", "unknown", "look");
        assert_eq!(findings.verdict(), Err(vec!["stream_lag: unknown".to_owned()]));
        assert!(Findings::default().verdict().is_err());
    }
}
