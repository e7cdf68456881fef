//! An upstream and its peers: which address the next request goes to, and how long anything may take.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
};

use pingora::upstreams::peer::HttpPeer;

/// One upstream of a compiled configuration.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) config: routes::Upstream,
    peers: Box<[Peer]>,
    next: AtomicUsize,
}

/// One address of an upstream.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// With every timeout set; pingora's own defaults wait for ever.
    template: HttpPeer,
    healthy: AtomicBool,
}

impl Upstream {
    pub(crate) fn new(config: routes::Upstream) -> Self {
        let peers =
            config.peers.iter().map(|address| Peer::new(*address, config.timeouts)).collect();
        Self { config, peers, next: AtomicUsize::new(0) }
    }

    /// All peers.
    pub(crate) fn peers(&self) -> &[Peer] {
        &self.peers
    }

    /// The next healthy peer in turn, or simply the next one when none is: an upstream that looks
    /// dead is still asked, because the check may be what is broken.
    pub(crate) fn pick(&self) -> Option<&Peer> {
        let start = self.next.fetch_add(1, Relaxed);
        let count = self.peers.len();
        let in_turn = (0..count).filter_map(|step| self.peers.get((start + step) % count));
        in_turn.clone().find(|peer| peer.is_healthy()).or_else(|| in_turn.clone().next())
    }
}

impl Peer {
    fn new(address: SocketAddr, timeouts: routes::Timeouts) -> Self {
        let mut template = HttpPeer::new(address, false, String::new());
        template.options.connection_timeout = Some(timeouts.connect);
        template.options.total_connection_timeout = Some(timeouts.connect);
        template.options.read_timeout = Some(timeouts.read);
        template.options.write_timeout = Some(timeouts.read);
        template.options.idle_timeout = Some(timeouts.idle);
        Self { address, template, healthy: AtomicBool::new(true) }
    }

    /// What pingora connects to.
    pub(crate) fn to_http_peer(&self) -> Box<HttpPeer> {
        Box::new(self.template.clone())
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.healthy.load(Relaxed)
    }

    pub(crate) fn set_healthy(&self, healthy: bool) {
        self.healthy.store(healthy, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn upstream() -> Upstream {
        let second = Duration::from_secs(1);
        Upstream::new(routes::Upstream {
            name: "ticket".to_owned(),
            peers: (1..=3).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect(),
            database: None,
            owner_database: None,
            timeouts: routes::Timeouts { connect: second, read: second, idle: second },
            health: None,
        })
    }

    fn ports(upstream: &Upstream, count: usize) -> Vec<u16> {
        (0..count).filter_map(|_| upstream.pick().map(|peer| peer.address.port())).collect()
    }

    #[test]
    fn peers_take_turns() {
        assert_eq!(ports(&upstream(), 6), [1, 2, 3, 1, 2, 3]);
    }

    #[test]
    fn an_unhealthy_peer_is_left_out_unless_all_are() {
        let upstream = upstream();
        upstream.peers().iter().filter(|peer| peer.address.port() != 2).for_each(|peer| {
            peer.set_healthy(false);
        });
        assert_eq!(ports(&upstream, 3), [2, 2, 2]);
        upstream.peers().iter().for_each(|peer| peer.set_healthy(false));
        assert_eq!(ports(&upstream, 3).len(), 3);
    }

    #[test]
    fn every_timeout_of_a_peer_is_set() {
        let upstream = upstream();
        let options = upstream.pick().expect("a peer").to_http_peer().options;
        let timeouts = [
            options.connection_timeout,
            options.total_connection_timeout,
            options.read_timeout,
            options.write_timeout,
            options.idle_timeout,
        ];
        assert!(timeouts.iter().all(Option::is_some), "{timeouts:?}");
    }
}
