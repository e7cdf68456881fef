//! Shares, keys, slow starts and limits of an upstream.

use std::{collections::BTreeMap, time::Duration};

use routes::Resilience;

use super::*;

fn config(peers: u16, resilience: Resilience) -> routes::Upstream {
    routes::Upstream {
        name: "ticket".to_owned(),
        peers: (1..=peers).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect(),
        database: None,
        owner_database: None,
        timeouts: routes::Timeouts::default(),
        health: None,
        tls: None,
        protocol: routes::Protocol::Http1,
        resilience,
    }
}

fn upstream(peers: u16) -> Upstream {
    Upstream::new(config(peers, Resilience::default()), None)
}

fn port(upstream: &Upstream, wish: Wish<'_>) -> u16 {
    upstream.choose(wish).expect("a peer").address.port()
}

/// How often each port is chosen in ten thousand times.
fn shares(upstream: &Upstream) -> BTreeMap<u16, u32> {
    let mut shares = BTreeMap::new();
    for _ in 0..10_000 {
        *shares.entry(port(upstream, Wish::default())).or_default() += 1;
    }
    shares
}

#[test]
fn equally_loaded_peers_get_equal_shares() {
    for share in shares(&upstream(4)).values() {
        assert!((2_200..2_800).contains(share), "{share} of 10000");
    }
}

#[test]
fn the_most_loaded_peer_is_never_chosen_and_the_least_loaded_most_often() {
    let upstream = upstream(3);
    (0..5).for_each(|_| upstream.peers()[0].add_request());
    upstream.peers()[1].add_request();
    let shares = shares(&upstream);
    assert_eq!(shares.get(&1), None);
    assert!(shares[&3] > shares[&2], "{shares:?}");
}

#[test]
fn an_unhealthy_or_ejected_peer_is_left_out_unless_all_are() {
    let upstream = upstream(3);
    upstream.peers()[0].set_healthy(false);
    upstream.peers()[2].record().eject(&routes::Ejection::default(), now());
    assert_eq!(shares(&upstream).into_keys().collect::<Vec<_>>(), [2]);
    upstream.peers()[1].set_healthy(false);
    assert_eq!(shares(&upstream).len(), 3);
}

#[test]
fn a_peer_that_just_failed_is_avoided_while_there_is_another() {
    let avoid = |port| Some(SocketAddr::from(([127, 0, 0, 1], port)));
    let (two, one) = (upstream(2), upstream(1));
    for _ in 0..100 {
        assert_eq!(port(&two, Wish { avoid: avoid(1), ..Wish::default() }), 2);
        assert_eq!(port(&one, Wish { avoid: avoid(1), ..Wish::default() }), 1);
    }
}

#[test]
fn a_key_stays_with_its_peer_and_only_the_keys_of_a_lost_peer_move() {
    let upstream = upstream(5);
    let place = |key: u32| {
        let key = key.to_be_bytes();
        port(&upstream, Wish { key: Some(&key), ..Wish::default() })
    };
    let before: Vec<u16> = (0..5_000).map(place).collect();
    for peer in 1..=5 {
        let share = before.iter().filter(|port| **port == peer).count();
        assert!((850..1_150).contains(&share), "{peer} got {share} of 5000 keys");
    }
    upstream.peers()[1].set_healthy(false);
    for (key, before) in (0..).zip(&before) {
        let after = place(key);
        assert!(if *before == 2 { after != 2 } else { after == *before }, "{key}");
    }
}

#[test]
fn a_peer_that_comes_back_gets_its_share_little_by_little() {
    let upstream = upstream(2);
    let peer = &upstream.peers()[0];
    peer.record().eject(&routes::Ejection::default(), 0);
    let (back, slow) = (peer.record().back_at(), upstream.config.resilience.slow_start);
    let share = |now| {
        let wish = Wish::default();
        (0..10_000).filter(|_| upstream.choose_index(wish, now) == Some(0)).count()
    };
    let second = |n: u64| back + n * 1_000;
    let shares = [share(second(0)), share(second(5)), share(second(10))];
    assert!(shares[0] < 1_000 && shares[0] > 0, "{shares:?}");
    assert!((2_000..4_500).contains(&shares[1]), "{shares:?}");
    assert!((4_500..5_500).contains(&shares[2]), "{shares:?}");
    assert_eq!(peer.warmth(Duration::ZERO, back), 1.0);
    assert!(peer.warmth(slow, second(9)) < 1.0);
}

#[test]
fn what_is_known_of_a_peer_and_its_breaker_lasts_over_a_reload() {
    let rules = routes::Breaker { failures: 1, open: Duration::from_secs(9), probes: 1 };
    let resilience = Resilience { breaker: Some(rules), ..Resilience::default() };
    let before = Upstream::new(config(3, resilience.clone()), None);
    before.peers()[1].record().eject(&routes::Ejection::default(), now());
    before.peers()[1].add_request();
    before.breaker(Effect::Read).record(breaker::Permit::Normal, true, &rules, now());
    let after = Upstream::new(config(2, resilience), Some(&before));
    assert_eq!(shares(&after).into_keys().collect::<Vec<_>>(), [1]);
    assert_eq!(after.peers()[1].under_way(), 1);
    assert_eq!(after.breaker(Effect::Read).state().as_str(), "open");
    assert_eq!(after.breaker(Effect::Write).state().as_str(), "closed");
}

#[test]
fn every_timeout_of_a_peer_is_set() {
    let upstream = upstream(1);
    let peer = upstream.choose(Wish::default()).expect("a peer");
    let options = peer.to_http_peer(None).expect("no TLS").options;
    let timeouts = [
        options.connection_timeout,
        options.total_connection_timeout,
        options.read_timeout,
        options.write_timeout,
        options.idle_timeout,
    ];
    assert!(timeouts.iter().all(Option::is_some), "{timeouts:?}");
    let second = Duration::from_secs(1);
    assert_eq!(peer.to_http_peer(Some(second)).expect("no TLS").options.read_timeout, Some(second));
}

#[tokio::test(start_paused = true)]
async fn more_requests_than_allowed_wait_and_more_than_may_wait_are_refused() {
    let limits = UpstreamLimits { requests: 1, pending: 1, wait: Duration::from_secs(1) };
    let resilience = Resilience { limits: Some(limits), ..Resilience::default() };
    let upstream = Arc::new(Upstream::new(config(1, resilience), None));
    let begin = || {
        let upstream = Arc::clone(&upstream);
        async move { Call::begin(&upstream, Effect::Read, Wish::default(), true).await }
    };
    let first = Call::begin(&upstream, Effect::Read, Wish::default(), true).await.expect("room");
    let waiting = tokio::spawn(begin());
    while upstream.slots.as_ref().expect("limits").pending.available_permits() == 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(begin().await.err(), Some(Refused::Full));
    drop(first);
    let second = waiting.await.expect("no panic").expect("its turn");
    assert_eq!(begin().await.err(), Some(Refused::Full), "nobody made room within the wait");
    drop(second);
    assert!(begin().await.is_ok());
    assert_eq!(upstream.peers()[0].under_way(), 0);
}
