//! Who sent a request, when trusted proxies passed it on. Each hop adds the address it saw, so the list
//! is believed from its right end, and only as long as the one who added an entry is trusted.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// Most hops that are looked at.
const HOPS_MAX: usize = 32;

/// What hops before the proxy said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Claims<'h> {
    /// Values of all `X-Forwarded-For` fields, in order.
    pub forwarded_for: &'h [&'h str],
    /// Values of all `Forwarded` fields (RFC 7239), in order; looked at when there is no other.
    pub forwarded: &'h [&'h str],
}

/// The right-most hop that is not trusted, and those behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The client: who connected to the first trusted hop.
    pub client: IpAddr,
    /// Trusted hops between the client and the proxy, the nearest to the client first; the peer of the
    /// connection is the last.
    pub hops: Vec<IpAddr>,
}

/// Whether an address belongs to a trusted hop.
#[must_use]
pub fn is_trusted(trusted: &[IpNet], address: IpAddr) -> bool {
    trusted.iter().any(|network| network.contains(&address.to_canonical()))
}

/// Finds the client of a request that `peer` sent.
#[must_use]
pub fn origin(trusted: &[IpNet], peer: IpAddr, claims: Claims<'_>) -> Origin {
    let peer = peer.to_canonical();
    let mut origin = Origin { client: peer, hops: Vec::new() };
    if !is_trusted(trusted, peer) {
        return origin;
    }
    let listed: Box<dyn Iterator<Item = Option<IpAddr>>> = if claims.forwarded_for.is_empty() {
        Box::new(
            claims.forwarded.iter().rev().flat_map(|value| elements(value)).map(forwarded_node),
        )
    } else {
        Box::new(claims.forwarded_for.iter().rev().flat_map(|value| value.rsplit(',')).map(address))
    };
    for hop in listed.take(HOPS_MAX) {
        // An entry that is no address proves nothing about those before it.
        let Some(hop) = hop else { break };
        origin.hops.insert(0, origin.client);
        origin.client = hop;
        if !is_trusted(trusted, hop) {
            break;
        }
    }
    origin
}

impl Origin {
    /// The value of `X-Forwarded-For` for the next server.
    #[must_use]
    pub fn forwarded_for(&self) -> String {
        let mut value = self.client.to_string();
        for hop in &self.hops {
            value.push_str(", ");
            value.push_str(&hop.to_string());
        }
        value
    }

    /// The value of `Forwarded` for the next server; `proto` and `host` are what the client used. A
    /// host that cannot stand in quotes is left out.
    #[must_use]
    pub fn forwarded(&self, proto: &str, host: &str) -> String {
        let mut value = format!("for={}", node(self.client));
        if !host.is_empty()
            && !host.contains(['"', '\\'])
            && host.bytes().all(|byte| byte.is_ascii_graphic())
        {
            value.push_str(&format!(";host=\"{host}\""));
        }
        value.push_str(&format!(";proto={proto}"));
        for hop in &self.hops {
            value.push_str(&format!(", for={}", node(*hop)));
        }
        value
    }
}

fn node(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("\"[{address}]\""),
    }
}

/// `1.2.3.4`, `1.2.3.4:80`, `::1`, `[::1]`, `[::1]:80`
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches([' ', '\t']);
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let address: IpAddr = match bare {
        Some(inner) => IpAddr::V6(inner.parse().ok()?),
        None => {
            text.parse().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip())).ok()?
        }
    };
    Some(address.to_canonical())
}

/// The elements of a `Forwarded` value from the right; commas in quotes do not separate.
fn elements(value: &str) -> impl Iterator<Item = &str> {
    let mut found = Vec::new();
    let (mut is_quoted, mut is_escaped, mut start) = (false, false, 0);
    for (at, byte) in value.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b',' if !is_quoted => {
                found.push(value.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(value.get(start..).unwrap_or_default());
    found.into_iter().rev()
}

fn forwarded_node(element: &str) -> Option<IpAddr> {
    let mut nodes = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    let (_, node) = nodes.find(|(name, _)| name.eq_ignore_ascii_case("for"))?;
    address(node.strip_prefix('"').and_then(|node| node.strip_suffix('"')).unwrap_or(node))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted() -> Vec<IpNet> {
        ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().expect("a network")).to_vec()
    }

    #[track_caller]
    fn check(peer: &str, forwarded_for: &[&str], forwarded: &[&str], expected: &str) {
        let peer = peer.parse().expect("an address");
        let origin = origin(&trusted(), peer, Claims { forwarded_for, forwarded });
        assert_eq!(origin.forwarded_for(), expected);
    }

    #[test]
    fn the_client_is_the_right_most_hop_that_is_not_trusted() {
        check("9.9.9.9", &["1.1.1.1"], &["for=1.1.1.1"], "9.9.9.9");
        check("10.0.0.1", &[], &[], "10.0.0.1");
        check("10.0.0.1", &["1.1.1.1"], &[], "1.1.1.1, 10.0.0.1");
        check("10.0.0.1", &["6.6.6.6, 1.1.1.1,10.0.0.2"], &[], "1.1.1.1, 10.0.0.2, 10.0.0.1");
        check(
            "10.0.0.1",
            &["6.6.6.6", "1.1.1.1:99 , 10.0.0.2"],
            &[],
            "1.1.1.1, 10.0.0.2, 10.0.0.1",
        );
        check("10.0.0.1", &["10.0.0.3, 10.0.0.2"], &[], "10.0.0.3, 10.0.0.2, 10.0.0.1");
        check("fd00::1", &["[2001:db8::1]:5"], &[], "2001:db8::1, fd00::1");
        check("::ffff:10.0.0.1", &["::ffff:1.1.1.1"], &[], "1.1.1.1, 10.0.0.1");
    }

    #[test]
    fn nothing_is_believed_beyond_an_entry_that_is_no_address() {
        check("10.0.0.1", &["1.1.1.1, unknown, 10.0.0.2"], &[], "10.0.0.2, 10.0.0.1");
        check("10.0.0.1", &["1.1.1.1, "], &[], "10.0.0.1");
        check("10.0.0.1", &[], &["for=_hidden"], "10.0.0.1");
    }

    #[test]
    fn the_standard_field_is_read_when_the_usual_one_is_missing() {
        check(
            "10.0.0.1",
            &[],
            &["for=6.6.6.6, For=\"[2001:db8::1]:7\";proto=https"],
            "2001:db8::1, 10.0.0.1",
        );
        check(
            "10.0.0.1",
            &[],
            &["for=1.1.1.1;by=\"a,b\\\"\"", "for=10.0.0.2"],
            "1.1.1.1, 10.0.0.2, 10.0.0.1",
        );
    }

    #[test]
    fn the_rebuilt_field_says_how_the_client_asked() {
        let origin = Origin {
            client: "::1".parse().expect("one"),
            hops: vec!["10.0.0.1".parse().expect("one")],
        };
        assert_eq!(
            origin.forwarded("https", "shop.example:8443"),
            "for=\"[::1]\";host=\"shop.example:8443\";proto=https, for=10.0.0.1"
        );
        assert_eq!(origin.forwarded("http", "a\"b"), "for=\"[::1]\";proto=http, for=10.0.0.1");
    }
}
