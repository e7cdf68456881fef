//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

const EXAMPLES: &str = "\
Examples:
  ficus check                         is routes.toml right?
  ficus check --connect               are the databases ready? prints the SQL that mends them
  ficus route explain /tickets/7      who would answer, and why?
  ficus up                            proxy, replicator and control in one process
  ficus start tickets                 copy the capability's tables and keep them current
  ficus verify tickets                compare both sides, row by row
  ficus verify tickets --repair       and write rows that differ anew
  ficus shift tickets 10              send 10% of the readers to the service
  ficus shift tickets auto            go on by the steps of routes.toml, back when it goes badly
  ficus mismatches tickets            where does the service answer differently?
  ficus cutover tickets               move the writes, live
  ficus rollback tickets              move them back

Exit codes:
  0   done
  1   failed; the message says what to do
  2   refused: something is not as it must be, nothing was changed
  3   aborted: a transfer was begun and undone, the old owner writes again
  4   different: a verification found rows that differ
  64  wrong command line or routes.toml
  69  control can not be reached";

/// Moves capabilities of a monolith to services: live, with nothing lost and a way back.
#[derive(Debug, Parser)]
#[command(name = "ficus", version, after_help = EXAMPLES, propagate_version = true)]
pub(crate) struct Arguments {
    /// The migration.
    #[arg(long, short, global = true, env = "FICUS_CONFIG", default_value = "routes.toml")]
    pub(crate) config: PathBuf,
    /// Address of control's API; the configuration's `control.listen` when not given.
    #[arg(long, global = true, env = "FICUS_CONTROL")]
    pub(crate) control: Option<String>,
    /// One JSON object on standard output; progress on standard error.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run proxy, replicator and control in one process.
    Up,
    /// Run the routing proxy. SIGHUP reads the file again, SIGUSR2 starts the program anew and hands over.
    Proxy(ProxyRun),
    /// Run the replicator.
    Cdc,
    /// Run control: coordinator, API and dashboard.
    Control,
    /// Say everything that is wrong with routes.toml, and with --connect also with the databases.
    Check(Check),
    /// Say what a new routes.toml would change, and for which traffic.
    Plan(Plan),
    /// Print the JSON Schema of routes.toml, or with --markdown the page of its keys.
    Schema(Schema),
    /// Routes: which one a request would take, and why.
    #[command(subcommand)]
    Route(RouteCommand),
    /// Print the shell's completion script.
    Completions {
        /// For which shell.
        shell: Shell,
    },
    #[command(flatten)]
    Online(OnlineCommand),
}

/// What control is asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum OnlineCommand {
    /// Where each capability stands.
    Status(Status),
    /// Status, renewed every second until Ctrl-C.
    Watch,
    /// Install guards, copy the tables, and keep them current.
    Start(Start),
    /// Compare both sides through the mapping, row by row, while traffic goes on.
    Verify(Verify),
    /// Move the share of reads: `shadowing`, 0 to 100, or `auto`; without it the shifts so far.
    Shift(Shift),
    /// Where the service answers differently, by route, place and kind.
    Mismatches(Mismatches),
    /// Move the writes to the service: live, held for less than a second.
    Cutover(Transfer),
    /// Move the writes back to the monolith: the same protocol, the other way.
    Rollback(Transfer),
    /// Let go of the reverse stream and the monolith's tables. There is no way back after it.
    Complete(Complete),
    /// Stop the capability's streams and automatic steps; traffic stays as it is.
    Pause(Named),
    /// Go on after a pause.
    Resume(Named),
    /// Tables that wait while the others go on: list, put right, copy again.
    #[command(subcommand)]
    Table(TableCommand),
    /// Tables whose columns changed: what changed, what to do, and going on.
    #[command(subcommand)]
    Ddl(DdlCommand),
}

/// What to do with a table.
#[derive(Debug, Subcommand)]
pub(crate) enum TableCommand {
    /// How each table stands, why it waits, and what to type.
    List(Status),
    /// Apply the parked changes of a quarantined table, after its row was mended.
    Retry(TableNamed),
    /// The same, leaving out the change that does not fit.
    Skip(TableNamed),
    /// Copy a table again while the stream goes on; readers see its old rows until the end.
    Resync(TableNamed),
}

/// What to do about changed columns.
#[derive(Debug, Subcommand)]
pub(crate) enum DdlCommand {
    /// What changed, and the SQL and keys of routes.toml that follow from it.
    Show(Status),
    /// Go on with the new columns, after the service's migration.
    Accept(TableNamed),
}

#[derive(Debug, Args)]
pub(crate) struct TableNamed {
    /// As in routes.toml.
    pub(crate) capability: String,
    /// As the monolith calls it: `public.ticket`, or `ticket` where that is clear.
    pub(crate) table: String,
    /// forward, reverse or reference, where the table waits in more than one stream.
    #[arg(long)]
    pub(crate) stream: Option<String>,
    /// Come back at once instead of waiting until the table is ready.
    #[arg(long)]
    pub(crate) no_wait: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Look at the databases, too; changes nothing.
    #[arg(long)]
    pub(crate) connect: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Schema {
    /// Every key with type, default, unit, reload behaviour and example, as docs/routes.md has it.
    #[arg(long)]
    pub(crate) markdown: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// The configuration that runs.
    pub(crate) old: PathBuf,
    /// The one that shall run.
    pub(crate) new: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ProxyRun {
    /// Take the listening sockets over from the proxy that runs, which drains and ends; needs
    /// proxy.handover. Where none runs, this one starts as usual.
    #[arg(long)]
    pub(crate) upgrade: bool,
}

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  ficus route explain \"GET /api/v1/tickets/7\"                          by routes.toml, before anything moved
  ficus route explain /api/v1/tickets/7 --phase \"reading 10%\" --subject alice
  ficus route explain \"POST /api/v1/tickets\" --live                    by the proxy that runs
  ficus route explain /api/v1/tickets/7 --live -H \"x-api-key: abc\" --json";

/// What to ask about routes.
#[derive(Debug, Subcommand)]
pub(crate) enum RouteCommand {
    /// Say which route, capability, phase, bucket, upstream and peers a request would get, and why.
    /// Nothing is sent to them.
    Explain(Explain),
}

#[derive(Debug, Args)]
#[command(after_help = EXPLAIN_EXAMPLES)]
pub(crate) struct Explain {
    /// `METHOD /path?query`; GET without a method.
    pub(crate) request: String,
    /// A header of the request, as `name: value`; may be repeated.
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,
    /// What `proxy.subject` would find, instead of looking for it in the headers.
    #[arg(long)]
    pub(crate) subject: Option<String>,
    /// Address of the downstream, where the subject is its address.
    #[arg(long)]
    pub(crate) ip: Option<std::net::IpAddr>,
    /// Ask the proxy that runs, at `proxy.admin` of the file.
    #[arg(long)]
    pub(crate) live: bool,
    /// Ask the proxy whose admin server listens here.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) admin: Option<String>,
    /// Where capabilities stand, which the file does not say: monolith, shadowing, "reading 10%", switched.
    #[arg(long, default_value = "monolith", conflicts_with_all = ["live", "admin"])]
    pub(crate) phase: String,
    /// Suppose that the service has not applied what the subject wrote.
    #[arg(long, conflicts_with_all = ["live", "admin"])]
    pub(crate) behind: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Only this capability.
    pub(crate) capability: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// As in routes.toml.
    pub(crate) capability: String,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// As in routes.toml.
    pub(crate) capability: String,
    /// Write rows that differ anew, from the side that owns them, and compare them again.
    #[arg(long)]
    pub(crate) repair: bool,
    /// Only these tables, by their names in the monolith: public.ticket,public.article
    #[arg(long, value_delimiter = ',', value_name = "TABLE")]
    pub(crate) tables: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Start {
    /// As in routes.toml.
    pub(crate) capability: String,
    /// Come back at once instead of waiting for the copy.
    #[arg(long)]
    pub(crate) no_wait: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Shift {
    /// As in routes.toml.
    pub(crate) capability: String,
    /// `shadowing`, the share of readers in percent, or `auto`: on by the steps of routes.toml. Without
    /// it: what was shifted before, and why.
    pub(crate) to: Option<String>,
    /// Make no automatic step on until --resume; steps back are made all the same.
    #[arg(long, conflicts_with_all = ["to", "resume"])]
    pub(crate) pause: bool,
    /// Let automatic steps go on.
    #[arg(long, conflicts_with = "to")]
    pub(crate) resume: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Mismatches {
    /// Only of this capability.
    pub(crate) capability: Option<String>,
    /// Only of this route, as in routes.toml: "GET /api/v1/tickets/{id}"
    #[arg(long)]
    pub(crate) route: Option<String>,
    /// Print the `ignore` lines for places that were learned as noise.
    #[arg(long)]
    pub(crate) propose: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Transfer {
    /// As in routes.toml.
    pub(crate) capability: String,
    /// Only say whether it would be refused, and why.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Complete {
    /// As in routes.toml.
    pub(crate) capability: String,
    /// The capability's name once more, instead of being asked for it.
    #[arg(long)]
    pub(crate) confirm: Option<String>,
    /// Before the soak time of routes.toml is over.
    #[arg(long)]
    pub(crate) force: bool,
}
