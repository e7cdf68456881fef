//! How many connections are open, in all and from one client.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

use routes::Limits;

/// Counts open connections. Locked once when a connection comes and once when it goes, never by a request.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    total: u32,
    /// Only clients with at least one open connection.
    by_client: HashMap<IpAddr, u32>,
}

/// One open connection; counted until dropped.
#[derive(Debug)]
pub(super) struct Place {
    tally: Arc<Tally>,
    client: Option<IpAddr>,
}

/// Why a connection is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crowded {
    Total,
    Client,
}

impl Crowded {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Client => "client",
        }
    }
}

impl Tally {
    /// Takes a place for a connection; `client` is not counted by itself when there is none.
    pub(super) fn enter(
        self: &Arc<Self>,
        client: Option<IpAddr>,
        limits: &Limits,
    ) -> Result<Place, Crowded> {
        let client = client.map(network_of);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.total >= limits.connections {
            return Err(Crowded::Total);
        }
        if let Some(client) = client {
            let count = counts.by_client.entry(client).or_insert(0);
            if *count >= limits.connections_per_client {
                return Err(Crowded::Client);
            }
            *count += 1;
        }
        counts.total += 1;
        drop(counts);
        Ok(Place { tally: Arc::clone(self), client })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.tally.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.total -= 1;
        let Some(client) = self.client else { return };
        if let Some(count) = counts.by_client.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                counts.by_client.remove(&client);
            }
        }
    }
}

/// One client owns a whole /64 of IPv6.
fn network_of(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn limits(connections: u32, connections_per_client: u32) -> Limits {
        Limits {
            head: Duration::ZERO,
            idle: Duration::ZERO,
            body_idle: Duration::ZERO,
            body_rate: 0,
            write: Duration::ZERO,
            max_body: 0,
            requests_per_connection: 1,
            connections,
            connections_per_client,
        }
    }

    #[test]
    fn a_client_has_so_many_places_and_gets_them_back() {
        let (tally, limits) = (Arc::new(Tally::default()), limits(10, 2));
        let client = |text: &str| Some(text.parse().expect("an address"));
        let first = tally.enter(client("1.1.1.1"), &limits).expect("a place");
        let _second = tally.enter(client("::ffff:1.1.1.1"), &limits).expect("a place");
        assert_eq!(tally.enter(client("1.1.1.1"), &limits).err(), Some(Crowded::Client));
        let _other = tally.enter(client("1.1.1.2"), &limits).expect("a place");
        drop(first);
        let _third = tally.enter(client("1.1.1.1"), &limits).expect("the place is free again");
    }

    #[test]
    fn one_network_of_ipv6_is_one_client() {
        let (tally, limits) = (Arc::new(Tally::default()), limits(10, 1));
        let _one = tally.enter("2001:db8::1".parse().ok(), &limits).expect("a place");
        assert_eq!(
            tally.enter("2001:db8::ffff:2".parse().ok(), &limits).err(),
            Some(Crowded::Client)
        );
        let _far = tally.enter("2001:db8:0:1::1".parse().ok(), &limits).expect("a place");
    }

    #[test]
    fn nothing_is_left_of_clients_that_went() {
        let (tally, limits) = (Arc::new(Tally::default()), limits(1, 1));
        drop(tally.enter("1.1.1.1".parse().ok(), &limits).expect("a place"));
        let _trusted = tally.enter(None, &limits).expect("a place");
        assert_eq!(tally.enter(None, &limits).err(), Some(Crowded::Total));
        let counts = tally.0.lock().expect("nobody panicked");
        assert_eq!((counts.total, counts.by_client.len()), (1, 0));
    }
}
