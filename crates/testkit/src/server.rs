//! The blocking side of a cluster: directories, `initdb`, `pg_ctl`, and the clean-up script.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use anyhow::Context;

use crate::account::Account;
use crate::binaries::Binaries;
use crate::guard::Guard;
use crate::port::free_port;

/// How often another port is tried when somebody took ours between finding and binding it.
const PORT_TRIES: usize = 5;

/// How long `pg_ctl` waits for a start or a stop, in seconds; crash recovery is part of a start.
const PG_CTL_WAIT_S: &str = "60";

/// Lines of the server's log that an error message carries.
const LOG_LINES_MAX: usize = 20;

/// `$1` pg_ctl, `$2` data directory, `$3` directory to remove or nothing, `$4` way of stopping.
const CLEAN_UP: &str = r#"
if [ -f "$2/postmaster.pid" ]; then
    "$1" -D "$2" -m "$4" -w -t 30 stop || kill -KILL "$(head -n 1 "$2/postmaster.pid")"
fi
if [ -n "$3" ]; then rm -rf "$3"; fi
"#;

/// What a cluster is to be like.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    pub(crate) extra: Vec<String>,
    pub(crate) wal_level: Option<String>,
    pub(crate) durable: bool,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) port: Option<u16>,
}

/// How a server is stopped.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stop {
    /// Sessions are ended, everything is written out.
    Fast,
    /// As in a crash: the next start runs recovery.
    Immediate,
}

/// A server with its directory; stops and removes both when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    binaries: Binaries,
    account: Account,
    base: PathBuf,
    kept: bool,
    port: u16,
    guard: Option<Guard>,
}

impl Stop {
    fn as_str(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Immediate => "immediate",
        }
    }
}

impl Server {
    /// Makes the directory, initialises it unless it holds a cluster already, and starts the server.
    pub(crate) fn launch(settings: &Settings) -> anyhow::Result<Self> {
        let binaries = Binaries::find()?;
        let account = Account::for_servers()?;
        let base = make_base(&account, settings.directory.as_deref())?;
        let kept = settings.directory.is_some();
        let mut server = Self { binaries, account, base, kept, port: 0, guard: None };
        server.guard = Some(server.clean_up_guard()?);
        if !server.data_dir().join("PG_VERSION").exists() {
            server.initialise()?;
        }
        server.start_on_some_port(settings)?;
        Ok(server)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn major(&self) -> u32 {
        self.binaries.major()
    }

    pub(crate) fn base(&self) -> &Path {
        &self.base
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.base.join("data")
    }

    /// Puts a file into the data directory that only the server may read.
    pub(crate) fn write_secret(&self, name: &str, content: &str) -> anyhow::Result<()> {
        let path = self.data_dir().join(name);
        fs::write(&path, content).with_context(|| format!("write {name}"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
            .with_context(|| format!("protect {name}"))?;
        self.account.own(&path)
    }

    pub(crate) fn log_file(&self) -> PathBuf {
        self.base.join("server.log")
    }

    pub(crate) fn is_running(&self) -> anyhow::Result<bool> {
        Ok(self.pg_ctl(&["status"])?.status.success())
    }

    pub(crate) fn start(&self) -> anyhow::Result<()> {
        let log = self.log_file();
        let log = log.to_str().context("the log file's path is not text")?;
        let output = self.pg_ctl(&["-l", log, "-w", "-t", PG_CTL_WAIT_S, "start"])?;
        anyhow::ensure!(
            output.status.success(),
            "the PostgreSQL server in {} did not start:\n{}",
            self.base.display(),
            self.log_tail()
        );
        Ok(())
    }

    pub(crate) fn stop(&self, how: Stop) -> anyhow::Result<()> {
        let output = self.pg_ctl(&["-m", how.as_str(), "-w", "-t", PG_CTL_WAIT_S, "stop"])?;
        anyhow::ensure!(
            output.status.success(),
            "the PostgreSQL server in {} did not stop:\n{}",
            self.base.display(),
            self.log_tail()
        );
        Ok(())
    }

    /// The last lines of the server's log.
    pub(crate) fn log_tail(&self) -> String {
        let text = fs::read_to_string(self.log_file()).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(LOG_LINES_MAX)..).unwrap_or_default();
        tail.join("\n")
    }

    fn initialise(&self) -> anyhow::Result<()> {
        let output = self
            .account
            .command(&self.binaries.program("initdb"))
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"])
            .args(["--no-sync", "--no-instructions", "-D"])
            .arg(self.data_dir())
            .stdin(Stdio::null())
            .output()
            .context("run initdb")?;
        anyhow::ensure!(
            output.status.success(),
            "initdb failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let mut conf = fs::OpenOptions::new()
            .append(true)
            .open(self.data_dir().join("postgresql.conf"))
            .context("open postgresql.conf")?;
        conf.write_all(b"\ninclude 'ficus.conf'\n").context("extend postgresql.conf")
    }

    fn start_on_some_port(&mut self, settings: &Settings) -> anyhow::Result<()> {
        let mut tries = 0;
        loop {
            tries += 1;
            self.port = settings.port.map_or_else(free_port, Ok)?;
            self.write_settings(settings)?;
            let Err(error) = self.start() else { return Ok(()) };
            let port_was_taken = self.log_tail().contains("could not bind");
            if settings.port.is_some() || !port_was_taken || tries == PORT_TRIES {
                return Err(error);
            }
        }
    }

    fn write_settings(&self, settings: &Settings) -> anyhow::Result<()> {
        let mut lines = vec![
            "listen_addresses = '127.0.0.1'".to_owned(),
            format!("port = {}", self.port),
            format!("unix_socket_directories = '{}'", self.base.display()),
            format!("wal_level = {}", settings.wal_level.as_deref().unwrap_or("logical")),
            "max_connections = 200".to_owned(),
            "max_replication_slots = 40".to_owned(),
            "max_wal_senders = 40".to_owned(),
            "max_worker_processes = 16".to_owned(),
            "max_prepared_transactions = 10".to_owned(),
            "shared_buffers = 64MB".to_owned(),
            "timezone = 'UTC'".to_owned(),
            "log_timezone = 'UTC'".to_owned(),
            "log_line_prefix = '%m [%p] %q%a %u@%d '".to_owned(),
        ];
        if !settings.durable {
            // Safe against a crash of the server, not of the machine.
            lines.extend(["fsync = off".to_owned(), "full_page_writes = off".to_owned()]);
        }
        lines.extend(settings.extra.iter().cloned());
        lines.push(String::new());
        let file = self.data_dir().join("ficus.conf");
        fs::write(&file, lines.join("\n")).context("write ficus.conf")?;
        self.account.own(&file)
    }

    fn pg_ctl(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        // The server inherits these: a pipe of ours would stay open for as long as it lives.
        let status = self
            .account
            .command(&self.binaries.program("pg_ctl"))
            .arg("-s")
            .arg("-D")
            .arg(self.data_dir())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .context("run pg_ctl")?;
        Ok(Output { status, stdout: Vec::new(), stderr: Vec::new() })
    }

    fn clean_up_guard(&self) -> anyhow::Result<Guard> {
        let (removed, how) = if self.kept {
            (OsStr::new(""), Stop::Fast)
        } else {
            (self.base.as_os_str(), Stop::Immediate)
        };
        let pg_ctl = self.binaries.program("pg_ctl");
        let data = self.data_dir();
        let arguments = [pg_ctl.as_os_str(), data.as_os_str(), removed, OsStr::new(how.as_str())];
        Guard::new(self.account.command(Path::new("/bin/sh")), CLEAN_UP, &arguments)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.guard.take());
        if !self.kept && self.base.exists() {
            // The guard was killed from outside: the directory goes, and a server that is still
            // running notices the loss of its lock file and ends.
            drop(fs::remove_dir_all(&self.base));
        }
    }
}

fn make_base(account: &Account, wanted: Option<&Path>) -> anyhow::Result<PathBuf> {
    let base = if let Some(wanted) = wanted {
        fs::create_dir_all(wanted).with_context(|| format!("create {}", wanted.display()))?;
        wanted.canonicalize().with_context(|| format!("resolve {}", wanted.display()))?
    } else {
        tempfile::Builder::new()
            .prefix("ficus-pg-")
            .tempdir_in(account.temporary_dir())
            .context("create a temporary directory")?
            .keep()
    };
    account.own(&base)?;
    Ok(base)
}
