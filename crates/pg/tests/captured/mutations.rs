//! Messages of a real server with changed, missing, added and mixed bytes: read or refused, never a
//! panic, never more than was there. The short form of the targets in `fuzz/`.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use pg::{
    pgoutput::{DecodeContext, Message, Tuple, TupleValue, decode, peek_streamed},
    replication::ReplicationMessage,
};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use crate::source::{captures, decode_all};

const MUTATIONS: u32 = 200_000;
/// The same in every run; a failure names the number of its mutation.
const SEED: u64 = 4711;
/// Messages longer than this differ from shorter ones in nothing but the length of a value.
const LENGTH_MAX: usize = 4_000;
/// Of each kind, every way to cut it is tried for so many messages of a capture.
const EACH_MAX: u32 = 30;

#[tokio::test]
async fn mutated_messages_are_read_or_refused_and_never_more_than_was_sent() -> anyhow::Result<()> {
    let captures = captures().await?;
    let seeds: BTreeSet<&[u8]> = captures
        .iter()
        .flat_map(|capture| capture.messages.iter().map(Vec::as_slice))
        .filter(|message| message.len() <= LENGTH_MAX)
        .collect();
    let seeds: Vec<_> = seeds.into_iter().collect();
    let mut random = StdRng::seed_from_u64(SEED);
    let mut read = 0;
    for number in 0..MUTATIONS {
        let bytes = Bytes::from(mutated(&seeds, &mut random));
        let survived = std::panic::catch_unwind(|| check(&bytes));
        read += survived.unwrap_or_else(|_| panic!("mutation {number}: {bytes:02x?}"));
    }
    assert!(read > MUTATIONS / 20, "only {read} were still messages: the mutations are too wild");
    Ok(())
}

#[tokio::test]
async fn a_message_that_is_cut_short_or_has_a_tail_is_refused() -> anyhow::Result<()> {
    for capture in captures().await? {
        let decoded = decode_all(&capture.messages)?;
        let mut seen: HashMap<_, u32> = HashMap::new();
        for (bytes, (context, decoded)) in capture.messages.iter().zip(decoded) {
            let seen = seen.entry(decoded.message.kind()).or_default();
            *seen += 1;
            // Without its position, an abort of version 4 is one of version 2.
            let is_abort = matches!(decoded.message, Message::StreamAbort(_));
            if bytes.len() > LENGTH_MAX || is_abort || *seen > EACH_MAX {
                continue;
            }
            let bytes = Bytes::from(bytes.clone());
            for end in 0..bytes.len() {
                assert!(decode(bytes.slice(..end), context).is_err(), "{end} of {bytes:02x?}");
            }
            let longer = Bytes::from([&bytes[..], &[0]].concat());
            assert!(decode(longer, context).is_err(), "a byte behind {bytes:02x?}");
        }
    }
    Ok(())
}

/// Answers how often it was still a message.
fn check(bytes: &Bytes) -> u32 {
    let mut read = 0;
    for in_stream in [false, true] {
        if let Ok(decoded) = decode(bytes.clone(), DecodeContext { in_stream }) {
            assert!(content_bytes(&decoded.message) <= bytes.len());
            read += 1;
        }
    }
    drop(peek_streamed(bytes));
    if let Ok(ReplicationMessage::XLogData(frame)) = ReplicationMessage::decode(bytes.clone()) {
        assert!(frame.data.len() < bytes.len());
    }
    read
}

fn mutated(seeds: &[&[u8]], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = seeds.choose(random).expect("a server that sent something").to_vec();
    for _ in 0..random.random_range(1..=4) {
        let place = random.random_range(0..=bytes.len());
        match random.random_range(0..6) {
            0 => bytes.truncate(place),
            1 => bytes.insert(place, random.random()),
            2 => {
                let other = seeds.choose(random).expect("a server that sent something");
                bytes.truncate(place);
                bytes.extend_from_slice(other.get(place..).unwrap_or_default());
            }
            // Lengths and counts at their edges.
            3 => {
                let edge = [0, 1, -1, i32::MAX, i32::MIN].choose(random).expect("five edges");
                let end = bytes.len().min(place + size_of::<i32>());
                bytes.splice(place..end, edge.to_be_bytes());
            }
            _ => {
                if let Some(byte) = bytes.get_mut(place) {
                    *byte = random.random();
                }
            }
        }
    }
    bytes
}

fn content_bytes(message: &Message) -> usize {
    let row = |tuple: &Tuple| -> usize {
        tuple.values().filter_map(TupleValue::bytes).map(<[u8]>::len).sum()
    };
    if let Message::Insert(insert) = message {
        row(&insert.new)
    } else if let Message::Update(update) = message {
        row(&update.new) + update.old.as_ref().map_or(0, |old| row(&old.tuple))
    } else if let Message::Delete(delete) = message {
        row(&delete.old.tuple)
    } else if let Message::Logical(logical) = message {
        logical.content.len()
    } else {
        0
    }
}
