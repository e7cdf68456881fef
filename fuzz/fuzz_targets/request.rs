//! Requests of HTTP/1.1: what is let pass has one end, however it is cut into pieces and however plainly
//! it is read again.
#![no_main]

use http_rules::{
    body::Body,
    head::{self, Framing},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let found = head::find_end(bytes, 0);
    let mut searched = 0;
    for end in 1..=bytes.len().min(256) {
        let part = head::find_end(&bytes[..end], searched);
        if let (Ok(Some(first)), Ok(Some(whole))) = (part, found) {
            assert_eq!(first, whole, "cut at {end}");
        }
        if part != Ok(None) {
            break;
        }
        searched = end;
    }
    let Ok(Some(end)) = found else { return };
    let (text, rest) = bytes.split_at(end);
    let Ok(head) = head::read(text) else { return };
    assert_eq!(head.framing, plainly(text), "{:?}", String::from_utf8_lossy(text));
    follow(head.framing, rest);
});

/// The framing as the simplest reader finds it: exact names, exact values, one of each.
fn plainly(head: &[u8]) -> Framing {
    let text: String = head.iter().map(|byte| char::from(*byte).to_ascii_lowercase()).collect();
    let values = |name: &str| {
        let found = text.lines().skip(1).filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        found.map(|value| value.trim_matches([' ', '\t']).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(values("host").len(), 1, "{text:?}");
    match (values("transfer-encoding").as_slice(), values("content-length").as_slice()) {
        ([], []) => Framing::Length(0),
        ([], [length]) => Framing::Length(length.parse().expect("a number")),
        ([coding], []) if coding == "chunked" => Framing::Chunked,
        (codings, lengths) => panic!("let pass: {codings:?} {lengths:?}"),
    }
}

/// In one piece and byte by byte it ends at the same place, or fails.
fn follow(framing: Framing, bytes: &[u8]) {
    let mut whole = Body::new(framing);
    let used = whole.advance(bytes);
    let mut pieces = Body::new(framing);
    let mut sum = Ok(0);
    for byte in bytes {
        sum = sum.and_then(|sum: usize| Ok(sum + pieces.advance(std::slice::from_ref(byte))?));
    }
    assert_eq!(used, sum);
    if used.is_ok() {
        assert_eq!(whole.is_done(), pieces.is_done());
    }
    if let (Ok(used), false) = (used, whole.is_done()) {
        assert_eq!(used, bytes.len(), "bytes were left though the body goes on");
    }
}
