//! Tells systemd that this process serves, and that it is the main one from now on: a process that took
//! over has another number than the one systemd started.

use std::{
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

/// Where systemd wants to be told, for a unit of `Type=notify`.
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// Says that this process is ready, to whoever wants to know.
pub(crate) fn tell_ready() {
    let Some(address) = std::env::var_os(NOTIFY_SOCKET) else { return };
    let message = format!("READY=1\nMAINPID={}\n", std::process::id());
    if let Err(error) = send(address.as_bytes(), message.as_bytes()) {
        tracing::warn!(%error, "could not tell the service manager");
    }
}

/// A path, or a name that begins with `@` and is in no file system.
fn send(address: &[u8], message: &[u8]) -> io::Result<()> {
    let address = match address.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(address))?,
    };
    UnixDatagram::unbound()?.send_to_addr(message, &address).map(|_sent| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_addresses_are_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let name = format!("ficus-test-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).expect("an address");
        let name = format!("@{name}");
        let cases = [
            (UnixDatagram::bind(&path), path.as_os_str().as_bytes()),
            (UnixDatagram::bind_addr(&abstract_name), name.as_bytes()),
        ];
        for (listener, address) in cases {
            let listener = listener.expect("a socket");
            send(address, b"READY=1").expect("somebody listens");
            let mut buffer = [0; 16];
            assert_eq!(listener.recv(&mut buffer).expect("a message"), 7);
            assert_eq!(&buffer[..7], b"READY=1");
        }
    }
}
