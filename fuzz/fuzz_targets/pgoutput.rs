//! The messages of the plugin: read or refused, and no value longer than the message. The first byte
//! chooses whether the message is inside a stream.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use pg::pgoutput::{DecodeContext, Message, Tuple, decode, peek_streamed};

fuzz_target!(|input: &[u8]| {
    let Some((&choice, message)) = input.split_first() else { return };
    let bytes = Bytes::copy_from_slice(message);
    let context = DecodeContext { in_stream: choice & 1 == 1 };
    let peeked = peek_streamed(&bytes);
    let Ok(decoded) = decode(bytes.clone(), context) else { return };
    assert!(peeked.is_ok() || !context.in_stream, "decoded, but not peeked");
    let row = |tuple: &Tuple| -> usize {
        tuple.values().filter_map(|value| value.bytes()).map(<[u8]>::len).sum()
    };
    let content = match &decoded.message {
        Message::Insert(insert) => row(&insert.new),
        Message::Update(update) => {
            row(&update.new) + update.old.as_ref().map_or(0, |old| row(&old.tuple))
        }
        Message::Delete(delete) => row(&delete.old.tuple),
        Message::Logical(logical) => logical.content.len(),
        _ => 0,
    };
    assert!(content <= bytes.len(), "more than was sent");
    // a log line of a message shows no row, and must not panic either
    assert!(!format!("{:?}", decoded.message).is_empty());
});
