//! `cargo xtask demo`: moves the `tickets` capability of a running monolith to a service under live
//! traffic, back, and forward again, and checks every acknowledged write against both databases.

mod report;
mod walk;

pub(crate) use walk::mend;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use crate::operator::talk;
use crate::world::{Given, Part, Programs, World};

/// Watch one capability move, live.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask demo                 the whole move, with words
  cargo xtask demo --json          one object on standard output at the end
  cargo xtask demo --stay          leave everything running and print the dashboard's address
  cargo xtask demo --tickets 2000 --seconds 3   a quick look")]
pub(crate) struct Demo {
    /// Print one JSON object on standard output at the end; the talk goes to standard error.
    #[arg(long)]
    json: bool,
    /// Leave everything running at the end, until Ctrl-C.
    #[arg(long)]
    stay: bool,
    /// Tickets in the monolith before the run.
    #[arg(long, default_value_t = 50_000)]
    tickets: u32,
    /// Articles of each ticket.
    #[arg(long, default_value_t = 3)]
    articles: u32,
    /// Seconds of traffic in each phase.
    #[arg(long, default_value_t = 6)]
    seconds: u64,
    /// Clients, of which about one in four is a browser.
    #[arg(long, default_value_t = 36)]
    clients: usize,
    /// Requests a second over all clients.
    #[arg(long, default_value_t = 330)]
    rate: u32,
    /// Use this server for both sides instead of private ones: `postgres://superuser:password@host:port`,
    /// with `wal_level = logical`. Its databases and roles are made for the run and dropped afterwards.
    #[arg(long, value_name = "URL", env = "FICUS_DEMO_SERVER", hide_env_values = true)]
    server: Option<String>,
    /// The migration to run.
    #[arg(long, default_value = "routes.toml")]
    config: PathBuf,
}

impl Demo {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        crate::setup::Setup::unattended(false).run()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(self.drive())
    }

    async fn drive(&self) -> anyhow::Result<()> {
        talk("building the monolith, the service and ficus");
        let programs = Programs::build().await?;
        let given = self.server.as_deref().map(Given::parse).transpose()?;
        talk(if given.is_some() {
            "using the given PostgreSQL"
        } else {
            "starting two private PostgreSQL servers"
        });
        let mut world = World::create(programs, &self.config, given.as_ref()).await?;
        talk(&format!("filling the monolith with {} tickets", self.tickets));
        world.fill(self.tickets, self.articles).await?;
        walk::mend(&world).await?;
        for part in Part::ALL {
            world.start(part).await?;
        }
        talk(&format!("dashboard: {}", world.control_url()));
        let outcome = walk::walk(&world, self).await;
        if let Err(error) = &outcome {
            let kept = world.keep_logs();
            eprintln!("error: {error:#}\nthe processes' logs are in {}", kept.display());
        }
        let report = outcome.context("the demonstration did not go through")?;
        if self.json {
            println!("{}", serde_json::to_string(&report)?);
        } else {
            println!("{}", report.in_words());
        }
        if self.stay {
            talk(&format!(
                "everything stays up: dashboard {}, proxy {}; Ctrl-C ends it",
                world.control_url(),
                world.proxy_url()
            ));
            tokio::signal::ctrl_c().await?;
        }
        world.stop().await?;
        report.verdict()
    }

    fn each_phase(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// Pause between two requests of one client.
    fn pace(&self) -> Duration {
        let clients = u32::try_from(self.clients).unwrap_or(u32::MAX);
        Duration::from_secs(1) * clients / self.rate.max(1)
    }
}
