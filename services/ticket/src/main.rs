//! The binary `ticket`.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use kit::config::{Environment, Secret};
use ticket::config::Config;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Exit code for a configuration that cannot be used (EX_USAGE).
const EXIT_USAGE: u8 = 64;

/// The ticket service, extracted from the monolith.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create or update the schema, as its owner
    Migrate {
        /// Database URL of the role that owns the schema
        #[arg(long, env = "TICKET_OWNER_DATABASE_URL", hide_env_values = true)]
        database: String,
        /// Role that `ticket serve` connects as; it must exist
        #[arg(long, default_value = "ticket")]
        app_role: String,
    },
    /// Answer REST and gRPC requests (TICKET_DATABASE_URL, JWT_SECRET, AUTO_CLOSE_EVERY)
    Serve {
        /// Address for REST; port 0 takes any free port
        #[arg(long, default_value = "127.0.0.1:7101")]
        listen: SocketAddr,
        /// Address for gRPC; port 0 takes any free port
        #[arg(long, default_value = "127.0.0.1:7102")]
        grpc: SocketAddr,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    kit::logs::start().context("start logging")?;
    match cli.command {
        Command::Migrate { database, app_role } => {
            ticket::migrate::migrate(&Secret::new(database), &app_role).await?;
        }
        Command::Serve { listen, grpc } => {
            let config = match Config::read(Environment::from_process()) {
                Ok(config) => config,
                Err(error) => {
                    tracing::error!(%error, "configuration is not usable");
                    return Ok(ExitCode::from(EXIT_USAGE));
                }
            };
            serve(config, listen, grpc).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn serve(config: Config, listen: SocketAddr, grpc: SocketAddr) -> anyhow::Result<()> {
    let listener = async |address: SocketAddr| {
        TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))
    };
    let (http, grpc) = (listener(listen).await?, listener(grpc).await?);
    let shutdown = CancellationToken::new();
    let signals = tokio::spawn(kit::shutdown::cancel_on_signal(shutdown.clone()));
    let served = ticket::serve::run(config, http, grpc, shutdown.clone()).await;
    shutdown.cancel();
    signals.await.context("join the signal task")?.context("install signal handlers")?;
    Ok(served?)
}
