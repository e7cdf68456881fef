//! From connection settings to an open socket.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};

use bytes::BytesMut;
use pg_connect::{Settings, SslMode, Tls, TlsError};
use postgres_protocol::message::frontend;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream, UnixStream},
    time::Instant,
};
use tokio_postgres::{
    Config,
    config::{Host, SslNegotiation},
};

use super::{Pace, WireError, calm::CalmTcp};

const PORT: u16 = 5432;
/// What an Ethernet with jumbo frames (9,000 bytes) carries in one segment.
const SEGMENT_MAX_BYTES: u32 = 8_960;
/// The server's answer to an SSLRequest: it goes on with a TLS handshake.
const YES: u8 = b'S';
/// It goes on in plain text.
const NO: u8 = b'N';

/// Any kind of socket.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Socket for S {}

/// An open socket.
pub(super) struct Opened {
    pub(super) socket: Box<dyn Socket>,
    pub(super) channel: Channel,
    /// How eagerly the socket is read.
    pub(super) pace: Pace,
}

/// What a login can be bound to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Channel {
    Plain,
    /// With `tls-server-end-point`, unless the server's certificate is of a kind without it.
    Encrypted(Option<Vec<u8>>),
}

/// A connection with a server, and how long it took to answer: one round trip.
struct Reached {
    tcp: TcpStream,
    round_trip: Duration,
}

/// One way to the server.
struct Address<'a> {
    to: To<'a>,
    port: u16,
    /// The name that the server's certificate is for.
    name: &'a str,
}

#[derive(Clone, Copy)]
enum To<'a> {
    Name(&'a str),
    Ip(IpAddr),
    Directory(&'a Path),
}

/// Connects to the first host of the settings that answers.
pub(super) async fn open(settings: &Settings) -> Result<Opened, WireError> {
    let tls = match settings.tls().mode {
        SslMode::Disable => None,
        SslMode::Prefer | SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => {
            Some(Tls::load(settings.tls()).await?)
        }
    };
    let mut failed = WireError::settings("no host is given, give host or hostaddr");
    for address in addresses(settings.config())? {
        match open_one(&address, settings, tls.as_ref()).await {
            Ok(opened) => return Ok(opened),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// As libpq: where there are addresses, names are not resolved.
fn addresses(config: &Config) -> Result<Vec<Address<'_>>, WireError> {
    let (hosts, ips) = (config.get_hosts(), config.get_hostaddrs());
    if !ips.is_empty() && hosts.len() != ips.len() {
        return Err(WireError::settings("give one hostaddr for each host"));
    }
    let ports = config.get_ports();
    if ports.len() > 1 && ports.len() != hosts.len() {
        return Err(WireError::settings("give one port, or one for each host"));
    }
    let mut found = Vec::new();
    for (index, host) in hosts.iter().enumerate() {
        let (name, to) = match host {
            Host::Tcp(name) => (name.as_str(), To::Name(name)),
            Host::Unix(directory) => ("", To::Directory(directory)),
        };
        let to = ips.get(index).copied().map_or(to, To::Ip);
        let port = ports.get(index).or_else(|| ports.first()).copied().unwrap_or(PORT);
        found.push(Address { to, port, name });
    }
    Ok(found)
}

async fn open_one(
    address: &Address<'_>,
    settings: &Settings,
    tls: Option<&Tls>,
) -> Result<Opened, WireError> {
    let reach = |source| WireError::Connect { address: address.text(), source };
    if let To::Directory(_) = address.to {
        // as libpq: there is no wire to listen on
        let socket = UnixStream::connect(address.text()).await.map_err(reach)?;
        return Ok(Opened::plain(socket));
    }
    let tcp = address.connect(settings.config()).await.map_err(reach)?;
    let Some(tls) = tls else { return Ok(Opened::calm(tcp)) };
    let is_preferred = settings.tls().mode == SslMode::Prefer;
    let is_direct = settings.config().get_ssl_negotiation() == SslNegotiation::Direct;
    match encrypt(tcp, tls, address.name, is_direct).await {
        Ok(Ok(opened)) => Ok(opened),
        Ok(Err(plain)) if is_preferred => Ok(Opened::calm(plain)),
        Ok(Err(_plain)) => Err(TlsError::NotOffered.into()),
        // As libpq: whom plain text is good enough for is not turned away by a bad certificate.
        Err(WireError::Tls(_)) if is_preferred => {
            Ok(Opened::calm(address.connect(settings.config()).await.map_err(reach)?))
        }
        Err(error) => Err(error),
    }
}

/// Connects to the first address that answers.
async fn reach(addresses: impl IntoIterator<Item = SocketAddr>) -> io::Result<Reached> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        let asked = Instant::now();
        match small_segments(address)?.connect(address).await {
            Ok(tcp) => {
                // Within one machine, what was waited for was a processor.
                let is_here = tcp.local_addr()?.ip() == address.ip();
                let round_trip = if is_here { Duration::ZERO } else { asked.elapsed() };
                return Ok(Reached { tcp, round_trip });
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// The loopback device takes segments of 64 KiB. A sender waits for a timer, and not for the receiver, when
/// a segment does not fit into the window that a narrowed socket offers (see [`super::calm`]); so it may
/// make none that is longer than the longest of a real network.
fn small_segments(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    SockRef::from(&socket).set_tcp_mss(SEGMENT_MAX_BYTES)?;
    Ok(socket)
}

/// The plain socket comes back when the server does not offer TLS.
async fn encrypt(
    reached: Reached,
    tls: &Tls,
    name: &str,
    is_direct: bool,
) -> Result<Result<Opened, Reached>, WireError> {
    let Reached { mut tcp, round_trip } = reached;
    if !is_direct {
        let mut request = BytesMut::new();
        frontend::ssl_request(&mut request);
        tcp.write_all(&request).await.map_err(WireError::Io)?;
        // Exactly one byte: what somebody may have slipped in behind it must not be taken for
        // something that came encrypted.
        match tcp.read_u8().await.map_err(WireError::Io)? {
            YES => {}
            NO => return Ok(Err(Reached { tcp, round_trip })),
            _ => return Err(WireError::protocol("its answer to the request for TLS is no answer")),
        }
    }
    let pace = Pace::default();
    let stream = tls.handshake(name, CalmTcp::new(tcp, pace.clone(), round_trip)).await?;
    let channel = Channel::Encrypted(stream.server_end_point().map(<[u8]>::to_vec));
    Ok(Ok(Opened { socket: Box::new(stream), channel, pace }))
}

impl Opened {
    pub(super) fn plain(socket: impl Socket + 'static) -> Self {
        Self { socket: Box::new(socket), channel: Channel::Plain, pace: Pace::default() }
    }

    fn calm(reached: Reached) -> Self {
        let pace = Pace::default();
        let socket = CalmTcp::new(reached.tcp, pace.clone(), reached.round_trip);
        Self { socket: Box::new(socket), channel: Channel::Plain, pace }
    }
}

impl Address<'_> {
    async fn connect(&self, config: &Config) -> io::Result<Reached> {
        let reached = match self.to {
            To::Name(name) => reach(tokio::net::lookup_host((name, self.port)).await?).await?,
            To::Ip(ip) => reach([SocketAddr::new(ip, self.port)]).await?,
            To::Directory(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        let tcp = &reached.tcp;
        tcp.set_nodelay(true)?;
        let socket = SockRef::from(tcp);
        if config.get_keepalives() {
            let mut keepalive = TcpKeepalive::new().with_time(config.get_keepalives_idle());
            if let Some(interval) = config.get_keepalives_interval() {
                keepalive = keepalive.with_interval(interval);
            }
            if let Some(retries) = config.get_keepalives_retries() {
                keepalive = keepalive.with_retries(retries);
            }
            socket.set_tcp_keepalive(&keepalive)?;
        }
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(config.get_tcp_user_timeout().copied())?;
        Ok(reached)
    }

    fn text(&self) -> String {
        let port = self.port;
        match self.to {
            To::Name(name) => format!("{name}:{port}"),
            To::Ip(ip) => format!("{ip}:{port}"),
            To::Directory(directory) => format!("{}/.s.PGSQL.{port}", directory.display()),
        }
    }
}
