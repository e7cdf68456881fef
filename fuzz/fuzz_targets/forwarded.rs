//! Forwarding fields: nobody is believed who is not trusted, and what is rebuilt is read again as the same.
#![no_main]

use std::net::IpAddr;

use http_rules::forwarded::{Claims, is_trusted, origin};
use ipnet::IpNet;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u32, bool, Vec<String>)| {
    let (peer, is_standard, values) = input;
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let trusted: Vec<IpNet> =
        ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().expect("a network")).to_vec();
    let peer = IpAddr::from(peer.to_be_bytes());
    let claims = match is_standard {
        true => Claims { forwarded: &values, ..Claims::default() },
        false => Claims { forwarded_for: &values, ..Claims::default() },
    };
    let found = origin(&trusted, peer, claims);
    if !is_trusted(&trusted, peer) {
        assert_eq!((found.client, found.hops.len()), (peer, 0), "a stranger was believed");
    }
    for hop in &found.hops {
        assert!(is_trusted(&trusted, *hop), "{hop} stands between and is not trusted");
    }
    assert!(!found.hops.iter().any(|hop| *hop == found.client) || is_trusted(&trusted, found.client));
    // a second proxy, trusted and behind the first, finds the same client
    let second = IpAddr::from([10, 255, 255, 254]);
    let (list, standard) = (found.forwarded_for(), found.forwarded("https", "ficus.test"));
    for claims in [
        Claims { forwarded_for: &[&list], ..Claims::default() },
        Claims { forwarded: &[&standard], ..Claims::default() },
    ] {
        let again = origin(&trusted, second, claims);
        assert_eq!(again.client, found.client, "{list:?} {standard:?}");
    }
});
