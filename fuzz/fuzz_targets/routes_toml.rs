//! `routes.toml`: compiled or explained, and the same text means the same.
#![no_main]

use std::io::ErrorKind;

use libfuzzer_sys::fuzz_target;
use routes::Config;

/// Enough for a file that is complete, so that more than the first message is reached.
const START: &str = "version = 1\n[upstreams.monolith]\npeers = [\"127.0.0.1:3000\"]\n\
    [upstreams.service]\npeers = [\"127.0.0.1:3001\"]\n";

fuzz_target!(|text: &str| {
    for text in [text.to_owned(), format!("{START}{text}")] {
        let parse = || {
            let env = |name: &str| Some(name.to_lowercase());
            Config::parse("routes.toml", &text, &env, &|_| Err(ErrorKind::NotFound.into()))
        };
        match (parse(), parse()) {
            (Ok(first), Ok(second)) => assert!(first == second, "one text has two meanings"),
            (Err(first), Err(second)) => {
                assert!(!first.is_empty(), "refused without a reason");
                let shown = |problems: &[routes::Problem]| {
                    problems.iter().map(ToString::to_string).collect::<Vec<_>>()
                };
                assert_eq!(shown(&first), shown(&second));
            }
            (Ok(_), Err(_)) | (Err(_), Ok(_)) => panic!("one text is good and bad"),
        }
    }
});
