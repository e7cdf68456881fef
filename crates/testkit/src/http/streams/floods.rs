//! Much for the server and little for the client.

use super::{
    super::frames::{block, flag, frame, get, headers, kind, settings},
    StreamCase, StreamExpect, case,
};

/// Requests that a reset may have let through before the connection ends.
const BEFORE_END: usize = 1_100;

pub(super) fn cases() -> Vec<StreamCase> {
    vec![
        case("h2: rapid reset", "CVE-2023-44487", StreamExpect::Bounded(BEFORE_END), {
            requests(5_000, |stream| frame(kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes()))
        }),
        case(
            "h2: requests that the server resets",
            "CVE-2025-8671",
            StreamExpect::Bounded(BEFORE_END),
            requests(5_000, |stream| frame(kind::WINDOW_UPDATE, 0, stream, &[0; 4])),
        ),
        case("h2: CONTINUATION without end", "CVE-2024-27316", StreamExpect::Ended, {
            continuations(
                &[0, 1, b'a', 0x7f, 0x81, 6].iter().copied().chain([b'b'; 896]).collect::<Vec<_>>(),
                2_000,
            )
        }),
        case("h2: empty CONTINUATION without end", "CVE-2019-9518", StreamExpect::Ended, {
            continuations(&[], 100_000)
        }),
        case("h2: SETTINGS flood", "CVE-2019-9515", StreamExpect::Bounded(0), {
            settings(&[(4, 65_535)]).repeat(100_000)
        }),
        case("h2: PING flood", "CVE-2019-9512", StreamExpect::Bounded(0), {
            frame(kind::PING, 0, 0, &[0; 8]).repeat(100_000)
        }),
        case("h2: empty DATA flood", "CVE-2019-9518", StreamExpect::Bounded(1), {
            let fields = [
                (":method", "POST"),
                (":scheme", "http"),
                (":authority", "ficus.test"),
                (":path", "/case"),
            ];
            let mut bytes = headers(1, 0, &fields);
            bytes.extend(frame(kind::DATA, 0, 1, &[]).repeat(50_000));
            bytes
        }),
        case("h2: more streams than allowed", "RFC 9113 5.1.2", StreamExpect::Bounded(0), {
            let fields = [
                (":method", "POST"),
                (":scheme", "http"),
                (":authority", "ficus.test"),
                (":path", "/case"),
                ("content-length", "9"),
            ];
            let mut bytes = Vec::new();
            for stream in (1..1_000).step_by(2) {
                bytes.extend(headers(stream, 0, &fields));
            }
            bytes
        })
        .reaching(128),
        case("h2: a field that grows when it is read", "HPACK bomb", StreamExpect::Refused, {
            let mut fields = block(&get("/case"));
            // one field of 3 KB into the table, then its index again and again
            fields.extend([0x40, 1, b'a', 0x7f, 0xb9, 22]);
            fields.extend([b'b'; 3_000]);
            fields.extend([0xbe; 10_000]);
            frame(kind::HEADERS, flag::END_STREAM | flag::END_HEADERS, 1, &fields)
        }),
        case("h2: PRIORITY flood", "CVE-2019-9513", StreamExpect::Bounded(0), {
            frame(2, 0, 1, &[0, 0, 0, 3, 16]).repeat(100_000)
        }),
    ]
}

impl StreamCase {
    fn reaching(mut self, count: usize) -> Self {
        self.expect = StreamExpect::Bounded(count);
        self
    }
}

/// So many GETs, each followed by a frame.
fn requests(count: u32, then: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for stream in (0..count).map(|index| 2 * index + 1) {
        bytes.extend(headers(stream, flag::END_STREAM, &get("/case")));
        bytes.extend(then(stream));
    }
    bytes
}

fn continuations(piece: &[u8], count: usize) -> Vec<u8> {
    let mut bytes = frame(kind::HEADERS, flag::END_STREAM, 1, &block(&get("/case")));
    bytes.extend(frame(kind::CONTINUATION, 0, 1, piece).repeat(count));
    bytes
}
