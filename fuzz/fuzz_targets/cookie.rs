//! Cookies: what is found stands in the fields under that name, and what is there is found.
#![no_main]

use http_rules::cookie::find;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Vec<String>, String)| {
    let (values, name) = input;
    let found = find(values.iter().map(String::as_str), &name);
    if let Some(value) = found {
        assert!(!value.is_empty() && !value.contains(';'));
        let pair = format!("{name}={value}");
        assert!(values.iter().any(|field| field.contains(&pair)), "{pair:?} is in none of {values:?}");
    }
    let is_plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_plain {
        let first = format!("{name}=first");
        let fields = std::iter::once(first.as_str()).chain(values.iter().map(String::as_str));
        assert_eq!(find(fields, &name), Some("first"), "the first one is not found");
    }
});
