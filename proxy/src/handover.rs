//! Gives the listening sockets to the process that takes over, so that no connection is refused or
//! reset while a new version starts. The sockets are shared, not rebound: what waits in their queues is
//! accepted by one of both.
//!
//! ```text
//! new ── connects to `proxy.handover` ──> old
//! new <── addresses, sockets ──────────── old      both accept from here on
//! new ── ready ────────────────────────-> old      the old one stops accepting and drains
//! ```
//!
//! A new process that dies or is slow before it is ready changes nothing: the old one goes on.

use std::{
    fs,
    io::{self, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            fs::{MetadataExt, PermissionsExt},
            net::UnixStream,
        },
    },
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use telemetry::Chain;
use tokio::net::UnixListener;

/// How long the other process may take for one step, except for becoming ready.
const STEP_MAX: Duration = Duration::from_secs(5);

/// How long a new process may take from its sockets to being ready.
const READY_MAX: Duration = Duration::from_secs(60);

/// Sockets of one proxy, the admin server's included.
const SOCKETS_MAX: usize = 64;

/// Longest letter.
const LETTER_MAX: usize = 16 * 1024;

/// What a new process says when it serves.
const READY: u8 = b'R';

/// Sockets that go from one process to the next, with the addresses of the configuration.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) listen: Vec<(SocketAddr, TcpListener)>,
    pub(crate) admin: Option<(SocketAddr, TcpListener)>,
}

/// The process that gave its sockets and still serves.
#[derive(Debug)]
pub(crate) struct Predecessor(UnixStream);

/// What a proxy inherits and what it will pass on.
#[derive(Debug, Default)]
pub(crate) struct Succession {
    pub(crate) predecessor: Option<Predecessor>,
    /// Where successors ask, and what they are given.
    pub(crate) heritage: Option<(PathBuf, Sockets)>,
}

/// Which socket is which, in their order; the admin server's is the last.
#[derive(Debug, Serialize, Deserialize)]
struct Letter {
    listen: Vec<SocketAddr>,
    admin: SocketAddr,
}

/// Where successors ask.
#[derive(Debug)]
pub(crate) struct Desk {
    listener: UnixListener,
    path: PathBuf,
    /// Of the socket file, to tell it from a successor's.
    inode: u64,
    /// Who may ask, besides root.
    user: u32,
}

impl Sockets {
    /// The socket that was configured with this address; each is given once.
    pub(crate) fn take(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let index = self.listen.iter().position(|(configured, _)| *configured == address)?;
        Some(self.listen.swap_remove(index).1)
    }

    /// The admin server's socket, when it was configured with this address.
    pub(crate) fn take_admin(&mut self, address: SocketAddr) -> Option<TcpListener> {
        self.admin.take_if(|(configured, _)| *configured == address).map(|(_, listener)| listener)
    }
}

/// Asks the process that listens at `path` for its sockets; `None` when there is none.
///
/// # Errors
/// When there is one and it does not give them.
pub(crate) fn take_over(path: &Path) -> io::Result<Option<(Sockets, Predecessor)>> {
    let mut stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(error) if is_nobody(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    stream.set_read_timeout(Some(STEP_MAX))?;
    stream.set_write_timeout(Some(STEP_MAX))?;
    let (text, sockets) = receive(&mut stream)?;
    let letter: Letter = serde_json::from_slice(&text)?;
    if sockets.len() != letter.listen.len() + 1 {
        return Err(io::Error::other(
            "the other process sent another number of sockets than it named",
        ));
    }
    let mut listeners = sockets.into_iter().map(TcpListener::from);
    let listen = letter.listen.into_iter().zip(listeners.by_ref()).collect();
    let admin = listeners.next().map(|listener| (letter.admin, listener));
    Ok(Some((Sockets { listen, admin }, Predecessor(stream))))
}

fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

impl Succession {
    /// Relieves the process before this one, and returns when one after it is ready; never when none
    /// can come. The sockets that are kept for it are closed with this future.
    pub(crate) async fn pass_on(self) {
        // First: the one before removes its desk as soon as it is relieved, if none is in its place.
        let opened = self.heritage.map(|(path, sockets)| (Desk::open(&path), path, sockets));
        if let Some(Err(error)) = self.predecessor.map(Predecessor::relieve) {
            tracing::warn!(%error, "the process before this one ended by itself");
        }
        match opened {
            None => std::future::pending::<()>().await,
            Some((Ok(desk), _, sockets)) => desk.relieved(&sockets).await,
            Some((Err(error), path, _)) => {
                let path = path.display();
                tracing::error!(%path, %error, "no process can take over; is the folder writable?");
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Predecessor {
    /// Says that this process serves; the other one stops accepting.
    ///
    /// # Errors
    /// When the other process is gone.
    pub(crate) fn relieve(mut self) -> io::Result<()> {
        self.0.write_all(&[READY])
    }
}

impl Desk {
    /// Listens at `path`, in place of whoever did before. Only this user and root may connect.
    ///
    /// # Errors
    /// When the socket cannot be made there.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}", std::process::id()));
        let made = PathBuf::from(name);
        match fs::remove_file(&made) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&made)?;
        fs::set_permissions(&made, fs::Permissions::from_mode(0o600))?;
        let metadata = fs::metadata(&made)?;
        fs::rename(&made, path)?;
        let path = path.to_owned();
        Ok(Self { listener, path, inode: metadata.ino(), user: metadata.uid() })
    }

    /// Serves successors until one is ready, and returns then.
    pub(crate) async fn relieved(&self, sockets: &Sockets) {
        loop {
            match self.serve_one(sockets).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "a process that wanted to take over did not; this one goes on");
                }
            }
        }
    }

    async fn serve_one(&self, sockets: &Sockets) -> io::Result<()> {
        let (stream, _) = self.listener.accept().await?;
        let asks = stream.peer_cred()?.uid();
        if asks != self.user && asks != 0 {
            return Err(io::Error::other(format!("user {asks} may not take the sockets")));
        }
        let stream = stream.into_std()?;
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(STEP_MAX))?;
        stream.set_read_timeout(Some(READY_MAX))?;
        let (letter, fds) = sockets.to_letter()?;
        tokio::task::spawn_blocking(move || give(stream, &letter, &fds))
            .await
            .map_err(io::Error::other)?
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let is_own = fs::metadata(&self.path).is_ok_and(|found| found.ino() == self.inode);
        if is_own && let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, "could not remove the handover socket");
        }
    }
}

impl Sockets {
    fn to_letter(&self) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
        let Some((admin, admin_listener)) = &self.admin else {
            return Err(io::Error::other("the admin server has no socket"));
        };
        let listen = self.listen.iter().map(|(address, _)| *address).collect();
        let mut text = serde_json::to_vec(&Letter { listen, admin: *admin })?;
        text.push(b'\n');
        let listeners = self.listen.iter().map(|(_, listener)| listener);
        let fds =
            listeners.chain([admin_listener]).map(|listener| listener.as_fd().try_clone_to_owned());
        Ok((text, fds.collect::<io::Result<_>>()?))
    }
}

/// Sends the sockets, and waits until the other process serves.
fn give(mut stream: UnixStream, text: &[u8], fds: &[OwnedFd]) -> io::Result<()> {
    let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
    if fds.len() > SOCKETS_MAX {
        return Err(io::Error::other(format!("more than {SOCKETS_MAX} sockets cannot be given")));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut message = SendAncillaryBuffer::new(&mut space);
    if !message.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::other("the sockets do not fit one message"));
    }
    let sent = sendmsg(&stream, &[IoSlice::new(text)], &mut message, SendFlags::NOSIGNAL)?;
    stream.write_all(text.get(sent..).unwrap_or_default())?;
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    if answer == [READY] {
        Ok(())
    } else {
        Err(io::Error::other("the answer is not of this protocol"))
    }
}

/// A line of text and the sockets that came with it.
fn receive(stream: &mut UnixStream) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let (mut text, mut sockets) = (Vec::new(), Vec::new());
    let mut buffer = [0; 4096];
    while text.last() != Some(&b'\n') {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let received = recvmsg(&*stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                sockets.extend(fds);
            }
        }
        let bytes = buffer.get(..received.bytes).unwrap_or_default();
        if bytes.is_empty() || text.len() + bytes.len() > LETTER_MAX {
            return Err(io::Error::other("the other process did not give its sockets"));
        }
        text.extend_from_slice(bytes);
    }
    Ok((text, sockets))
}

#[cfg(test)]
mod tests;
