//! Reads `routes.toml` again: when asked to (SIGHUP), and when the file changes. A bad file never
//! replaces a good one; what only a restart can change is said and left as it is.

use std::{os::unix::fs::MetadataExt, path::PathBuf, sync::Arc, time::Duration, time::SystemTime};

use routes::{Config, Problem};
use telemetry::Chain;
use tokio::{
    sync::{mpsc, oneshot},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;

use crate::{keeper::Update, metrics::RELOADS, shared::Shared, upstream::credentials};

/// How often the file's time and size are looked at.
const POLL_EVERY: Duration = Duration::from_secs(1);

/// For how long a changed file must stand still before it is read: an editor may be in the middle of it.
const SETTLE: Duration = Duration::from_millis(50);

/// How often that is waited for; then the file is read as it is.
const SETTLE_TRIES: usize = 20;

/// Asks a running proxy to read its configuration again. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ReloadHandle(mpsc::Sender<oneshot::Sender<Reloaded>>);

/// What reading the configuration again came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// The new configuration is in force for every request that begins from now on.
    Applied {
        /// Keys whose new values wait for a restart.
        restart_needed: Vec<&'static str>,
    },
    /// The file means what it meant before.
    Unchanged,
    /// The file has problems; the old configuration stays.
    Refused(Vec<Problem>),
    /// The file could not be read; the old configuration stays.
    Unreadable(String),
}

/// The proxy has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the proxy is not running any more")]
pub struct ProxyStopped;

/// Watches one file.
#[derive(Debug)]
pub(crate) struct Reloader {
    pub(crate) path: PathBuf,
    pub(crate) shared: Arc<Shared>,
    pub(crate) updates: mpsc::Sender<Update>,
}

/// Tells two states of the file apart; a link that was turned to another file is another state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    device: u64,
    inode: u64,
}

impl ReloadHandle {
    pub(crate) fn new() -> (Self, mpsc::Receiver<oneshot::Sender<Reloaded>>) {
        let (sender, receiver) = mpsc::channel(4);
        (Self(sender), receiver)
    }

    /// Reads the file now, whether it changed or not, and waits until it is in force or refused.
    ///
    /// # Errors
    /// When the proxy has stopped.
    pub async fn reload(&self) -> Result<Reloaded, ProxyStopped> {
        let (reply, answer) = oneshot::channel();
        self.0.send(reply).await.map_err(|_| ProxyStopped)?;
        answer.await.map_err(|_| ProxyStopped)
    }
}

impl Reloaded {
    /// Stable name used in metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Applied { .. } => "applied",
            Self::Unchanged => "unchanged",
            Self::Refused(_) => "refused",
            Self::Unreadable(_) => "unreadable",
        }
    }
}

impl Reloader {
    pub(crate) async fn run(
        self,
        mut asked: mpsc::Receiver<oneshot::Sender<Reloaded>>,
        stop: CancellationToken,
    ) {
        let mut tick = tokio::time::interval(POLL_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = self.stamp().await;
        loop {
            let reply = tokio::select! {
                () = stop.cancelled() => return,
                reply = asked.recv() => match reply {
                    Some(reply) => Some(reply),
                    None => return,
                },
                _ = tick.tick() => None,
            };
            let mut stamp = self.stamp().await;
            if reply.is_none() {
                if stamp == seen || stamp.is_none() {
                    continue;
                }
                stamp = self.settled(stamp).await;
            }
            seen = stamp;
            if reply.is_some()
                && let Some(file) = self.shared.access_log.get()
            {
                file.reopen();
            }
            let outcome = self.reload().await;
            RELOADS.with_label_values(&[outcome.as_str()]).inc();
            self.log(&outcome);
            if let Some(reply) = reply
                && reply.send(outcome).is_err()
            {
                tracing::debug!("nobody waited for the outcome of the reload");
            }
        }
    }

    /// The state of the file once it stands still.
    async fn settled(&self, mut stamp: Option<Stamp>) -> Option<Stamp> {
        for _ in 0..SETTLE_TRIES {
            tokio::time::sleep(SETTLE).await;
            let now = self.stamp().await;
            if now == stamp && now.is_some() {
                break;
            }
            stamp = now;
        }
        stamp
    }

    async fn stamp(&self) -> Option<Stamp> {
        let metadata = tokio::fs::metadata(&self.path).await.ok()?;
        Some(Stamp {
            modified: metadata.modified().ok(),
            bytes: metadata.len(),
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }

    async fn reload(&self) -> Reloaded {
        let text = match tokio::fs::read_to_string(&self.path).await {
            Ok(text) => text,
            Err(error) => return Reloaded::Unreadable(error.to_string()),
        };
        let name = self.path.display().to_string();
        // The proxy opens no database, so it reads only the secrets it uses itself.
        let env = |key: &str| std::env::var(key).ok();
        let config = match Config::parse_for_proxy(&name, &text, &env, &|file| {
            std::fs::read_to_string(file)
        }) {
            Ok(config) => config,
            Err(problems) => return Reloaded::Refused(problems),
        };
        let plan = Arc::clone(&self.shared.snapshot.load().plan);
        let is_same = plan.config.digest == config.digest && plan.config.gateway == config.gateway;
        let restart_needed = restart_needed(&plan.config, &config);
        let (files, rules) = (config.clone(), Arc::clone(plan.policies.rule_sets()));
        let read = tokio::task::spawn_blocking(move || {
            if is_same && rules.are_current(&files.gateway) {
                return Ok(None);
            }
            rules.load(&files.gateway).map_err(|error| Chain(&error).to_string())?;
            credentials::read_all(&files).map(Some).map_err(|error| Chain(&error).to_string())
        });
        let credentials = match read.await {
            Ok(Ok(Some(credentials))) => credentials,
            Ok(Ok(None)) => return Reloaded::Unchanged,
            Ok(Err(error)) => return Reloaded::Unreadable(error),
            Err(error) => return Reloaded::Unreadable(error.to_string()),
        };
        let (done, applied) = oneshot::channel();
        let update = Update::Config(Box::new(config), credentials, done);
        if self.updates.send(update).await.is_err() || applied.await.is_err() {
            return Reloaded::Unreadable("the proxy is stopping".to_owned());
        }
        Reloaded::Applied { restart_needed }
    }

    fn log(&self, outcome: &Reloaded) {
        let path = self.path.display();
        match outcome {
            Reloaded::Applied { restart_needed } if restart_needed.is_empty() => {
                tracing::info!(%path, "applied a new configuration");
            }
            Reloaded::Applied { restart_needed } => {
                tracing::warn!(%path, ?restart_needed, "applied a new configuration; some of it waits for a restart");
            }
            Reloaded::Unchanged => tracing::info!(%path, "the configuration is unchanged"),
            Reloaded::Refused(problems) => {
                for problem in problems {
                    tracing::error!(%problem, "refused the new configuration; the old one stays");
                }
            }
            Reloaded::Unreadable(reason) => {
                tracing::error!(%path, reason, "cannot read the configuration; the old one stays");
            }
        }
    }
}

/// Keys that are used once, at the start.
fn restart_needed(old: &Config, new: &Config) -> Vec<&'static str> {
    let grpc = |config: &Config| config.control.as_ref().map(|control| control.grpc);
    let running = |config: &Config| config.proxy.operations.clone();
    let changed = [
        ("proxy.listen", old.proxy.listen != new.proxy.listen),
        ("proxy.admin", old.proxy.admin != new.proxy.admin),
        ("proxy.answer_cache", old.gateway.answer_cache != new.gateway.answer_cache),
        ("proxy.state_file", old.proxy.state_file != new.proxy.state_file),
        ("proxy.handover", running(old).handover != running(new).handover),
        ("proxy.access_log.file", running(old).access_log.file != running(new).access_log.file),
        ("proxy.lame_duck", running(old).lame_duck != running(new).lame_duck),
        ("proxy.drain", running(old).drain != running(new).drain),
        ("control.grpc", grpc(old) != grpc(new)),
        ("cdc.grpc", old.cdc.grpc != new.cdc.grpc),
    ];
    changed.into_iter().filter(|(_, is_changed)| *is_changed).map(|(key, _)| key).collect()
}
