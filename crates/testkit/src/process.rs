//! Child processes of tests and of the demonstration: log file, readiness, end with a bound.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command as StdCommand, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use crate::guard::Guard;
use crate::probe::http_status;
use crate::wait::wait_until;

/// Lines of the log that an error message carries.
const LOG_LINES_MAX: usize = 20;

/// Time between the polite signal and the other one, unless [`ChildSpec::stop_within`] says more.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// How to start a child process; may be started again after it has ended.
#[derive(Debug, Clone)]
pub struct ChildSpec {
    name: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: BTreeMap<OsString, OsString>,
    log: PathBuf,
    stop_within: Duration,
    with_descendants: bool,
}

/// A child process that is killed when this value is dropped or this process is gone.
#[derive(Debug)]
pub struct RunningChild {
    name: String,
    child: Child,
    pid: Pid,
    log: PathBuf,
    stop_within: Duration,
    with_descendants: bool,
    guard: Option<Guard>,
}

impl ChildSpec {
    /// A child called `name` in messages; its output is appended to the file `log`.
    pub fn new(
        name: impl Into<String>,
        program: impl Into<PathBuf>,
        log: impl Into<PathBuf>,
    ) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            log: log.into(),
            stop_within: STOP_WITHIN,
            with_descendants: false,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|each| each.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable; the rest is inherited.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.insert(name.as_ref().to_owned(), value.as_ref().to_owned());
        self
    }

    /// How long [`RunningChild::terminate`] waits before it kills (default 10 s).
    #[must_use]
    pub fn stop_within(mut self, bound: Duration) -> Self {
        self.stop_within = bound;
        self
    }

    /// Gives the process a group of its own: when this process is gone, so are its descendants.
    #[must_use]
    pub fn with_descendants(mut self) -> Self {
        self.with_descendants = true;
        self
    }

    /// Starts the process. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// When the log file cannot be opened or the program cannot be started.
    pub fn spawn(&self) -> anyhow::Result<RunningChild> {
        if let Some(parent) = self.log.parent() {
            fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        }
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("open {}", self.log.display()))?;
        let errors = log.try_clone().context("share the log file")?;
        let mut command = Command::new(&self.program);
        if self.with_descendants {
            command.process_group(0);
        }
        let child = command
            .args(&self.arguments)
            .envs(&self.environment)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {} ({})", self.name, self.program.display()))?;
        let pid = child.id().with_context(|| format!("{} ended at once", self.name))?;
        let guard = Guard::new(
            StdCommand::new("/bin/sh"),
            r#"kill -s KILL -- "$1""#,
            &[OsStr::new(&format!("{}{pid}", if self.with_descendants { "-" } else { "" }))],
        )?;
        Ok(RunningChild {
            name: self.name.clone(),
            child,
            pid: Pid::from_raw(i32::try_from(pid).context("the process id is out of range")?),
            log: self.log.clone(),
            stop_within: self.stop_within,
            with_descendants: self.with_descendants,
            guard: Some(guard),
        })
    }
}

impl RunningChild {
    /// The name given in the [`ChildSpec`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// The file with everything the process printed.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines of the log, for error messages.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(LOG_LINES_MAX)..).unwrap_or_default();
        tail.join("\n")
    }

    /// How the process ended, or `None` while it runs.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn exit_status(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("look after {}", self.name))
    }

    /// Waits until `GET path` answers with a 2xx status, for at most `bound`.
    ///
    /// # Errors
    /// When the process ends or the bound passes first; the message carries the end of its log.
    pub async fn wait_ready(
        &mut self,
        address: SocketAddr,
        path: &str,
        bound: Duration,
    ) -> anyhow::Result<()> {
        let child = &mut self.child;
        let ready = wait_until(bound, || {
            let ended = child.try_wait();
            async move {
                if let Some(status) = ended? {
                    anyhow::bail!("the process ended: {status}");
                }
                let answer = http_status(address, path).await;
                Ok(answer.is_ok_and(|status| (200..300).contains(&status)).then_some(()))
            }
        })
        .await;
        ready.with_context(|| {
            format!("{} is not ready at http://{address}{path}:\n{}", self.name, self.log_tail())
        })
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn signal(&mut self, wanted: Signal) -> anyhow::Result<()> {
        if let Some(status) = self.exit_status()? {
            anyhow::bail!("{} has ended: {status}", self.name);
        }
        signal::kill(self.pid, wanted).with_context(|| format!("send {wanted} to {}", self.name))
    }

    /// Waits for the process to end by itself, for at most `bound`.
    ///
    /// # Errors
    /// When the bound passes first; the message carries the end of its log.
    pub async fn wait(&mut self, bound: Duration) -> anyhow::Result<ExitStatus> {
        let ended = tokio::time::timeout(bound, self.child.wait()).await;
        ended
            .with_context(|| {
                format!("{} still runs after {bound:?}:\n{}", self.name, self.log_tail())
            })?
            .with_context(|| format!("wait for {}", self.name))
    }

    /// Asks the process to end (SIGTERM) and kills it when it does not in time. The status tells
    /// which of the two happened.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub async fn terminate(mut self) -> anyhow::Result<ExitStatus> {
        if let Some(status) = self.exit_status()? {
            return Ok(status);
        }
        self.signal(Signal::SIGTERM)?;
        match tokio::time::timeout(self.stop_within, self.child.wait()).await {
            Ok(status) => status.with_context(|| format!("wait for {}", self.name)),
            Err(_) => self.kill().await,
        }
    }

    /// Kills the process (SIGKILL) and waits for its end.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub async fn kill(mut self) -> anyhow::Result<ExitStatus> {
        if self.with_descendants {
            signal::killpg(self.pid, Signal::SIGKILL)
                .with_context(|| format!("kill {} with its descendants", self.name))?;
        } else {
            self.child.start_kill().with_context(|| format!("kill {}", self.name))?;
        }
        self.child.wait().await.with_context(|| format!("wait for {}", self.name))
    }
}

impl Drop for RunningChild {
    fn drop(&mut self) {
        let Some(guard) = self.guard.take() else { return };
        if self.child.id().is_some() {
            // Nobody has waited for the process, so its id is still its own: the guard kills it.
            drop(guard);
        } else {
            // The id may belong to somebody else by now.
            guard.disarm();
        }
    }
}
