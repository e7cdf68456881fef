//! The frames around the plugin's messages.

use bytes::{Bytes, BytesMut};
use pg::{
    DecodeError, Lsn,
    replication::{
        PrimaryKeepalive, ReplicationMessage, StandbyStatusUpdate, XLogData, postgres_time_us,
        unix_time_us,
    },
};

use crate::build::Build;

#[test]
fn log_data_carries_the_message_of_the_plugin_untouched() {
    let frame = Build::tag(b'w').u64(0x16_0000_0001).u64(0x16_0000_0002).i64(-5).raw(b"payload");
    assert_eq!(
        ReplicationMessage::decode(frame.bytes()),
        Ok(ReplicationMessage::XLogData(XLogData {
            wal_start: Lsn::new(0x16_0000_0001),
            wal_end: Lsn::new(0x16_0000_0002),
            server_time_us: -5,
            data: Bytes::from_static(b"payload"),
        }))
    );
}

#[test]
fn a_keepalive_tells_the_position_and_whether_an_answer_is_wanted() {
    for (byte, reply_requested) in [(0, false), (1, true)] {
        let frame = Build::tag(b'k').u64(77).i64(8).u8(byte);
        assert_eq!(
            ReplicationMessage::decode(frame.bytes()),
            Ok(ReplicationMessage::PrimaryKeepalive(PrimaryKeepalive {
                wal_end: Lsn::new(77),
                server_time_us: 8,
                reply_requested,
            }))
        );
    }
}

#[test]
fn a_frame_that_is_short_long_or_unknown_is_refused_with_the_field_that_failed() {
    let error = |bytes: Bytes| ReplicationMessage::decode(bytes).unwrap_err();
    assert_eq!(error(Bytes::new()), DecodeError::Truncated { field: "frame.tag" });
    let short = Build::tag(b'w').u64(1).u32(0).bytes();
    assert_eq!(error(short), DecodeError::Truncated { field: "xlog_data.wal_end" });
    let long = Build::tag(b'k').u64(77).i64(8).u8(0).u16(9).bytes();
    assert_eq!(error(long), DecodeError::TrailingBytes { bytes: 2 });
    let unknown = DecodeError::Unknown { field: "frame.tag", value: i64::from(b'x') };
    assert_eq!(error(Build::tag(b'x').bytes()), unknown);
    let flag = Build::tag(b'k').u64(77).i64(8).u8(2).bytes();
    let unknown = DecodeError::Unknown { field: "keepalive.reply_requested", value: 2 };
    assert_eq!(error(flag), unknown);
}

#[test]
fn a_status_update_has_the_thirty_four_bytes_that_the_server_expects() {
    let mut out = BytesMut::from(&b"before"[..]);
    let status = StandbyStatusUpdate {
        received: Lsn::new(3),
        flushed: Lsn::new(2),
        applied: Lsn::new(1),
        client_time_us: -1,
        reply_requested: true,
    };
    status.encode(&mut out);
    let expected = Build::tag(b'r').u64(3).u64(2).u64(1).i64(-1).u8(1).bytes();
    assert_eq!(&out[..6], b"before");
    assert_eq!(&out[6..], &expected[..]);
    assert_eq!(expected.len(), StandbyStatusUpdate::ENCODED_BYTES);
}

#[test]
fn the_epoch_of_postgresql_is_the_first_of_january_2000() {
    assert_eq!(unix_time_us(0), 946_684_800_000_000);
    assert_eq!(postgres_time_us(unix_time_us(123)), 123);
    assert_eq!(unix_time_us(i64::MAX), i64::MAX);
}

#[test]
fn the_debug_form_of_log_data_does_not_show_row_values() {
    let frame = Build::tag(b'w').u64(1).u64(1).i64(0).raw(b"secret").bytes();
    let shown = format!("{:?}", ReplicationMessage::decode(frame).unwrap());
    assert!(shown.contains("6 bytes"), "{shown}");
    assert!(!shown.contains("secret"), "{shown}");
}
