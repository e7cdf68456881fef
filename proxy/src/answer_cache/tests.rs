//! What is kept for others, and under which name.

use std::time::UNIX_EPOCH;

use super::*;

const RULES: KeepRules = KeepRules { fresh: Duration::from_secs(5), body_max: 1024 };
const ONLY_TOLD: KeepRules = KeepRules { fresh: Duration::ZERO, body_max: 1024 };

fn request(fields: &[(&'static str, &'static str)]) -> RequestHeader {
    let mut request = RequestHeader::build("GET", b"/", None).expect("a request");
    for (name, value) in fields {
        request.append_header(*name, *value).expect("a header");
    }
    request
}

fn response(status: u16, fields: &[(&'static str, &'static str)]) -> ResponseHeader {
    let mut response = ResponseHeader::build(status, None).expect("a response");
    for (name, value) in fields {
        response.append_header(*name, *value).expect("a header");
    }
    response
}

fn is_kept(
    asked: &[(&'static str, &'static str)],
    answered: &[(&'static str, &'static str)],
    rules: KeepRules,
) -> bool {
    let verdict = judge(&request(asked), &response(200, answered), false, rules, UNIX_EPOCH);
    matches!(verdict, RespCacheable::Cacheable(_))
}

#[test]
fn what_the_upstream_says_decides() {
    assert!(is_kept(&[], &[("cache-control", "max-age=60")], ONLY_TOLD));
    assert!(is_kept(&[], &[("cache-control", "public, s-maxage=60")], ONLY_TOLD));
    for control in ["no-store", "private", "private, max-age=60", "no-store, max-age=60"] {
        assert!(!is_kept(&[], &[("cache-control", control)], RULES), "{control}");
    }
}

#[test]
fn silence_is_kept_only_when_the_policy_says_for_how_long() {
    assert!(!is_kept(&[], &[], ONLY_TOLD));
    assert!(is_kept(&[], &[], RULES));
    assert!(!is_kept(&[], &[("pragma", "no-cache")], RULES));
    let failed = judge(&request(&[]), &response(500, &[]), false, RULES, UNIX_EPOCH);
    assert!(matches!(failed, RespCacheable::Uncacheable(_)));
}

#[test]
fn what_was_made_for_one_is_never_kept_for_others() {
    let fresh = ("cache-control", "max-age=60");
    assert!(!is_kept(&[("authorization", "Bearer a.b.c")], &[fresh], RULES));
    assert!(!is_kept(&[("cookie", "session=1")], &[fresh], RULES));
    assert!(!is_kept(&[("cookie", "session=1")], &[], RULES));
    assert!(!is_kept(&[], &[fresh, ("set-cookie", "session=1")], RULES));
    assert!(!is_kept(&[], &[fresh, ("vary", "accept, *")], RULES));
    let known = judge(&request(&[]), &response(200, &[fresh]), true, RULES, UNIX_EPOCH);
    assert!(matches!(known, RespCacheable::Uncacheable(_)));
    // RFC 9111, 3.5: only when the upstream says so.
    let public = ("cache-control", "public, max-age=60");
    assert!(is_kept(&[("cookie", "session=1")], &[public], RULES));
}

#[test]
fn a_write_makes_what_was_kept_unreachable() {
    let writes = Writes::default();
    let name = |writes: &Writes| key("tickets/source", writes, b"a", b"/1").primary_key().to_vec();
    let before = name(&writes);
    assert_eq!(name(&writes), before);
    writes.note();
    assert_ne!(name(&writes), before);
}

#[test]
fn no_two_requests_share_a_name() {
    let writes = Writes::default();
    let names = [
        key("t", &writes, b"a", b"/1"),
        key("t", &writes, b"a/", b"1"),
        key("ta", &writes, b"", b"/1"),
        key("t", &writes, b"a", b"/1?x"),
        key("u", &writes, b"a", b"/1"),
    ];
    let distinct: std::collections::BTreeSet<_> = names.iter().map(CacheKey::primary_key).collect();
    assert_eq!(distinct.len(), names.len());
}

#[test]
fn variants_are_told_apart_by_what_the_answer_names() {
    let kept = response(200, &[("vary", "Accept, accept-language")]).headers.clone();
    let of = |fields: &[(&'static str, &'static str)]| variant(&kept, &request(fields));
    assert_eq!(of(&[("accept", "a"), ("x", "1")]), of(&[("accept", "a"), ("x", "2")]));
    assert_ne!(of(&[("accept", "a")]), of(&[("accept", "b")]));
    assert_ne!(of(&[("accept", "a")]), of(&[("accept-language", "a")]));
    assert_ne!(of(&[("accept", "a"), ("accept", "b")]), of(&[("accept", "a")]));
    assert_eq!(variant(&HeaderMap::new(), &request(&[("accept", "a")])), None);
}

#[test]
fn the_age_counts_what_earlier_caches_counted() {
    let head = response(200, &[("age", "30")]);
    let meta = CacheMeta::new(UNIX_EPOCH, UNIX_EPOCH, 0, 0, head);
    assert_eq!(age(&meta, UNIX_EPOCH + Duration::from_secs(12)), 42);
    assert_eq!(age(&meta, UNIX_EPOCH), 30);
}
