//! Whose address may ask at all. The longest prefix that holds the address decides.

use std::{collections::HashSet, net::IpAddr};

use ipnet::IpNet;

/// Networks of a policy.
#[derive(Debug)]
pub(super) struct Access {
    allow: Networks,
    deny: Networks,
}

/// Networks by their prefix, the longest first: one look-up for each length that is there.
#[derive(Debug)]
struct Networks {
    by_length: Vec<(u8, HashSet<IpNet>)>,
}

impl Access {
    pub(super) fn new(allow: &[IpNet], deny: &[IpNet]) -> Self {
        Self { allow: Networks::new(allow), deny: Networks::new(deny) }
    }

    /// An unknown address passes only where every address does.
    pub(super) fn admits(&self, address: Option<IpAddr>) -> bool {
        if self.allow.by_length.is_empty() && self.deny.by_length.is_empty() {
            return true;
        }
        let Some(address) = address.map(|address| address.to_canonical()) else { return false };
        match (self.allow.longest(address), self.deny.longest(address)) {
            (Some(allowed), Some(denied)) => allowed > denied,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => self.allow.by_length.is_empty(),
        }
    }
}

impl Networks {
    fn new(networks: &[IpNet]) -> Self {
        let mut lengths: Vec<u8> = networks.iter().map(IpNet::prefix_len).collect();
        lengths.sort_unstable();
        lengths.dedup();
        let of =
            |length: u8| networks.iter().filter(move |net| net.prefix_len() == length).copied();
        let by_length = lengths.into_iter().rev().map(|length| (length, of(length).collect()));
        Self { by_length: by_length.collect() }
    }

    fn longest(&self, address: IpAddr) -> Option<u8> {
        self.by_length.iter().find_map(|(length, networks)| {
            let network = IpNet::new(address, *length).ok()?.trunc();
            networks.contains(&network).then_some(*length)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().expect("a network")).collect()
    }

    #[track_caller]
    fn check(access: &Access, address: &str, expected: bool) {
        assert_eq!(
            access.admits(Some(address.parse().expect("an address"))),
            expected,
            "{address}"
        );
    }

    #[test]
    fn the_longest_prefix_decides_and_a_tie_is_denied() {
        let allow = networks(&["10.0.0.0/8", "10.6.7.0/24", "192.0.2.1/32"]);
        let access = Access::new(&allow, &networks(&["10.6.0.0/16", "192.0.2.1/32", "::/0"]));
        check(&access, "10.1.2.3", true);
        check(&access, "10.6.1.1", false);
        check(&access, "10.6.7.8", true);
        check(&access, "192.0.2.1", false);
        check(&access, "198.51.100.1", false);
        check(&access, "2001:db8::1", false);
    }

    #[test]
    fn an_address_of_version_4_written_as_version_6_is_the_same_one() {
        let access = Access::new(&[], &networks(&["10.0.0.0/8"]));
        check(&access, "::ffff:10.0.0.1", false);
        check(&access, "::ffff:11.0.0.1", true);
    }

    #[test]
    fn without_allow_everybody_passes_who_is_not_denied() {
        check(&Access::new(&[], &[]), "1.2.3.4", true);
        check(&Access::new(&[], &networks(&["1.2.3.4/32"])), "1.2.3.5", true);
        assert!(!Access::new(&[], &networks(&["1.2.3.4/32"])).admits(None));
    }
}
