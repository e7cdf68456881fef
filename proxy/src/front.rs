//! The listening side: accepts, counts, encrypts, and gives every request to the library's proxy.
//!
//! ```text
//! accept ─> a place? ─> TLS ─┬─ HTTP/2: the library's own loop ─┬─> Gateway
//!                            └─ HTTP/1: http1, head by head ────┘
//! ```
//! The sockets come from `server`, which binds them or takes them over from an older process; what is
//! accepted here is never given away again, so an upgrade needs nothing from this module but `stop`.

mod digest;
mod http1;
mod inbound;
mod line;
mod tally;
mod tls;

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener as StdListener},
    os::fd::AsRawFd,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use pingora::{
    apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp},
    protocols::{
        GetTimingDigest, SocketDigest,
        http::{ServerSession, v2::server::H2Options},
        l4::stream::Stream as PlainStream,
    },
    proxy::{HttpProxy, http_proxy},
    server::{ShutdownWatch, configuration::ServerConf},
};
use routes::Limits;
use telemetry::Chain;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};
use tokio_util::task::TaskTracker;

pub(crate) use line::{BodyError, Line};
pub use tls::TlsError;
pub(crate) use tls::{ClientCertificate, Tls};

use crate::{gateway::Gateway, metrics, shared::Shared};
use http1::Arrival;
use inbound::{Identity, Inbound};
use tally::{Place, Tally};

/// Attempts for one request in pingora's loop: the first, the most retries a file may ask for, the
/// fallback, and the refusals.
const ATTEMPTS_MAX: usize = 10;

/// How long no connection is accepted after the system had no room for one.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(50);

/// Most requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 100;
/// Windows of HTTP/2, in bytes: what one request, and all of a connection, may send ahead.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Streams a peer may reset before they were answered, until the connection is closed.
const RESETS_MAX: usize = 50;

/// A bound socket, and how it is encrypted.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) listener: StdListener,
    pub(crate) tls: Option<Arc<Tls>>,
}

/// Accepts until stopped.
pub(crate) struct Front {
    /// No more connections.
    closed: watch::Sender<bool>,
    /// No more requests, but those under way.
    shutdown: watch::Sender<bool>,
    http: Arc<HttpProxy<Gateway>>,
    accepting: TaskTracker,
    connections: TaskTracker,
}

/// What every accept loop needs.
struct Door {
    shared: Arc<Shared>,
    http: Arc<HttpProxy<Gateway>>,
    tally: Arc<Tally>,
    closed: watch::Receiver<bool>,
    shutdown: ShutdownWatch,
    connections: TaskTracker,
}

/// One connection's part in every request on it.
struct Connection {
    http: Arc<HttpProxy<Gateway>>,
    limits: Limits,
    peer: Option<IpAddr>,
    client: Option<Arc<ClientCertificate>>,
    shutdown: ShutdownWatch,
    options: HttpServerOptions,
}

impl Front {
    /// Accepts on these sockets.
    ///
    /// # Errors
    /// When the system refuses to wait for one of them.
    pub(crate) fn start(shared: &Arc<Shared>, sockets: Vec<Socket>) -> io::Result<Self> {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let conf = ServerConf { max_retries: ATTEMPTS_MAX, threads, ..ServerConf::default() };
        let mut http = http_proxy(&Arc::new(conf), Gateway::new(Arc::clone(shared)));
        http.h2_options = Some(http2_options());
        let http = Arc::new(http);
        let (shutdown, watched) = watch::channel(false);
        let (closed, is_closed) = watch::channel(false);
        let (accepting, connections) = (TaskTracker::new(), TaskTracker::new());
        let tally = Arc::new(Tally::default());
        for socket in sockets {
            let door = Door {
                shared: Arc::clone(shared),
                http: Arc::clone(&http),
                tally: Arc::clone(&tally),
                closed: is_closed.clone(),
                shutdown: watched.clone(),
                connections: connections.clone(),
            };
            socket.listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(socket.listener)?;
            accepting.spawn(Arc::new(door).accept(listener, socket.tls));
        }
        accepting.close();
        Ok(Self { closed, shutdown, http, accepting, connections })
    }

    /// Stops accepting, serves for `linger` what still comes on open connections (the answers close them:
    /// the proxy is lame), and waits for the requests that began. `drain` bounds all of it.
    pub(crate) async fn stop(self, linger: Duration, drain: Duration) {
        self.closed.send_replace(true);
        self.connections.close();
        let ended = async {
            self.accepting.wait().await;
            if timeout(linger, self.connections.wait()).await.is_ok() {
                return;
            }
            self.shutdown.send_replace(true);
            self.http.http_cleanup().await;
            self.connections.wait().await;
        };
        if timeout(drain, ended).await.is_err() {
            tracing::warn!(connections = self.connections.len(), "stopped with requests under way");
        }
    }
}

fn http2_options() -> H2Options {
    let mut options = H2Options::default();
    options
        .max_header_list_size(u32::try_from(http_rules::head::FIELD_BYTES_MAX).unwrap_or(u32::MAX))
        .max_concurrent_streams(STREAMS_MAX)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_reset_streams(RESETS_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(Some(RESETS_MAX));
    options
}

impl Door {
    async fn accept(self: Arc<Self>, listener: TcpListener, tls: Option<Arc<Tls>>) {
        let mut closed = self.closed.clone();
        loop {
            let accepted = tokio::select! {
                _ = closed.wait_for(|is_closed| *is_closed) => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let door = Arc::clone(&self);
                    self.connections.spawn(door.enter(stream, peer, tls.clone()));
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "cannot accept connections at the moment");
                    tokio::time::sleep(NO_ROOM_PAUSE).await;
                }
            }
        }
    }

    async fn enter(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, tls: Option<Arc<Tls>>) {
        let (limits, is_trusted) = {
            let snapshot = self.shared.snapshot.load();
            let proxy = &snapshot.plan.config.proxy;
            (proxy.limits, http_rules::forwarded::is_trusted(&proxy.trusted_proxies, peer.ip()))
        };
        let _place: Place = match self.tally.enter((!is_trusted).then_some(peer.ip()), &limits) {
            Ok(place) => place,
            Err(crowded) => {
                metrics::TURNED_AWAY.with_label_values(&[crowded.as_str()]).inc();
                return;
            }
        };
        let _open = metrics::Open::new();
        let opened = timeout(limits.head, open(stream, tls.as_deref())).await;
        let (inbound, client) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a connection did not come about");
                return;
            }
            Err(_) => return,
        };
        let connection = Connection {
            http: Arc::clone(&self.http),
            limits,
            peer: Some(peer.ip()),
            client,
            shutdown: self.shutdown.clone(),
            options: server_options(&limits),
        };
        drop(self);
        connection.run(inbound).await;
    }
}

fn server_options(limits: &Limits) -> HttpServerOptions {
    let mut options = HttpServerOptions::default();
    options.h2c = true;
    options.h2_idle_timeout = Some(limits.idle);
    options
}

/// Errors of the connection that was about to be accepted, not of the socket that accepts.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    [ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted].contains(&error.kind())
}

async fn open(
    stream: TcpStream,
    tls: Option<&Tls>,
) -> io::Result<(Inbound, Option<Arc<ClientCertificate>>)> {
    stream.set_nodelay(true)?;
    let id = stream.as_raw_fd();
    let socket = Arc::new(SocketDigest::from_raw_fd(id));
    let stream = PlainStream::from(stream);
    let timing = stream.get_timing_digest();
    let mut identity = Identity { socket, tls: None, is_http2: false, id, timing };
    let Some(tls) = tls else { return Ok((Inbound::new(Box::new(stream), identity), None)) };
    let encrypted = tls.acceptor().accept(stream).await?;
    let agreed = tls::Agreed::of(encrypted.get_ref().1)?;
    identity.tls = Some(agreed.digest);
    identity.is_http2 = agreed.is_http2;
    Ok((Inbound::new(Box::new(encrypted), identity), agreed.client))
}

impl Connection {
    async fn run(self, mut inbound: Inbound) {
        let connection = Arc::new(self);
        let mut first = None;
        if !inbound.is_http2() {
            match http1::arrival(&mut inbound, &connection, true).await {
                Arrival::Http2 => {}
                arrival @ (Arrival::Request(..) | Arrival::Nothing | Arrival::Refused(_)) => {
                    first = Some(arrival);
                }
            }
        }
        if first.is_some() {
            return http1::serve(inbound, connection, first).await;
        }
        inbound.open();
        let shutdown = connection.shutdown.clone();
        // It serves until the connection ends, and gives none back.
        drop(connection.process_new(Box::new(inbound), &shutdown).await);
    }

    async fn serve(&self, session: ServerSession, line: Arc<Line>) -> Option<ReusedHttpStream> {
        line.scope(self.http.process_new_http(session, &self.shutdown)).await
    }
}

#[async_trait]
impl HttpServerApp for Connection {
    /// Serves one request on HTTP/2; those on HTTP/1 come through [`http1`].
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        _shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        session.set_write_timeout(Some(self.limits.write));
        let line = Arc::new(Line::of(self.client.clone(), false));
        let has_body = !session.is_body_done();
        let served = self.serve(session, Arc::clone(&line));
        if !has_body {
            return served.await;
        }
        tokio::select! {
            served = served => served,
            () = line.stalled(&self.limits) => None,
        }
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.http.h2_options()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}
