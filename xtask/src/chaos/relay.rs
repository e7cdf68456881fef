//! A TCP relay that can break what passes through it.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network {
    Whole,
    /// Connections break, new ones are closed at once.
    Cut,
    /// Bytes stay where they are.
    Stalled,
    /// Bytes to the server stay where they are.
    HalfOpen,
}

/// Listens on a port of its own and passes everything on to another one.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) port: u16,
    network: watch::Sender<Network>,
    task: JoinHandle<()>,
}

impl Relay {
    pub(super) async fn to(server: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let (network, watched) = watch::channel(Network::Whole);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *watched.borrow() != Network::Cut {
                    tokio::spawn(pass(client, server, watched.clone()));
                }
            }
        });
        Ok(Self { port, network, task })
    }

    pub(super) fn set(&self, network: Network) {
        self.network.send_replace(network);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(client: TcpStream, server: u16, network: watch::Receiver<Network>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pump(from_client, to_server, network.clone(), true) => {}
        () = pump(from_server, to_client, network, false) => {}
    }
}

/// Passes bytes on until one end closes or the network is cut: then half of what was read still goes out.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut network: watch::Receiver<Network>,
    to_server: bool,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = tokio::select! {
            read = from.read(&mut buffer) => match read {
                Ok(count) if count > 0 => count,
                Ok(_) | Err(_) => return,
            },
            cut = network.wait_for(|network| *network == Network::Cut) => return drop(cut),
        };
        let flows = |network: &Network| match network {
            Network::Whole | Network::Cut => true,
            Network::Stalled => false,
            Network::HalfOpen => !to_server,
        };
        let Ok(now) = network.wait_for(flows).await.map(|network| *network) else { return };
        let bytes = buffer.get(..count).unwrap_or_default();
        if now == Network::Cut {
            let half = bytes.get(..count / 2).unwrap_or_default();
            return drop(to.write_all(half).await);
        }
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}
