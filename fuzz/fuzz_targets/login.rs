//! Everything a server says from the first byte on: framing, authentication, answers to commands.
#![no_main]

use fuzz::{Until, converse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| converse(&[input], Until::AllCommands));
