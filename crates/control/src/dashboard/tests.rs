//! The policy names exactly the style and the script that are sent.

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use super::{SCRIPT, SCRIPT_HASH, STYLE, STYLE_HASH, parts};

fn hash(text: &str) -> String {
    STANDARD.encode(Sha256::digest(text))
}

#[test]
fn the_hashes_of_style_and_script_are_current() {
    assert_eq!(STYLE_HASH, hash(STYLE));
    assert_eq!(SCRIPT_HASH, hash(SCRIPT));
}

#[test]
fn times_are_told_in_the_largest_unit_that_is_not_silly() {
    assert_eq!(parts::ago(0, 90_000), "90 s ago");
    assert_eq!(parts::ago(0, 600_000), "10 min ago");
    assert_eq!(parts::ago(0, 3 * 86_400_000), "3 d ago");
}
