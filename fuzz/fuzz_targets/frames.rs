//! The frames of a replication stream around the plugin's messages.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use pg::replication::ReplicationMessage;

fuzz_target!(|input: &[u8]| {
    if let Ok(ReplicationMessage::XLogData(frame)) =
        ReplicationMessage::decode(Bytes::copy_from_slice(input))
    {
        assert_eq!(frame.data.len() + 25, input.len());
    }
});
