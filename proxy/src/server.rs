//! Starts and stops a proxy: binds, restores what was saved, runs its tasks, and ends in a lame duck.
//!
//! ```text
//! stop ─> not ready, answers say `Connection: close` ─> no new connections ─> wait for the rest ─> end
//! ```

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use routes::Config;
use telemetry::Chain;
use tokio::{
    net::TcpListener,
    sync::{Notify, mpsc, oneshot, watch},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    access_log::LogFile,
    admin,
    control_link::{self, Identity},
    front::{Front, Socket, Tls, TlsError},
    handover::{self, Predecessor, Sockets, Succession},
    health,
    intent::{Intents, StateFileError},
    keeper::{Keeper, Registry, Update, first_snapshot},
    live::Live,
    plan::Plan,
    policy, pressure,
    reload::{ReloadHandle, Reloaded, Reloader},
    replicator_link, service_manager, shadow,
    shared::Shared,
    upstream::credentials,
};

/// How long control is waited for before the first request is taken: a proxy that knows nothing would
/// send everything to the monolith, one that has a saved table is at most a little behind.
const INFORMED_MAX: Duration = Duration::from_secs(5);
const INFORMED_AGAIN_MAX: Duration = Duration::from_millis(500);

/// Updates waiting for the keeper.
const UPDATES_MAX: usize = 64;

/// What a proxy is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Read again on reload.
    pub config_path: PathBuf,
    /// What the file said at the start.
    pub config: Config,
    /// Version of the program, told to control.
    pub version: String,
    /// Whether the sockets of the proxy that runs are taken over; it drains and ends then.
    pub take_over: bool,
    /// After being told to stop: how long new requests are still served, with `Connection: close`.
    pub lame_duck: Duration,
    /// After that: how long requests that began may take to end.
    pub drain: Duration,
}

/// A proxy whose sockets are bound. Nothing is accepted before [`Proxy::run`].
#[derive(Debug)]
pub struct Proxy {
    options: Options,
    listen: Vec<SocketAddr>,
    sockets: Vec<Socket>,
    admin: TcpListener,
    admin_address: SocketAddr,
    shared: Arc<Shared>,
    registry: Registry,
    created: mpsc::UnboundedReceiver<Arc<Live>>,
    intents: Option<Intents>,
    reload: ReloadHandle,
    reload_asked: mpsc::Receiver<oneshot::Sender<Reloaded>>,
    succession: Succession,
}

/// A proxy could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address could not be bound.
    #[error("cannot listen on {address}; is another process using it?")]
    Bind {
        /// As configured.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A certificate or key cannot be used.
    #[error("cannot use the certificates of [[proxy.tls]]")]
    Tls(#[source] TlsError),
    /// A proxy runs and did not give its sockets.
    #[error("cannot take the sockets over from the proxy that listens at {}", path.display())]
    Handover {
        /// `proxy.handover`
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// `--upgrade` needs a place to ask.
    #[error(
        "cannot take over without proxy.handover; set it to the path of a socket, in both files"
    )]
    NoHandover,
    /// The file of the access log cannot be written.
    #[error("cannot write the access log {}; is the folder there, and may this user write to it?", path.display())]
    AccessLog {
        /// `proxy.access_log.file`
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The saved route table is there and cannot be used.
    #[error("cannot start from the state file")]
    StateFile(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The certificates for an upstream cannot be used.
    #[error("cannot use the certificates for an upstream")]
    Certificates(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The configuration cannot be put into force.
    #[error("cannot use the configuration")]
    Config(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A proxy did not run until it was told to stop.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It could not be started.
    #[error("cannot start the proxy")]
    Start(#[source] StartError),
    /// The system does not let it wait for connections.
    #[error("cannot wait for connections")]
    Listen(#[source] io::Error),
    /// The admin server failed for good.
    #[error("the admin server stopped")]
    Admin(#[source] io::Error),
}

/// Binds and runs a proxy until `stop` is cancelled.
///
/// # Errors
/// When it cannot be started, or its admin server fails.
pub async fn run(options: Options, stop: CancellationToken) -> Result<(), RunError> {
    Proxy::bind(options).await.map_err(RunError::Start)?.run(stop).await
}

impl Options {
    /// Options with the times of the configuration.
    #[must_use]
    pub fn new(config_path: PathBuf, config: Config) -> Self {
        let operations = &config.proxy.operations;
        let (lame_duck, drain) = (operations.lame_duck, operations.drain);
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { config_path, config, version, take_over: false, lame_duck, drain }
    }
}

impl Proxy {
    /// Binds the sockets and reads the state file.
    ///
    /// # Errors
    /// When an address is taken or the state file is broken.
    pub async fn bind(options: Options) -> Result<Self, StartError> {
        let proxy = &options.config.proxy;
        let (mut inherited, predecessor) = inherit(&options).await?;
        let (mut listen, mut sockets) = (Vec::new(), Vec::new());
        let encrypted = proxy.tls.iter().map(|tls| (tls.listen, Some(tls.clone())));
        for (address, tls) in proxy.listen.iter().map(|address| (*address, None)).chain(encrypted) {
            let tls = tls.map(Tls::load).transpose().map_err(StartError::Tls)?.map(Arc::new);
            let bound = bind(address, inherited.take(address))
                .map_err(|source| StartError::Bind { address, source })?;
            listen.push(bound.0);
            sockets.push(Socket { listener: bound.1, tls });
        }
        let admin_failed = |source| StartError::Bind { address: proxy.admin, source };
        let (admin_address, admin) =
            bind(proxy.admin, inherited.take_admin(proxy.admin)).map_err(admin_failed)?;
        let heritage = heritage(proxy, &sockets, &admin).map_err(admin_failed)?;
        let succession = Succession { predecessor, heritage };
        let admin = TcpListener::from_std(admin).map_err(admin_failed)?;
        let state_failed = |error: StateFileError| StartError::StateFile(Box::new(error));
        let path = proxy.state_file.as_deref();
        let intents = path.map(Intents::read).transpose().map_err(state_failed)?.flatten();
        let drained = Arc::new(Notify::new());
        let (created, created_receiver) = mpsc::unbounded_channel();
        let mut registry = Registry::new(Arc::clone(&drained), created);
        let plan = Plan::compile(options.config.clone(), None, |name| registry.get(name));
        let plan = Arc::new(plan.map_err(|error| StartError::Config(Box::new(error)))?);
        let credentials = credentials::read_all(&options.config)
            .map_err(|error| StartError::Certificates(Box::new(error)))?;
        plan.set_credentials(&credentials);
        let shared = Arc::new(Shared::new(first_snapshot(&plan), drained));
        if let Some(path) = &options.config.proxy.operations.access_log.file {
            let failed = |source| StartError::AccessLog { path: path.clone(), source };
            let file = LogFile::open(path.clone()).map_err(failed)?;
            shared.access_log.get_or_init(|| file);
        }
        let (reload, reload_asked) = ReloadHandle::new();
        Ok(Self {
            options,
            listen,
            sockets,
            admin,
            admin_address,
            shared,
            registry,
            created: created_receiver,
            intents,
            reload,
            reload_asked,
            succession,
        })
    }

    /// Where downstreams connect, those with TLS last; as configured, with the ports the system chose for 0.
    #[must_use]
    pub fn listen(&self) -> &[SocketAddr] {
        &self.listen
    }

    /// Where health, figures and states are served.
    #[must_use]
    pub const fn admin(&self) -> SocketAddr {
        self.admin_address
    }

    /// Asks this proxy to read its configuration again, for as long as it runs.
    #[must_use]
    pub fn reload_handle(&self) -> ReloadHandle {
        self.reload.clone()
    }

    /// Serves until `stop` is cancelled or another process has taken over, then ends within
    /// `lame_duck + drain`.
    ///
    /// # Errors
    /// When the admin server fails.
    pub async fn run(self, stop: CancellationToken) -> Result<(), RunError> {
        let tasks = TaskTracker::new();
        // Tasks outlive the request to stop: held writes must still be released while draining.
        let end = CancellationToken::new();
        let _end_tasks = end.clone().drop_guard();
        let (shared, options) = (Arc::clone(&self.shared), self.options.clone());
        let admin_end = end.child_token();
        let admin = admin::serve(self.admin, Arc::clone(&shared), admin_end.clone());
        let mut admin = tokio::spawn(admin);
        let patience = match (&options.config.control, &self.intents) {
            (None, _) => Duration::ZERO,
            (Some(_), None) => INFORMED_MAX,
            (Some(_), Some(_)) => INFORMED_AGAIN_MAX,
        };
        let parts = Parts { shared: Arc::clone(&shared), tasks: tasks.clone(), end: end.clone() };
        let updates = parts.keep(self.registry, self.intents, &options.config);
        parts.link(&options, &self.listen, updates.clone());
        parts.attend(self.created, options.config.cdc.grpc, options.config.control.is_some());
        let reloader =
            Reloader { path: options.config_path.clone(), shared: Arc::clone(&shared), updates };
        tasks.spawn(reloader.run(self.reload_asked, end.clone()));
        wait_informed(&shared, patience, &stop).await;
        for tls in self.sockets.iter().filter_map(|socket| socket.tls.clone()) {
            tasks.spawn(tls.keep_current(end.clone()));
        }
        let front = Front::start(&shared, self.sockets).map_err(RunError::Listen)?;
        shared.set_ready(true);
        service_manager::tell_ready();
        tracing::info!(listen = ?self.listen, admin = %self.admin_address, "proxy ready");
        let (mut failed, mut has_successor) = (None, false);
        tokio::select! {
            () = stop.cancelled() => {}
            ended = &mut admin => failed = Some(ended),
            () = self.succession.pass_on() => has_successor = true,
        }
        shared.set_ready(false);
        shared.set_lame();
        if has_successor {
            tracing::info!("another process took the sockets over; draining");
            admin_end.cancel();
        } else {
            tokio::time::sleep(options.lame_duck).await;
        }
        front.stop(options.lame_duck, options.drain).await;
        end.cancel();
        tasks.close();
        tasks.wait().await;
        match failed {
            None => admin.await,
            Some(ended) => ended,
        }
        .unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
        .map_err(RunError::Admin)
    }
}

/// The name of this machine, for people; empty where it cannot be read.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// The sockets of the proxy that runs, if that is wanted and one runs.
async fn inherit(options: &Options) -> Result<(Sockets, Option<Predecessor>), StartError> {
    let nothing = || Sockets { listen: Vec::new(), admin: None };
    if !options.take_over {
        return Ok((nothing(), None));
    }
    let path = options.config.proxy.operations.handover.clone().ok_or(StartError::NoHandover)?;
    let asked = path.clone();
    let taken = tokio::task::spawn_blocking(move || handover::take_over(&asked)).await;
    match taken.unwrap_or_else(|panicked| Err(io::Error::other(panicked))) {
        Ok(Some((sockets, predecessor))) => Ok((sockets, Some(predecessor))),
        Ok(None) => Ok((nothing(), None)),
        Err(source) => Err(StartError::Handover { path, source }),
    }
}

/// What the next process is given.
fn heritage(
    proxy: &routes::ProxyConfig,
    sockets: &[Socket],
    admin: &StdListener,
) -> io::Result<Option<(PathBuf, Sockets)>> {
    let Some(path) = proxy.operations.handover.clone() else { return Ok(None) };
    let configured = proxy.listen.iter().copied().chain(proxy.tls.iter().map(|tls| tls.listen));
    let listen = configured
        .zip(sockets)
        .map(|(address, socket)| Ok((address, socket.listener.try_clone()?)))
        .collect::<io::Result<_>>()?;
    let admin = Some((proxy.admin, admin.try_clone()?));
    Ok(Some((path, Sockets { listen, admin })))
}

async fn wait_informed(shared: &Shared, patience: Duration, stop: &CancellationToken) {
    if patience.is_zero() {
        return;
    }
    let mut informed = shared.informed.subscribe();
    tokio::select! {
        () = stop.cancelled() => {}
        outcome = timeout(patience, informed.wait_for(|informed| *informed)) => {
            if outcome.is_err() {
                tracing::warn!("control was not heard yet: starting with what is known");
            }
        }
    }
}

/// Starts tasks.
struct Parts {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    end: CancellationToken,
}

impl Parts {
    fn keep(
        &self,
        registry: Registry,
        intents: Option<Intents>,
        config: &Config,
    ) -> mpsc::Sender<Update> {
        let (updates, receiver) = mpsc::channel(UPDATES_MAX);
        let (saved, changed) = watch::channel(Intents::default());
        let intents = intents.unwrap_or_default();
        let keeper = Keeper::new(Arc::clone(&self.shared), registry, intents, saved);
        self.tasks.spawn(keeper.run(receiver, self.end.clone()));
        if let Some(path) = config.proxy.state_file.clone() {
            self.tasks.spawn(save_changes(path, changed));
        }
        updates
    }

    fn link(&self, options: &Options, listen: &[SocketAddr], updates: mpsc::Sender<Update>) {
        let (shared, end) = (|| Arc::clone(&self.shared), || self.end.clone());
        self.tasks.spawn(control_link::keep_figures(shared(), end()));
        self.tasks.spawn(credentials::keep(shared(), end()));
        self.tasks.spawn(pressure::watch_memory(shared(), end()));
        self.tasks.spawn(health::run(shared(), shadow::client(), end()));
        self.tasks.spawn(policy::jwks::run(shared(), end()));
        let Some(control) = &options.config.control else { return };
        let cdc = options.config.cdc.grpc;
        self.tasks.spawn(replicator_link::watch_guards(cdc, updates.clone(), end()));
        let identity = Identity {
            proxy_id: format!("{:016x}", rand::random::<u64>()),
            version: options.version.clone(),
            addresses: listen.iter().map(ToString::to_string).collect(),
            host: host_name(),
        };
        self.tasks.spawn(control_link::run(control.grpc, identity, shared(), updates, end()));
    }

    /// Starts the tasks of every capability, now or when a reload brings it.
    fn attend(
        &self,
        mut created: mpsc::UnboundedReceiver<Arc<Live>>,
        cdc: SocketAddr,
        has_control: bool,
    ) {
        let (tasks, end) = (self.tasks.clone(), self.end.clone());
        self.tasks.spawn(async move {
            loop {
                let live = tokio::select! {
                    () = end.cancelled() => return,
                    live = created.recv() => live,
                };
                let Some(live) = live else { return };
                if has_control {
                    tasks.spawn(replicator_link::ask_barriers(cdc, live, end.clone()));
                }
            }
        });
    }
}

/// Saves every new route table, the latest one when several came meanwhile. Ends when the keeper does.
async fn save_changes(path: PathBuf, mut changed: watch::Receiver<Intents>) {
    while changed.changed().await.is_ok() {
        let (intents, path) = (changed.borrow_and_update().clone(), path.clone());
        let saved = tokio::task::spawn_blocking(move || intents.write(&path)).await;
        if let Ok(Err(error)) = saved {
            tracing::error!(error = %Chain(&error), "could not save the route table");
        }
    }
}

/// A socket on `address`: the inherited one, or a new one.
fn bind(
    address: SocketAddr,
    inherited: Option<StdListener>,
) -> io::Result<(SocketAddr, StdListener)> {
    let listener = inherited.map_or_else(|| StdListener::bind(address), Ok)?;
    listener.set_nonblocking(true)?;
    Ok((listener.local_addr()?, listener))
}
