//! A server that says what a fuzzer tells it to, for the targets that need a whole conversation.

use std::cell::RefCell;

use cdc::wire::{ReplicationClient, StartOptions, WireError};
use pg::Lsn;
use tokio::{io::AsyncWriteExt, runtime::Runtime};

/// More than any input, and than all that the client says meanwhile.
const PIPE_BYTES: usize = 1 << 20;

/// What a server says to let somebody in who is not asked for a password.
pub const LOGIN: &[u8] = b"R\0\0\0\x08\0\0\0\0S\0\0\0\x18server_version\x0016.3\0Z\0\0\0\x05I";

/// What it says when a stream begins.
pub const START: &[u8] = b"W\0\0\0\x07\0\0\0";

/// How far a client goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Log in, ask who the server is, make a slot, stream.
    AllCommands,
    /// Log in and stream.
    Stream,
}

/// Lets a client talk to a server that says these bytes, whatever it is asked, and then is silent
/// for ever.
pub fn converse(said: &[&[u8]], until: Until) {
    thread_local! {
        static RUNTIME: RefCell<Runtime> = RefCell::new(
            tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .expect("a runtime without threads needs nothing"),
        );
    }
    RUNTIME.with_borrow_mut(|runtime| {
        // how the conversation fails is the server's choice; that it ends is what is tested
        let _ended = runtime.block_on(talk(said, until)).is_err();
    });
}

async fn talk(said: &[&[u8]], until: Until) -> Result<(), WireError> {
    let (client, mut server) = tokio::io::duplex(PIPE_BYTES);
    for bytes in said {
        server.write_all(bytes).await.map_err(WireError::Io)?;
    }
    server.shutdown().await.map_err(WireError::Io)?;
    let settings = "postgres://role:password@server/database?sslmode=disable"
        .parse()
        .expect("the URL is well formed");
    let mut client = ReplicationClient::connect_over(client, &settings).await?;
    if until == Until::AllCommands {
        client.identify_system().await?;
        client.create_slot("slot", true).await?;
    }
    let mut stream = client.start("slot", Lsn::ZERO, StartOptions::new(["p"])).await?;
    loop {
        stream.next().await?;
    }
}
