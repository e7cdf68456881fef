//! The matcher against a naive oracle that tries every route.

use std::cmp::Reverse;

use proptest::{
    collection::vec,
    prelude::{Just, Strategy, prop_assert_eq, prop_oneof, proptest},
    sample::select,
};

use super::{PathShape, RouteTable, Segment};
use crate::{Config, Route, config::sample};

fn table(routes: &[&str]) -> RouteTable {
    RouteTable::compile(&sample::with_routes(routes))
}

fn found(table: &RouteTable, method: &str, path: &str) -> Option<String> {
    table.find(method, path).map(|m| format!("{} {}", m.route.method, m.route.path))
}

/// The route a request belongs to, by trying all of them: higher rank of the path's segments from
/// the left first, then one with the version, then higher rank of the method.
fn oracle(config: &Config, version: Option<&str>, method: &str, path: &str) -> Option<Route> {
    let routes = config.capabilities.values().flat_map(|capability| &capability.routes);
    let matching = routes.filter(|route| {
        method_rank(&route.method, method).is_some()
            && path_matches(&route.path, path)
            && (route.version.is_none() || route.version.as_deref() == version)
    });
    matching
        .min_by_key(|route| {
            let ranks: Vec<u8> = PathShape::of(&route.path).0.iter().map(segment_rank).collect();
            (ranks, route.version.is_none(), Reverse(method_rank(&route.method, method)))
        })
        .cloned()
}

fn segment_rank(segment: &Segment) -> u8 {
    match segment {
        Segment::Static(_) => 0,
        Segment::Param => 1,
        Segment::Rest => 2,
    }
}

fn method_rank(of_route: &str, of_request: &str) -> Option<u8> {
    match of_route {
        exact if exact == of_request => Some(3),
        "GET" if of_request == "HEAD" => Some(2),
        "*" => Some(1),
        _ => None,
    }
}

fn path_matches(pattern: &str, path: &str) -> bool {
    let mut given = path.split('/').skip(1);
    for segment in PathShape::of(pattern).0 {
        let next = given.next();
        let fits = match (&segment, next) {
            (Segment::Static(text), Some(next)) => text == next,
            (Segment::Param, Some(next)) => !next.is_empty(),
            (Segment::Rest, Some(next)) => return !next.is_empty() || given.next().is_some(),
            (_, None) => false,
        };
        if !fits {
            return false;
        }
    }
    given.next().is_none()
}

#[test]
fn static_beats_parameter_beats_rest() {
    let table = table(&["GET /t/{id}", "GET /t/new", "GET /t/{*rest}", "GET /t/{id}/a"]);
    let cases = [
        ("/t/new", Some("GET /t/new")),
        ("/t/newer", Some("GET /t/{id}")),
        ("/t/7/a", Some("GET /t/{id}/a")),
        ("/t/7/b", Some("GET /t/{*rest}")),
        ("/t/new/b", Some("GET /t/{*rest}")),
        ("/t/new/a", Some("GET /t/{id}/a")),
        ("/t", None),
        ("/t/", None),
    ];
    for (path, expected) in cases {
        assert_eq!(found(&table, "GET", path).as_deref(), expected, "{path}");
    }
}

#[test]
fn an_exact_method_beats_any_method_on_the_same_path_only() {
    let table = table(&["* /t/{id}", "PUT /t/{key}", "DELETE /t/{*rest}"]);
    assert_eq!(found(&table, "PUT", "/t/1").as_deref(), Some("PUT /t/{key}"));
    assert_eq!(found(&table, "PATCH", "/t/1").as_deref(), Some("* /t/{id}"));
    assert_eq!(found(&table, "PURGE", "/t/1").as_deref(), Some("* /t/{id}"));
    assert_eq!(found(&table, "DELETE", "/t/1").as_deref(), Some("* /t/{id}"));
    assert_eq!(found(&table, "DELETE", "/t/1/2").as_deref(), Some("DELETE /t/{*rest}"));
}

#[test]
fn a_more_specific_path_of_another_method_does_not_hide_a_route() {
    let table = table(&["GET /t/new", "POST /t/{id}"]);
    assert_eq!(found(&table, "POST", "/t/new").as_deref(), Some("POST /t/{id}"));
}

#[test]
fn head_goes_where_get_goes_unless_a_route_names_it() {
    let table = table(&["GET /a", "GET /b", "HEAD /b", "* /a"]);
    assert_eq!(found(&table, "HEAD", "/a").as_deref(), Some("GET /a"));
    assert_eq!(found(&table, "HEAD", "/b").as_deref(), Some("HEAD /b"));
}

#[test]
fn a_version_chooses_among_routes_of_the_same_path() {
    let table = table(&["GET /t version 1", "* /t version 2", "GET /t", "GET /t/{id}", "GET /u"]);
    let of = |version, method, path| {
        let found = table.find_version(version, method, path)?;
        Some((found.route.method.clone(), found.route.version.clone()))
    };
    let route =
        |method: &str, version: Option<&str>| Some((method.to_owned(), version.map(str::to_owned)));
    assert_eq!(of(Some("1"), "GET", "/t"), route("GET", Some("1")));
    assert_eq!(of(Some("2"), "GET", "/t"), route("*", Some("2")));
    assert_eq!(of(Some("2"), "PURGE", "/t"), route("*", Some("2")));
    assert_eq!(of(Some("1"), "PURGE", "/t"), None);
    for version in [None, Some("3")] {
        assert_eq!(of(version, "HEAD", "/t"), route("GET", None));
    }
    assert_eq!(of(Some("2"), "GET", "/t/7"), route("GET", None));
    assert!(table.depends_on_version("GET", "/t") && table.depends_on_version("PURGE", "/t"));
    assert!(!table.depends_on_version("GET", "/u") && !table.depends_on_version("GET", "/x"));
}

#[test]
fn paths_are_compared_raw() {
    let table = table(&["GET /t", "GET /t/{id}"]);
    assert_eq!(found(&table, "GET", "/t/"), None);
    assert_eq!(found(&table, "GET", "/%74"), None);
    assert_eq!(found(&table, "GET", "/T"), None);
    assert_eq!(found(&table, "GET", "/t/a%2Fb").as_deref(), Some("GET /t/{id}"));
    assert_eq!(found(&table, "get", "/t"), None);
    assert_eq!(found(&table, "GET", ""), None);
    assert_eq!(found(&table, "GET", "*"), None);
}

fn pattern() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        4 => select(vec!["a", "b", "ab", "abc"]).prop_map(str::to_owned),
        2 => select(vec!["{x}", "{y}"]).prop_map(str::to_owned),
    ];
    let tail = prop_oneof![3 => Just(None), 1 => Just(Some(String::new())), 1 => Just(Some("{*rest}".to_owned()))];
    (vec(segment, 0..5), tail).prop_map(|(mut segments, tail)| {
        segments.extend(tail);
        format!("/{}", segments.join("/"))
    })
}

fn versions() -> impl Strategy<Value = Option<&'static str>> {
    select(vec![None, None, Some("1"), Some("2")])
}

fn path() -> impl Strategy<Value = String> {
    vec(select(vec!["a", "b", "ab", "abc", "abcd", "c", "", "{x}"]), 0..6)
        .prop_map(|segments| format!("/{}", segments.join("/")))
}

proptest! {
    #[test]
    fn a_lookup_finds_what_trying_every_route_finds(
        routes in vec((select(vec!["GET", "HEAD", "POST", "*"]), pattern(), versions()), 1..12),
        requests in vec((select(vec!["GET", "HEAD", "POST", "PUT"]), path(), versions()), 1..30),
    ) {
        let mut unique: Vec<String> = Vec::new();
        let mut shapes = std::collections::HashSet::new();
        for (method, path, version) in &routes {
            if shapes.insert((*method, PathShape::of(path), *version)) {
                let version = version.map(|version| format!(" version {version}"));
                unique.push(format!("{method} {path}{}", version.unwrap_or_default()));
            }
        }
        let unique: Vec<&str> = unique.iter().map(String::as_str).collect();
        let config = sample::with_routes(&unique);
        let table = RouteTable::compile(&config);
        for (method, path, version) in &requests {
            let expected = oracle(&config, *version, method, path);
            let actual = table.find_version(*version, method, path).map(|found| found.route.clone());
            prop_assert_eq!(actual, expected, "{} {} {:?} in {:?}", method, path, version, unique);
        }
    }

    #[test]
    fn a_lookup_survives_any_path(path in ".*", method in ".*") {
        let table = table(&["GET /a/{x}/b", "GET /a/{*rest}", "* /{x}"]);
        let _found = table.find(&method, &path);
    }
}
