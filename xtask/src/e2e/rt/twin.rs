//! Request Tracker before a second Request Tracker on the same database: the proxy sends each read to
//! both and compares. Whatever is found different is a mistake of the comparison, because the two are the
//! same program with the same rows. First the noise is learned, then nothing may be left.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Serialize;
use testkit::wait_until;

use super::browse::Browser;
use super::page::Session;
use super::screen::Screen;
use super::tracker::Tracker;
use crate::e2e::replicator::Replicator;
use crate::operator::talk;

/// The second one has the port of the first, which is a part of its cookie's name, on another address.
pub(super) const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Reads that are sent to both. Signing out is a read by its method only, and not among them.
pub(super) const SHADOWED: [&str; 6] = [
    "GET /",
    "GET /Ticket/{*rest}",
    "GET /Search/{*rest}",
    "GET /Helpers/{*rest}",
    "GET /NoAuth/{*rest}",
    "GET /static/{*rest}",
];

/// Things the program without a screen does, in each of the two parts.
const ACTS: usize = 20;

/// Longest until the last comparison is over: pages are asked for again several times.
const COMPARED_WITHIN: Duration = Duration::from_secs(300);

/// What is needed to use both.
#[derive(Debug)]
pub(super) struct Twin<'a> {
    /// `http://` address of the proxy.
    pub(super) url: &'a str,
    pub(super) chromium: &'a Path,
    /// For the browser's profile and downloads.
    pub(super) dir: PathBuf,
    /// Where a picture of a ticket goes.
    pub(super) picture: Option<&'a Path>,
    pub(super) replicator: &'a Replicator,
}

/// What came out.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Shadowed {
    /// Steps done in Chromium, none of which failed.
    chromium_steps: u64,
    /// Answers it got on the way.
    chromium_answers: u64,
    /// Reads by how their comparison ended, while noise was learned.
    learning: BTreeMap<String, u64>,
    /// Reads by how their comparison ended, afterwards.
    learned: BTreeMap<String, u64>,
}

impl Shadowed {
    /// False mismatches after the noise was learned.
    pub(super) fn mismatches(&self) -> u64 {
        count(&self.learned, "mismatch")
    }

    /// Comparisons that came to an end after the noise was learned.
    pub(super) fn compared(&self) -> u64 {
        ["equal", "caught_up", "noise"].iter().map(|name| count(&self.learned, name)).sum()
    }
}

impl Twin<'_> {
    /// Shadows, uses both twice, and stops to shadow.
    pub(super) async fn compare(
        &self,
        tracker: &mut Tracker,
        port: u16,
    ) -> anyhow::Result<Shadowed> {
        tracker.serve((ADDRESS, port).into()).await.context("start the second web server")?;
        self.replicator.shift("shadowing").await?;
        let mut screen = Screen::start(self.chromium, self.url, &self.dir).await?;
        let mut session = Browser::new(Session::new(self.url.into(), Arc::default(), 77)?);
        session.log_in().await?;
        talk("using both while noise is learned");
        let learning = self.part(&mut screen, &mut session, "screen1").await?;
        talk(&format!("so far {learning:?}; using both again"));
        let total = self.part(&mut screen, &mut session, "screen2").await?;
        let learned = total
            .iter()
            .map(|(outcome, after)| (outcome.clone(), after - count(&learning, outcome)));
        let shadowed = Shadowed {
            chromium_steps: screen.steps,
            chromium_answers: screen.answers(),
            learned: learned.filter(|(_, number)| *number > 0).collect(),
            learning,
        };
        screen.stop().await?;
        talk(&format!("afterwards {:?}", shadowed.learned));
        for group in self.replicator.mismatches().await? {
            talk(&format!("  {group}"));
        }
        self.replicator.shift("replicating").await?;
        Ok(shadowed)
    }

    /// One visit and what a program does; answers the outcomes of all comparisons so far.
    async fn part(
        &self,
        screen: &mut Screen,
        session: &mut Browser,
        marker: &str,
    ) -> anyhow::Result<BTreeMap<String, u64>> {
        let picture = self.picture.filter(|_| screen.steps == 0);
        screen.visit(marker, picture).await?;
        for _ in 0..ACTS {
            session.act().await?;
        }
        wait_until(COMPARED_WITHIN, || async {
            let seen = self.replicator.shadowed(&SHADOWED).await?;
            Ok((seen.requests == seen.outcomes.values().sum::<u64>()).then_some(seen.outcomes))
        })
        .await
        .context("the comparisons do not end")
    }
}

fn count(outcomes: &BTreeMap<String, u64>, outcome: &str) -> u64 {
    outcomes.get(outcome).copied().unwrap_or(0)
}

/// What must have come out.
pub(super) fn judge(shadowed: &Shadowed) -> anyhow::Result<()> {
    let false_ones = shadowed.mismatches();
    ensure!(false_ones == 0, "{false_ones} false mismatches after the noise was learned");
    ensure!(shadowed.compared() > 0, "no answers were compared: {:?}", shadowed.learned);
    Ok(())
}
