//! Positions and names of tables in text form: what is read is written and read again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pg::{Lsn, TableName};

fuzz_target!(|text: &str| {
    if let Ok(lsn) = text.parse::<Lsn>() {
        assert_eq!(lsn.to_string().parse(), Ok(lsn));
    }
    if let Ok(name) = text.parse::<TableName>() {
        assert_eq!(name.to_string().parse(), Ok(name));
    }
    let quoted = pg::quote_ident(text);
    assert!(quoted.len() >= text.len());
});
