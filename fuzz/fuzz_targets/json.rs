//! Comparison of answers: everything equals itself, and a difference has no direction.
#![no_main]

use compare::{HashKey, Outcome, Rules, compare};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], &[u8])| {
    let (left, right) = input;
    let key = HashKey([7; 16]);
    let lists = [("/*".to_owned(), "/id".to_owned()), (String::new(), String::new())];
    let rules = [
        Rules::default(),
        Rules::new(&["/a".to_owned(), "/*/t".to_owned()], &lists).expect("the pointers are good"),
    ];
    for (rules, kind) in rules.iter().zip([None, Some("text/html")]) {
        for body in [left, right] {
            let with_itself = compare(body, body, kind, rules, key);
            assert!(with_itself.is_equal(), "something differs from itself");
        }
        let there = compare(left, right, kind, rules, key);
        let back = compare(right, left, kind, rules, key);
        assert_eq!(there.is_equal(), back.is_equal(), "{there:?} {back:?}");
        if let Outcome::Different { differences, count } = &there {
            assert!(!differences.is_empty() && differences.len() <= *count);
        }
    }
});
