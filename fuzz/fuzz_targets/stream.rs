//! Everything a server says once the stream has begun.
#![no_main]

use fuzz::{LOGIN, START, Until, converse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| converse(&[LOGIN, START, input], Until::Stream));
