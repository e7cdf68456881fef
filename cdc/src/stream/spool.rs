//! Transactions that come before they have committed: their messages are kept as they are, on disk
//! beyond a little memory, until the source says how each ended.

use std::collections::{HashMap, HashSet};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt},
};

/// Messages of one transaction in memory, in bytes; also what is written or read at once.
const MEMORY_MAX: usize = 1024 * 1024;
/// In front of each message: its length and the xid of its (sub)transaction.
const HEAD: usize = 8;

/// All unfinished transactions of a stream, by the xid of the top-level transaction.
#[derive(Debug, Default)]
pub(super) struct Spools {
    open: HashMap<u32, Spool>,
    /// The transaction of which a piece is arriving.
    current: Option<u32>,
}

/// The messages of one unfinished transaction.
#[derive(Debug, Default)]
pub(super) struct Spool {
    memory: BytesMut,
    /// What came before that in memory; the file has no name and vanishes with its handle.
    file: Option<File>,
    /// Subtransactions that were rolled back.
    aborted: HashSet<u32>,
}

/// Gives the messages back in their order, without those that were rolled back.
#[derive(Debug)]
pub(super) struct Replay {
    file: Option<File>,
    memory: BytesMut,
    /// What was read from the file and not given back.
    read: BytesMut,
    aborted: HashSet<u32>,
}

impl Spools {
    pub(super) fn start(&mut self, xid: u32) {
        self.current = Some(xid);
        self.open.entry(xid).or_default();
    }

    pub(super) fn stop(&mut self) {
        self.current = None;
    }

    /// The transaction of which a piece is arriving.
    pub(super) const fn current(&self) -> Option<u32> {
        self.current
    }

    /// Keeps a message of the current piece; answers the bytes that went to disk for it.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub(super) async fn keep(&mut self, xid: u32, message: &Bytes) -> std::io::Result<usize> {
        let top = self.current.unwrap_or(xid);
        self.open.entry(top).or_default().keep(xid, message).await
    }

    /// The transaction, or one of its subtransactions, was rolled back.
    pub(super) fn abort(&mut self, top: u32, xid: u32) {
        if top == xid {
            self.open.remove(&top);
        } else if let Some(spool) = self.open.get_mut(&top) {
            spool.aborted.insert(xid);
        }
    }

    /// The transaction has committed; its messages, none when nothing of it was streamed.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) async fn commit(&mut self, xid: u32) -> std::io::Result<Replay> {
        self.open.remove(&xid).unwrap_or_default().replay().await
    }
}

impl Spool {
    async fn keep(&mut self, xid: u32, message: &Bytes) -> std::io::Result<usize> {
        let length = u32::try_from(message.len()).map_err(std::io::Error::other)?;
        self.memory.extend_from_slice(&length.to_be_bytes());
        self.memory.extend_from_slice(&xid.to_be_bytes());
        self.memory.extend_from_slice(message);
        if self.memory.len() < MEMORY_MAX {
            return Ok(0);
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(File::from_std(tempfile::tempfile()?)),
        };
        file.write_all(&self.memory).await?;
        let written = self.memory.len();
        self.memory.clear();
        Ok(written)
    }

    async fn replay(mut self) -> std::io::Result<Replay> {
        if let Some(file) = &mut self.file {
            file.flush().await?;
            file.rewind().await?;
        }
        let Self { memory, file, aborted } = self;
        Ok(Replay { file, memory, read: BytesMut::new(), aborted })
    }
}

impl Replay {
    /// The next message; `None` after the last one.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) async fn next(&mut self) -> std::io::Result<Option<Bytes>> {
        loop {
            if !self.has_whole_message() && !self.read_on().await? {
                return Ok(None);
            }
            if !self.has_whole_message() {
                continue;
            }
            let length = self.read.get_u32();
            let xid = self.read.get_u32();
            let message = self.read.split_to(usize::try_from(length).unwrap_or(usize::MAX));
            if !self.aborted.contains(&xid) {
                return Ok(Some(message.freeze()));
            }
        }
    }

    fn has_whole_message(&self) -> bool {
        let length = self.read.get(..size_of::<u32>()).and_then(|head| head.try_into().ok());
        let length = length.map(u32::from_be_bytes).and_then(|length| usize::try_from(length).ok());
        length.is_some_and(|length| self.read.len() >= HEAD + length)
    }

    /// Reads more, from the file first; `false` at the end.
    async fn read_on(&mut self) -> std::io::Result<bool> {
        if let Some(file) = &mut self.file {
            self.read.reserve(MEMORY_MAX);
            if file.read_buf(&mut self.read).await? > 0 {
                return Ok(true);
            }
            self.file = None;
        }
        let memory = std::mem::take(&mut self.memory);
        self.read.extend_from_slice(&memory);
        Ok(!memory.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: u32) -> Bytes {
        Bytes::from(format!("{number}:{}", "x".repeat(number as usize % 5_000)))
    }

    async fn replayed(spools: &mut Spools, xid: u32) -> std::io::Result<Vec<Bytes>> {
        let mut replay = spools.commit(xid).await?;
        let mut messages = Vec::new();
        while let Some(message) = replay.next().await? {
            messages.push(message);
        }
        Ok(messages)
    }

    #[tokio::test]
    async fn messages_come_back_in_order_from_disk_and_memory() -> std::io::Result<()> {
        let mut spools = Spools::default();
        let mut spilled = 0;
        spools.start(7);
        for number in 0..4_000 {
            spilled += spools.keep(7, &message(number)).await?;
        }
        spools.stop();
        assert!(spilled >= 2 * MEMORY_MAX, "{spilled}");
        let expected: Vec<Bytes> = (0..4_000).map(message).collect();
        assert_eq!(replayed(&mut spools, 7).await?, expected);
        assert!(replayed(&mut spools, 7).await?.is_empty(), "it was taken");
        Ok(())
    }

    #[tokio::test]
    async fn what_was_rolled_back_does_not_come_back() -> std::io::Result<()> {
        let mut spools = Spools::default();
        spools.start(7);
        for (xid, number) in [(7, 1), (8, 2), (9, 3), (7, 4)] {
            spools.keep(xid, &message(number)).await?;
        }
        spools.stop();
        spools.start(20);
        spools.keep(20, &message(5)).await?;
        spools.stop();
        spools.abort(7, 8);
        spools.abort(20, 20);
        assert_eq!(replayed(&mut spools, 7).await?, [message(1), message(3), message(4)]);
        assert!(replayed(&mut spools, 20).await?.is_empty());
        Ok(())
    }
}
