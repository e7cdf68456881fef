//! `cargo xtask crash`: kills one process at a random point of a transfer, restarts it, and checks that
//! exactly one side owns the capability and that the ledger holds. One world, one transfer for each seed,
//! cutovers and rollbacks in turn.

mod guards;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde::Serialize;
use testkit::wait_until;
use tokio::time::Instant;

use crate::crash::guards::{GuardLog, Owner, owner};
use crate::demo::mend;
use crate::ledger::Findings;
use crate::operator::{ficus, number, talk};
use crate::workload::{Traffic, Workload};
use crate::world::{Part, Programs, World};

/// Longest a killed process stays away.
const AWAY_MAX_MS: u64 = 1_500;

/// From the kill until one side owns the capability again, restart included.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);

/// Tickets in the monolith: enough for a copy to take its time, few enough to verify in a moment.
const TICKETS: u32 = 2_000;

/// Where control can be made to die: before a step's effect, and after it but before the journal knows.
const FAILPOINTS: [&str; 18] = [
    "reverse",
    "reverse.done",
    "hold",
    "hold.done",
    "fence",
    "fence.done",
    "drain",
    "drain.done",
    "verify",
    "verify.done",
    "prepare",
    "prepare.done",
    "decide",
    "decide.done",
    "open",
    "open.done",
    "publish",
    "publish.done",
];

/// Kill processes in the middle of transfers and count what was lost.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask crash --seeds 20
  cargo xtask crash --seeds 1 --first 17    run seed 17 again")]
pub(crate) struct Crash {
    /// Transfers to disturb.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// The migration to run.
    #[arg(long, default_value = "routes.toml")]
    config: PathBuf,
    /// Print one JSON object on standard output at the end (always on; for symmetry with demo).
    #[arg(long)]
    json: bool,
}

/// The last object of `cargo xtask crash`.
#[derive(Clone, Debug, Default, Serialize)]
struct Report {
    runs: u64,
    killed: u64,
    lost: u64,
    duplicated: u64,
    split_brain: u64,
    stuck: u64,
    /// Transfers that went through all the same, and those that were undone.
    done: u64,
    /// See above.
    undone: u64,
    /// Failpoints that were reached, with the direction of the transfer, and how often.
    failpoints: BTreeMap<String, u64>,
    /// Requests answered wrongly, apart from those the killed process owed.
    failed: u64,
    writes_acked: u64,
    verified_rows: u64,
    verified_differences: u64,
    examples: Vec<String>,
}

/// What one seed does.
#[derive(Clone, Debug)]
struct Attempt {
    victim: Part,
    /// Control dies by itself at this point; everybody else, and control otherwise, is killed after `delay`.
    failpoint: Option<&'static str>,
    delay: Duration,
    away: Duration,
}

impl Attempt {
    fn of(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let victims = [Part::Proxy, Part::Cdc, Part::Control, Part::Ticket];
        let victim =
            victims.get(random.random_range(0..victims.len())).copied().unwrap_or(Part::Proxy);
        let point = FAILPOINTS.get(random.random_range(0..FAILPOINTS.len())).copied();
        let failpoint = point.filter(|_| victim == Part::Control && random.random_ratio(2, 3));
        Self {
            victim,
            failpoint,
            delay: Duration::from_millis(random.random_range(0..500)),
            away: Duration::from_millis(random.random_range(0..AWAY_MAX_MS)),
        }
    }
}

impl Crash {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        crate::setup::Setup::unattended(false).run()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let report = runtime.block_on(self.drive())?;
        println!("{}", serde_json::to_string(&report)?);
        let broken = report.lost + report.duplicated + report.split_brain + report.stuck;
        anyhow::ensure!(broken == 0 && report.verified_differences == 0, "the promise was broken");
        Ok(())
    }

    async fn drive(&self) -> anyhow::Result<Report> {
        let programs = Programs::build().await?;
        let mut world = World::create(programs, &self.config, None).await?;
        world.fill(TICKETS, 2).await?;
        mend(&world).await?;
        for part in Part::ALL {
            world.start(part).await?;
        }
        ficus(&world, &["start", "tickets"]).await?;
        ficus(&world, &["shift", "tickets", "shadowing"]).await?;
        ficus(&world, &["shift", "tickets", "50"]).await?;
        let traffic = workload(&world).await?.start(true);
        let log = GuardLog::watch(&world).await?;
        let outcome = self.seeds(&mut world).await;
        let split_brain = log.finish().await;
        let kept = (outcome.is_err()).then(|| world.keep_logs());
        let mut report = outcome.map_err(|error| with_logs(error, kept))?;
        if let Err(error) = finish(&world, traffic, &mut report).await {
            report.stuck += 1;
            report.examples.push(format!("{error:#}"));
        }
        report.split_brain = split_brain;
        if !report.examples.is_empty() {
            talk(&format!("the processes' logs are in {}", world.keep_logs().display()));
        }
        world.stop().await?;
        Ok(report)
    }

    async fn seeds(&self, world: &mut World) -> anyhow::Result<Report> {
        let mut report = Report::default();
        for seed in self.first..self.first + self.seeds {
            let attempt = Attempt::of(seed);
            report.runs += 1;
            let before = settled(world).await?;
            let after = disturb(world, &attempt, before, &mut report.failpoints).await;
            report.killed += 1;
            match after {
                Ok(after) if after == before => report.undone += 1,
                Ok(_) => report.done += 1,
                Err(error) => {
                    talk(&format!("seed {seed}: {attempt:?}: stuck: {error:#}"));
                    report.stuck += 1;
                    report.examples.push(format!("seed {seed}: {error:#}"));
                    return Ok(report);
                }
            }
            talk(&format!("seed {seed}: {attempt:?}: {before:?} → {:?}", owner(world).await?));
        }
        Ok(report)
    }
}

fn with_logs(error: anyhow::Error, kept: Option<PathBuf>) -> anyhow::Error {
    match kept {
        Some(path) => error.context(format!("the processes' logs are in {}", path.display())),
        None => error,
    }
}

async fn workload(world: &World) -> anyhow::Result<Workload> {
    Ok(Workload {
        url: world.proxy_url(),
        tickets: world.common_tickets().await?,
        clients: 12,
        browsers: 3,
        hangups: 1,
        pace: Duration::from_millis(150),
        run: "crash".to_owned(),
    })
}

/// Waits until one side owns the capability and everything is ready for a transfer; answers the owner.
async fn settled(world: &mut World) -> anyhow::Result<Owner> {
    let owner = settled_owner(world).await?;
    let world = &*world;
    wait_until(SETTLED_WITHIN, || async {
        if ficus(world, &["verify", "tickets"]).await.is_err() {
            return Ok(None);
        }
        let verb = owner.verb();
        Ok(ficus(world, &[verb, "tickets", "--dry-run"]).await.ok().map(|_| ()))
    })
    .await
    .context("the capability was not ready for the next transfer")?;
    Ok(owner)
}

async fn settled_owner(world: &World) -> anyhow::Result<Owner> {
    wait_until(SETTLED_WITHIN, || async {
        // a transfer that is about to be recovered is not settled, although one side may be open
        let running = ficus(world, &["status"]).await.ok().and_then(|status| {
            let outcome = status.pointer("/capabilities/0/transfer/outcome")?.as_str()?.to_owned();
            Some(outcome == "running")
        });
        if running.unwrap_or(false) {
            return Ok(None);
        }
        Ok(match owner(world).await? {
            Owner::Nobody => None,
            one @ (Owner::Monolith | Owner::Service) => Some(one),
        })
    })
    .await
    .context("no side owns the capability")
}

/// Begins a transfer, kills the victim, brings it back, and answers who owns the capability then.
async fn disturb(
    world: &mut World,
    attempt: &Attempt,
    before: Owner,
    failpoints: &mut BTreeMap<String, u64>,
) -> anyhow::Result<Owner> {
    if let Some(point) = attempt.failpoint {
        world.kill(Part::Control).await?;
        let failpoint = format!("{point}:exit");
        world.start_with(Part::Control, &[("FICUS_FAILPOINT", &failpoint)]).await?;
        settled(world).await?;
    }
    let mut command = world.ficus(&[before.verb(), "tickets", "--json"]);
    let running =
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn()?;
    match attempt.failpoint {
        Some(point) => {
            if died(world, Part::Control).await? {
                *failpoints.entry(format!("{} {point}", before.verb())).or_default() += 1;
            }
        }
        None => {
            tokio::time::sleep_until(Instant::now() + attempt.delay).await;
            world.kill(attempt.victim).await?;
        }
    }
    tokio::time::sleep(attempt.away).await;
    world.start(attempt.victim).await?;
    tokio::time::timeout(SETTLED_WITHIN, running.wait_with_output())
        .await
        .context("the ficus command did not end")??;
    settled_owner(world).await
}

/// Waits for a part to die by its failpoint, and says whether it did.
async fn died(world: &mut World, part: Part) -> anyhow::Result<bool> {
    let deadline = Instant::now() + Duration::from_secs(5);
    while world.is_running(part) && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let died = !world.is_running(part);
    world.kill(part).await?;
    Ok(died)
}

async fn finish(world: &World, traffic: Traffic, report: &mut Report) -> anyhow::Result<()> {
    let (counts, ledger) = traffic.finish().await;
    let verified = ficus(world, &["verify", "tickets"]).await?;
    report.verified_rows = number(&verified, "rows");
    report.verified_differences = number(&verified, "differences");
    let (monolith, service) =
        (world.source.connect("monolith").await?, world.target.connect("ticket").await?);
    let Findings { acked, lost, duplicated, unexpected, torn, examples } =
        ledger.check(&monolith, &service).await?;
    report.writes_acked = acked;
    report.lost = lost;
    report.duplicated = duplicated + unexpected + torn;
    report.failed = counts.failed();
    report.examples.extend(counts.failures());
    report.examples.extend(examples);
    Ok(())
}
