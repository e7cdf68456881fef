//! From connection settings to an open socket.

use std::{io, net::IpAddr, path::Path};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};
use tokio_postgres::{
    Config,
    config::{Host, SslMode},
};

use super::WireError;

const PORT: u16 = 5432;

/// Either kind of socket.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Socket for S {}

enum Address<'a> {
    Name(&'a str),
    Ip(IpAddr),
    Directory(&'a Path),
}

/// Connects to the first host of the settings that answers.
pub(super) async fn open(config: &Config) -> Result<Box<dyn Socket>, WireError> {
    if !matches!(config.get_ssl_mode(), SslMode::Disable | SslMode::Prefer) {
        return Err(WireError::TlsUnsupported);
    }
    let addresses = addresses(config);
    let ports = config.get_ports();
    if ports.len() > 1 && ports.len() != addresses.len() {
        return Err(WireError::settings("give one port, or one for each host"));
    }
    let mut failed = WireError::settings("no host is given, give host or hostaddr");
    for (index, address) in addresses.into_iter().enumerate() {
        let port = ports.get(index).or_else(|| ports.first()).copied().unwrap_or(PORT);
        match open_one(&address, port).await {
            Ok(socket) => return Ok(socket),
            Err(source) => failed = WireError::Connect { address: address.text(port), source },
        }
    }
    Err(failed)
}

/// As libpq: where there are addresses, names are not resolved.
fn addresses(config: &Config) -> Vec<Address<'_>> {
    if !config.get_hostaddrs().is_empty() {
        return config.get_hostaddrs().iter().copied().map(Address::Ip).collect();
    }
    let hosts = config.get_hosts().iter();
    hosts
        .map(|host| match host {
            Host::Tcp(name) => Address::Name(name),
            Host::Unix(directory) => Address::Directory(directory),
        })
        .collect()
}

async fn open_one(address: &Address<'_>, port: u16) -> io::Result<Box<dyn Socket>> {
    let tcp = match *address {
        Address::Name(name) => TcpStream::connect((name, port)).await?,
        Address::Ip(ip) => TcpStream::connect((ip, port)).await?,
        Address::Directory(directory) => {
            let path = directory.join(format!(".s.PGSQL.{port}"));
            return Ok(Box::new(UnixStream::connect(path).await?));
        }
    };
    tcp.set_nodelay(true)?;
    Ok(Box::new(tcp))
}

impl Address<'_> {
    fn text(&self, port: u16) -> String {
        match self {
            Self::Name(name) => format!("{name}:{port}"),
            Self::Ip(ip) => format!("{ip}:{port}"),
            Self::Directory(directory) => format!("{}/.s.PGSQL.{port}", directory.display()),
        }
    }
}
