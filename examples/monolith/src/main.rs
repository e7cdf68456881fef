//! The `monolith` binary: `migrate`, `generate`, `serve`.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use monolith::{Secret, ServeOptions, Volume};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

#[derive(Debug, Parser)]
#[command(
    name = "monolith",
    version,
    about = "A GOTRS-like ticketing system, the reference monolith"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create the schema and the reference data
    Migrate {
        /// Database URL of the role that is to own the tables
        #[arg(long, alias = "owner-database", env = "DATABASE_OWNER_URL", hide_env_values = true)]
        database: String,
        /// An existing role that may then read and write, such as the one `serve` connects as
        #[arg(long)]
        app_role: Option<String>,
    },
    /// Fill the database with tickets
    Generate {
        /// Database URL
        #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
        database: String,
        /// How many tickets to add
        #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..))]
        tickets: u32,
        /// Articles of each ticket
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
        articles: u16,
        /// The same seed gives the same texts and states
        #[arg(long, default_value_t = 1)]
        seed: u32,
    },
    /// Answer HTTP and close tickets that are due
    Serve {
        /// Address to listen on; port 0 takes a free one, the log says which
        #[arg(long, env = "LISTEN", default_value = "127.0.0.1:3000")]
        listen: SocketAddr,
        /// Database URL
        #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
        database: String,
        /// Key of the HS256 tokens, 32 bytes or more
        #[arg(long, env = "JWT_SECRET", hide_env_values = true)]
        jwt_secret: String,
        /// How long an access token is valid
        #[arg(long, env = "ACCESS_TOKEN_TTL", default_value = "15m", value_parser = humantime::parse_duration)]
        access_token_ttl: Duration,
        /// Pause between two rounds of closing tickets that are due
        #[arg(long, env = "AUTO_CLOSE_EVERY", default_value = "10s", value_parser = humantime::parse_duration)]
        auto_close_every: Duration,
        /// Most database connections of the HTTP server; auto-close has one more
        #[arg(long, env = "POOL_SIZE", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
        pool_size: u32,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    init_logging(&cli.command);
    match cli.command {
        Command::Migrate { database, app_role } => {
            monolith::migrate(&database, app_role.as_deref()).await?;
        }
        Command::Generate { database, tickets, articles, seed } => {
            let volume = Volume { tickets, articles_each: articles, seed };
            monolith::generate(&database, volume).await.context("could not generate")?;
        }
        Command::Serve {
            listen,
            database,
            jwt_secret,
            access_token_ttl,
            auto_close_every,
            pool_size,
        } => {
            let options = ServeOptions {
                listen,
                database,
                secret: Secret::new(&jwt_secret, access_token_ttl)?,
                auto_close_every,
                pool_size,
            };
            monolith::serve(options, stop_signal()?).await?;
        }
    }
    Ok(())
}

/// One JSON object for each line: the server's log goes to stdout, the progress of the other commands to stderr.
fn init_logging(command: &Command) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let writer = match command {
        Command::Serve { .. } => BoxMakeWriter::new(std::io::stdout),
        Command::Migrate { .. } | Command::Generate { .. } => BoxMakeWriter::new(std::io::stderr),
    };
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .with_writer(writer)
        .init();
}

/// Ready at the first SIGTERM or SIGINT.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()> + Send> {
    let mut terminate = signal(SignalKind::terminate()).context("could not listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("could not listen for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
