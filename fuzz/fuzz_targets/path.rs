//! Paths: the canonical form is canonical, and nothing in it decodes into something that moves.
#![no_main]

use http_rules::path::canonical;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|path: &str| {
    let Ok(once) = canonical(path) else { return };
    assert_eq!(canonical(&once).as_deref(), Ok(&*once), "the canonical form of {path:?} is not canonical");
    // however often a server behind decodes it, it finds no way up and no other separator
    let mut decoded = once.as_bytes().to_vec();
    for _ in 0..3 {
        let text = String::from_utf8(decoded.clone()).expect("UTF-8 decodes into UTF-8");
        assert!(text.starts_with('/'), "{path:?} became {text:?}");
        assert!(!text.contains(['\\', ';']), "{path:?} became {text:?}");
        assert!(!text.contains(char::is_control) || !text.is_ascii(), "{path:?} became {text:?}");
        let moves = |segment: &str| segment == "." || segment == "..";
        assert!(!text.split('/').any(moves), "{path:?} became {text:?}");
        assert!(!text.contains("//"), "{path:?} became {text:?}");
        decoded = decode(&decoded);
    }
});

/// Decodes every `%` with two digits behind it, as a careless server does.
fn decode(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut rest = bytes;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let value = digits
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (byte, value) {
            (b'%', Some(value)) => {
                decoded.push(value);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => decoded.push(*byte),
        }
    }
    decoded
}
