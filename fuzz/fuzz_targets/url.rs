//! Database URLs: read or refused, and the password is in no message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pg_connect::{Settings, without_tls_parameters};

/// Longer than anything a message could hold by chance.
const PASSWORD: &str = "hunter2hunter2";

fuzz_target!(|text: &str| {
    drop(without_tls_parameters(text));
    let hidden = text.replace('*', PASSWORD);
    for url in [text.to_owned(), format!("postgres://role:{PASSWORD}@{text}"), hidden] {
        match url.parse::<Settings>() {
            Ok(settings) => drop(format!("{settings:?}")),
            Err(error) => assert!(!error.to_string().contains(PASSWORD), "{error}"),
        }
    }
});
