//! Frames that break the rules of a connection.

use super::{
    super::frames::{PREFACE, block, flag, frame, get, headers, kind, settings},
    StreamCase, StreamExpect, case,
};

const SIZE: &str = "RFC 9113 4.2: frame sizes";
const STREAMS: &str = "RFC 9113 5.1: states of a stream";
const BLOCKS: &str = "RFC 9113 4.3: header blocks";

fn ended(name: &'static str, rule: &'static str, bytes: Vec<u8>) -> StreamCase {
    case(name, rule, StreamExpect::Ended, bytes)
}

pub(super) fn cases() -> Vec<StreamCase> {
    let mut cases = sizes();
    cases.extend(streams());
    cases.extend(blocks());
    cases.extend(windows());
    // the library waits for them; no request passes before
    let mut late = raw("h2: no SETTINGS after the preface", "RFC 9113 3.4", {
        [PREFACE, &frame(kind::PING, 0, 0, &[0; 8])].concat()
    });
    late.expect = StreamExpect::Bounded(0);
    cases.push(late);
    cases.push(raw("h2: garbage after the preface", "RFC 9113 3.4", {
        [PREFACE, b"GET / HTTP/1.1\r\nHost: ficus.test\r\n\r\n"].concat()
    }));
    cases.push(case(
        "h2: an unknown frame",
        "RFC 9113 4.1: ignored",
        StreamExpect::Passed(1),
        [frame(0xbe, 0xff, 0, b"anything"), headers(1, flag::END_STREAM, &get("/case"))].concat(),
    ));
    cases
}

fn raw(name: &'static str, rule: &'static str, bytes: Vec<u8>) -> StreamCase {
    StreamCase { is_raw: true, ..ended(name, rule, bytes) }
}

fn sizes() -> Vec<StreamCase> {
    vec![
        ended("h2: a frame of 1 MiB", SIZE, frame(kind::DATA, 0, 1, &vec![0; 1 << 20])),
        ended("h2: SETTINGS of 5 bytes", "RFC 9113 6.5", frame(kind::SETTINGS, 0, 0, &[0; 5])),
        ended(
            "h2: an answer to SETTINGS with content",
            "RFC 9113 6.5",
            frame(kind::SETTINGS, flag::ACK, 0, &[0; 6]),
        ),
        ended("h2: SETTINGS on a stream", "RFC 9113 6.5", frame(kind::SETTINGS, 0, 1, &[])),
        ended("h2: ENABLE_PUSH of 2", "RFC 9113 6.5.2", settings(&[(2, 2)])),
        ended("h2: a window of 2^31", "RFC 9113 6.5.2", settings(&[(4, 1 << 31)])),
        ended("h2: MAX_FRAME_SIZE of 1", "RFC 9113 6.5.2", settings(&[(5, 1)])),
        ended("h2: PING of 7 bytes", "RFC 9113 6.7", frame(kind::PING, 0, 0, &[0; 7])),
        ended("h2: PING on a stream", "RFC 9113 6.7", frame(kind::PING, 0, 1, &[0; 8])),
        ended("h2: RST_STREAM of 3 bytes", "RFC 9113 6.4", {
            [headers(1, 0, &get("/case")), frame(kind::RST_STREAM, 0, 1, &[0; 3])].concat()
        }),
        ended("h2: more padding than frame", "RFC 9113 6.1", {
            [headers(1, 0, &get("/case")), frame(kind::DATA, flag::PADDED, 1, &[200, 1, 2])]
                .concat()
        }),
    ]
}

fn streams() -> Vec<StreamCase> {
    let data = |stream| frame(kind::DATA, flag::END_STREAM, stream, b"hello");
    vec![
        ended("h2: DATA on stream 0", "RFC 9113 6.1", data(0)),
        ended("h2: DATA on an idle stream", STREAMS, data(1)),
        ended(
            "h2: RST_STREAM on an idle stream",
            "RFC 9113 6.4",
            frame(kind::RST_STREAM, 0, 1, &[0; 4]),
        ),
        ended(
            "h2: HEADERS on stream 0",
            "RFC 9113 6.2",
            headers(0, flag::END_STREAM, &get("/case")),
        ),
        ended(
            "h2: HEADERS on an even stream",
            "RFC 9113 5.1.1",
            headers(2, flag::END_STREAM, &get("/case")),
        ),
        ended("h2: PUSH_PROMISE from a client", "RFC 9113 8.4", {
            let payload = [&2_u32.to_be_bytes()[..], &block(&get("/case"))].concat();
            frame(kind::PUSH_PROMISE, flag::END_HEADERS, 1, &payload)
        }),
        ended("h2: CONTINUATION without HEADERS", "RFC 9113 6.10", {
            frame(kind::CONTINUATION, flag::END_HEADERS, 1, &block(&get("/case")))
        }),
    ]
}

fn blocks() -> Vec<StreamCase> {
    let (first, last) = (block(&get("/case")), block(&[("x-a", "b")]));
    let open = |stream| frame(kind::HEADERS, flag::END_STREAM, stream, &first);
    vec![
        case(
            "h2: a block in two frames",
            BLOCKS,
            StreamExpect::Passed(1),
            [open(1), frame(kind::CONTINUATION, flag::END_HEADERS, 1, &last)].concat(),
        ),
        ended("h2: a frame between the pieces of a block", BLOCKS, {
            [
                open(1),
                frame(kind::PING, 0, 0, &[0; 8]),
                frame(kind::CONTINUATION, flag::END_HEADERS, 1, &last),
            ]
            .concat()
        }),
        ended("h2: another stream between the pieces of a block", BLOCKS, {
            [open(1), frame(kind::CONTINUATION, flag::END_HEADERS, 3, &last)].concat()
        }),
        ended("h2: an index beyond the table", "RFC 7541 2.3.3", {
            frame(kind::HEADERS, flag::END_STREAM | flag::END_HEADERS, 1, &[0xff, 0xff, 0x7f])
        }),
        ended("h2: a table larger than allowed", "RFC 7541 6.3", {
            frame(kind::HEADERS, flag::END_STREAM | flag::END_HEADERS, 1, &[0x3f, 0xff, 0xff, 0x7f])
        }),
        ended("h2: a block that ends within a field", "RFC 7541 5", {
            frame(kind::HEADERS, flag::END_STREAM | flag::END_HEADERS, 1, &[0, 9, b'x'])
        }),
        ended("h2: a name with a broken Huffman code", "RFC 7541 5.2", {
            frame(
                kind::HEADERS,
                flag::END_STREAM | flag::END_HEADERS,
                1,
                &[0, 0x84, 0xff, 0xff, 0xff, 0xff, 1, b'b'],
            )
        }),
    ]
}

fn windows() -> Vec<StreamCase> {
    let update = |stream, by: u32| frame(kind::WINDOW_UPDATE, 0, stream, &by.to_be_bytes());
    vec![
        ended("h2: a window that grows by nothing", "RFC 9113 6.9", update(0, 0)),
        ended(
            "h2: a window beyond 2^31",
            "RFC 9113 6.9.1",
            [update(0, 0x7fff_ffff), update(0, 0x7fff_ffff)].concat(),
        ),
        ended(
            "h2: WINDOW_UPDATE of 3 bytes",
            "RFC 9113 6.9",
            frame(kind::WINDOW_UPDATE, 0, 0, &[0; 3]),
        ),
    ]
}
