//! What holds for every input: no panic, no misreading of a prefix, a message cut short is an error.

use bytes::Bytes;
use pg::{
    pgoutput::{DecodeContext, Message, TupleValue, decode},
    replication::ReplicationMessage,
};
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};

use crate::build::Build;

#[derive(Debug, Clone)]
enum Value {
    Null,
    Unsent,
    Text(Vec<u8>),
    Binary(Vec<u8>),
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(Value::Unsent),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Text),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Binary),
    ]
}

fn with_tuple(bytes: Build, values: &[Value]) -> Build {
    let bytes = bytes.u16(u16::try_from(values.len()).expect("few values"));
    values.iter().fold(bytes, |bytes, value| match value {
        Value::Null => bytes.u8(b'n'),
        Value::Unsent => bytes.u8(b'u'),
        Value::Text(text) => bytes.u8(b't').sized(text),
        Value::Binary(binary) => bytes.u8(b'b').sized(binary),
    })
}

/// A valid message of nearly every kind.
fn valid() -> impl Strategy<Value = Bytes> {
    let values = || prop::collection::vec(value(), 0..8);
    let name = || "[^\0]{0,12}";
    let number = any::<u64>;
    prop_oneof![
        number().prop_map(|lsn| Build::tag(b'B').u64(lsn).i64(1).u32(2)),
        number().prop_map(|lsn| Build::tag(b'C').u8(0).u64(lsn).u64(lsn).i64(1)),
        (number(), name()).prop_map(|(lsn, name)| Build::tag(b'O').u64(lsn).text(&name)),
        (name(), prop::collection::vec(name(), 0..6)).prop_map(|(table, columns)| {
            let bytes = Build::tag(b'R').u32(1).text("public").text(&table).u8(b'f');
            let bytes = bytes.u16(u16::try_from(columns.len()).expect("few columns"));
            columns.iter().fold(bytes, |b, name| b.u8(1).text(name).u32(25).i32(-1))
        }),
        values().prop_map(|new| with_tuple(Build::tag(b'I').u32(1).u8(b'N'), &new)),
        (values(), values()).prop_map(|(old, new)| {
            let bytes = with_tuple(Build::tag(b'U').u32(1).u8(b'O'), &old);
            with_tuple(bytes.u8(b'N'), &new)
        }),
        values().prop_map(|old| with_tuple(Build::tag(b'D').u32(1).u8(b'K'), &old)),
        prop::collection::vec(any::<u32>(), 0..6).prop_map(|relations| {
            let bytes =
                Build::tag(b'T').u32(u32::try_from(relations.len()).expect("few relations")).u8(3);
            relations.iter().fold(bytes, |bytes, &oid| bytes.u32(oid))
        }),
        (name(), prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(prefix, content)| {
            Build::tag(b'M').u8(1).u64(1).text(&prefix).sized(&content)
        }),
        number().prop_map(|lsn| Build::tag(b'p').u8(0).u64(lsn).u64(lsn).i64(1).u32(2).text("g")),
    ]
    .prop_map(Build::bytes)
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoders_panic_or_invent_contents(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        in_stream in any::<bool>(),
    ) {
        let bytes = Bytes::from(bytes);
        let total = bytes.len();
        if let Ok(decoded) = decode(bytes.clone(), DecodeContext { in_stream }) {
            assert!(value_bytes(&decoded.message) < total);
        }
        if let Ok(ReplicationMessage::XLogData(frame)) = ReplicationMessage::decode(bytes) {
            assert_eq!(frame.data.len() + 25, total);
        }
    }

    #[test]
    fn a_valid_message_with_bytes_changed_is_read_or_refused_but_never_panics(
        bytes in valid(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        in_stream in any::<bool>(),
    ) {
        let mut bytes = bytes.to_vec();
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        let total = bytes.len();
        if let Ok(decoded) = decode(bytes.into(), DecodeContext { in_stream }) {
            assert!(value_bytes(&decoded.message) <= total);
        }
    }

    #[test]
    fn a_valid_message_is_read_and_each_shorter_or_longer_one_is_refused(bytes in valid()) {
        let context = DecodeContext::default();
        assert!(decode(bytes.clone(), context).is_ok());
        for end in 0..bytes.len() {
            assert!(decode(bytes.slice(..end), context).is_err(), "cut at {end}");
        }
        let longer = Bytes::from([&bytes[..], &[0]].concat());
        assert!(decode(longer, context).is_err());
    }

    #[test]
    fn the_values_of_a_row_arrive_as_they_were_sent(sent in prop::collection::vec(value(), 0..20)) {
        let bytes = with_tuple(Build::tag(b'I').u32(1).u8(b'N'), &sent).bytes();
        let Ok(Message::Insert(insert)) = decode(bytes, DecodeContext::default()).map(|d| d.message)
        else { panic!("no insert") };
        assert_eq!(insert.new.len(), sent.len());
        for (received, sent) in insert.new.values().zip(&sent) {
            let expected = match sent {
                Value::Null => TupleValue::Null,
                Value::Unsent => TupleValue::UnchangedToast,
                Value::Text(text) => TupleValue::Text(text),
                Value::Binary(binary) => TupleValue::Binary(binary),
            };
            assert_eq!(received, expected);
        }
    }
}

fn value_bytes(message: &Message) -> usize {
    if let Message::Insert(insert) = message {
        insert.new.values().filter_map(TupleValue::bytes).map(<[u8]>::len).sum()
    } else if let Message::Logical(logical) = message {
        logical.content.len()
    } else {
        0
    }
}
