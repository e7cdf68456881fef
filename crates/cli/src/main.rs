//! The binary `ficus`: runs the parts of Ficus and lets operators speak to them. Decides nothing:
//! every decision is control's.

mod args;
mod client;
mod config;
mod exit;
mod explain;
mod mismatches;
mod offline;
mod online;
mod output;
mod processes;
mod progress;
mod shift;
mod status;
mod successor;
mod tables;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use clap::error::ErrorKind;

use crate::args::{Arguments, Command, OnlineCommand, ProxyRun, RouteCommand};
use crate::client::ControlClient;
use crate::exit::Failure;
use crate::online::Online;
use crate::output::Output;
use crate::processes::Parts;

/// The proxy's hot path allocates less than glibc's allocator costs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            let printed = error.print();
            return if asked && printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(64) };
        }
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

fn report(error: &anyhow::Error) -> ExitCode {
    use std::io::Write as _;
    let failure = error.downcast_ref::<Failure>();
    let written = match failure {
        Some(failure) => writeln!(std::io::stderr().lock(), "{failure}"),
        None => writeln!(std::io::stderr().lock(), "error: {error:#}"),
    };
    match (failure, written) {
        (Some(failure), _) => failure.exit_code(),
        (None, _) => ExitCode::FAILURE,
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    // two libraries bring rustls; the first provider installed is everybody's
    let _already = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let outcome = runtime.block_on(dispatch(arguments));
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    outcome
}

async fn dispatch(arguments: &Arguments) -> anyhow::Result<()> {
    let out = Output { json: arguments.json };
    let run = |parts| {
        telemetry::init_logs();
        processes::run(&arguments.config, parts)
    };
    let parts = |proxy, cdc, control| run(Parts { proxy, cdc, control, ..Parts::default() });
    match &arguments.command {
        Command::Up => parts(true, true, true).await,
        Command::Proxy(ProxyRun { upgrade }) => {
            run(Parts { proxy: true, hands_over: true, upgrade: *upgrade, ..Parts::default() })
                .await
        }
        Command::Cdc => parts(false, true, false).await,
        Command::Control => parts(false, false, true).await,
        Command::Check(check) => offline::check(&arguments.config, check, &out).await,
        Command::Plan(plan) => offline::plan(plan, &out),
        Command::Schema(schema) => offline::schema(schema),
        Command::Route(RouteCommand::Explain(asked)) => {
            explain::explain(&arguments.config, asked, &out).await
        }
        Command::Completions { shell } => {
            offline::completions(*shell);
            Ok(())
        }
        Command::Online(command) => operate(arguments, command, out).await,
    }
}

async fn operate(
    arguments: &Arguments,
    command: &OnlineCommand,
    out: Output,
) -> anyhow::Result<()> {
    let online = Online { control: ControlClient::new(control_url(arguments)?)?, out };
    match command {
        OnlineCommand::Status(wanted) => {
            status::status(&online, wanted.capability.as_deref()).await
        }
        OnlineCommand::Watch => status::watch(&online).await,
        OnlineCommand::Start(start) => online.start(start).await,
        OnlineCommand::Verify(verify) => online.verify(verify).await,
        OnlineCommand::Shift(wanted) => shift::shift(&online, wanted).await,
        OnlineCommand::Mismatches(wanted) => mismatches::mismatches(&online, wanted).await,
        OnlineCommand::Cutover(transfer) => online.transfer("cutover", transfer).await,
        OnlineCommand::Rollback(transfer) => online.transfer("rollback", transfer).await,
        OnlineCommand::Complete(complete) => online.complete(complete).await,
        OnlineCommand::Table(command) => tables::table(&online, command).await,
        OnlineCommand::Ddl(command) => tables::ddl(&online, command).await,
        OnlineCommand::Pause(named) => {
            online.simple(&named.capability, "pause", &serde_json::json!({})).await
        }
        OnlineCommand::Resume(named) => {
            online.simple(&named.capability, "resume", &serde_json::json!({})).await
        }
    }
}

/// `--control`, or what the configuration says.
fn control_url(arguments: &Arguments) -> anyhow::Result<String> {
    if let Some(url) = &arguments.control {
        let url = url.trim_end_matches('/');
        let has_scheme = url.starts_with("http://") || url.starts_with("https://");
        return Ok(if has_scheme { url.to_owned() } else { format!("http://{url}") });
    }
    let config = config::load_without_secrets(&arguments.config)?;
    let control = config.control.ok_or_else(|| {
        Failure::Usage(format!("{} has no [control]", arguments.config.display()))
    })?;
    Ok(format!("http://{}", control.listen))
}
