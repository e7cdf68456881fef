//! Whole files: what is accepted, and the exact words about what is not.

use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, proptest};
use proptest::{collection::vec, sample::Index};

use crate::{
    Config, Effect, LastResort, Problem,
    config::sample::{self, parse},
};

const COMPLETE: &str = include_str!("complete.toml");

/// Everything that is wrong with a text, one problem a line.
fn explain(text: &str) -> String {
    match parse(text) {
        Ok(_) => "nothing\n".to_owned(),
        Err(problems) => problems.iter().map(|problem| format!("{problem}\n")).collect(),
    }
}

/// What is wrong with the complete file after one replacement.
fn explain_with(from: &str, to: &str) -> String {
    assert!(COMPLETE.contains(from), "{from}");
    explain(&COMPLETE.replacen(from, to, 1))
}

#[test]
fn a_complete_file_is_read_with_every_value() {
    let config = parse(COMPLETE).expect("the file is valid");
    let capability = config.capabilities.get("tickets").expect("it is there");
    assert_eq!(capability.shift.steps, [5, 100]);
    assert_eq!(capability.abort.mismatch, 0.002);
    assert_eq!(capability.routes.len(), 4);
    assert_eq!(capability.routes[1].effect, Effect::Read);
    assert_eq!(capability.routes[0].line, 56);
    let shadow = capability.routes[0].shadow.as_ref().expect("it is there");
    assert_eq!(shadow.unordered, [("/data".to_owned(), "/id".to_owned())]);
    assert_eq!(shadow.max_body, 2 << 20);
    let table = &capability.tables[0];
    assert_eq!(table.source.to_string(), "public.ticket");
    assert_eq!(table.columns.get("tn").map(String::as_str), Some("number"));
    assert_eq!(table.omit, ["archive_flag"]);
    assert_eq!(table.filter.as_deref(), Some("queue_id <> 0"));
    assert_eq!(capability.references.len(), 1);
    let proxy = &config.proxy;
    assert_eq!(
        proxy.trusted_proxies,
        ["10.0.0.0/8", "2001:db8::7/128"].map(|net| net.parse().expect("one"))
    );
    assert_eq!(proxy.tls[0].listen.port(), 8443);
    assert_eq!(proxy.tls[0].client_auth, crate::ClientAuth::Optional);
    assert_eq!(proxy.tls[0].certificates[0].key.to_str(), Some("tls/key.pem"));
    assert_eq!((proxy.limits.max_body, proxy.limits.connections), (100 << 20, 5000));
    assert_eq!(config.capabilities["users"].routes[0].max_body, Some(64 << 10));
    assert_eq!(config.control.map(|control| control.database.0).as_deref(), Some("postgres://c"));
}

#[test]
fn defaults_are_filled_in() {
    let config = sample::with_routes(&["GET /a"]);
    assert_eq!(config.proxy.listen, ["127.0.0.1:8080".parse().expect("an address")]);
    assert_eq!(config.control, None);
    assert_eq!(config.cdc.copy_workers, 2);
    assert_eq!(config.cdc.wal_budget, 10 << 30);
    assert_eq!(config.cdc.wal_last_resort, LastResort::DropSlot);
    assert!(config.cdc.failover_slots);
    let capability = &config.capabilities["tickets"];
    assert_eq!(capability.shift.steps, [1, 10, 50, 100]);
    assert_eq!(capability.reverse.soak.as_secs(), 7 * 86_400);
    assert_eq!(config.upstreams["monolith"].timeouts.connect.as_millis(), 500);
    assert_eq!(config.upstreams["monolith"].health, None);
}

#[test]
fn all_problems_of_a_file_are_reported_at_once_in_its_order() {
    let text = r#"version = 2
[proxy]
listen = "127.0.0.1:8080"
admin = "localhost:9901"
[upstreams.monolth]
peers = []
[capabilities.Tickets]
upstream = "tickets"
shift = { steps = [10, 5], every = "10x" }
colour = 1
[[capabilities.Tickets.routes]]
match = "get /a"
[[capabilities.Tickets.tables]]
source = "ticket"
"#;
    let expected = r#"routes.toml:1:1: upstreams.monolith: is missing; everything no capability claims goes there; write [upstreams.monolith] with peers = ["127.0.0.1:3000"]
routes.toml:1:11: version: 2 is out of range; write 1
routes.toml:3:10: proxy.listen: a string is not a list; write for example ["127.0.0.1:8080"]
routes.toml:4:9: proxy.admin: "localhost:9901" is not an IP address with port; write for example "127.0.0.1:3000"
routes.toml:6:9: upstreams.monolth.peers: is empty; write for example ["127.0.0.1:3000"]
routes.toml:7:15: capabilities.Tickets: "Tickets" is not a name of lower-case letters, digits and _, at most 30, a letter first; write for example [capabilities.tickets]
routes.toml:8:12: capabilities.Tickets.upstream: there is no upstream "tickets"; write a table [upstreams.tickets] with its peers
routes.toml:9:19: capabilities.Tickets.shift.steps: the steps do not grow up to 100; write for example [1, 10, 50, 100]
routes.toml:9:36: capabilities.Tickets.shift.every: "10x" is not a duration; write for example "10m"
routes.toml:10:1: capabilities.Tickets.colour: unknown key; this table knows upstream, shift, abort, fence, reverse, routes, tables, references
routes.toml:12:9: capabilities.Tickets.routes[0].match: "get /a" has a method that is neither * nor upper case; write for example "GET /api/v1/tickets/{id}"
routes.toml:13:1: capabilities.Tickets.tables[0].target: is missing; write for example target = "public.ticket"
routes.toml:14:10: capabilities.Tickets.tables[0].source: "ticket" is a table name without its schema; write for example "public.ticket"
"#;
    assert_eq!(explain(text), expected);
}

#[test]
fn one_change_to_a_complete_file_is_explained() {
    let cases = include_str!("explained.txt");
    let mut written = String::new();
    for case in cases.split_terminator("---\n") {
        let mut lines = case.lines();
        let (from, to) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        let explained = explain_with(from, &to.replace('⏎', "\n"));
        written.push_str(&format!("{from}\n{to}\n{explained}---\n"));
    }
    assert_eq!(written, cases, "got:\n{written}");
}

#[test]
fn a_version_nobody_can_ask_for_is_explained() {
    let routes = ["GET /a version 1", "GET /a version 2", "GET /a", "GET /a version 2"];
    let text = sample::text(&routes);
    let lonely = text.replace("[api_versions]\nheader = \"accept-version\"\n", "");
    let explained = explain(&lonely);
    let remedy = "write [api_versions] with header = \"accept-version\"";
    assert_eq!(explained.matches(remedy).count(), 3, "{explained}");
    let tied =
        "routes.toml:20:9: capabilities.tickets.routes[3].match: the routes in lines 15 and 20";
    assert!(explain(&text).contains(tied), "{}", explain(&text));
    assert_eq!(explain(&text).lines().count(), 1, "{}", explain(&text));
    let nothing = explain(&text.replace("header = \"accept-version\"", "default = \"1\""));
    assert!(nothing.contains("api_versions: has neither header nor media_type"), "{nothing}");
}

#[test]
fn what_is_not_toml_has_its_syntax_errors_with_their_lines() {
    let expected = "\
routes.toml:2:12: string values must be quoted, expected literal string; correct the TOML here
routes.toml:4:1: duplicate key; keep one of them
";
    assert_eq!(explain("version = 1\nupstream = a b\nx = 1\nx = 2\n"), expected);
}

#[test]
fn an_empty_file_says_what_belongs_into_it() {
    let expected = "\
routes.toml:1:1: upstreams.monolith: is missing; everything no capability claims goes there; write [upstreams.monolith] with peers = [\"127.0.0.1:3000\"]
routes.toml:1:1: version: is missing; write for example version = 1
";
    assert_eq!(explain(""), expected);
}

#[test]
fn values_of_the_environment_are_used_and_never_printed() {
    let env = |name: &str| (name == "LEAK").then(|| "hunter2".to_owned());
    let none = |_: &std::path::Path| Err(std::io::ErrorKind::PermissionDenied.into());
    let text = COMPLETE
        .replace("\"127.0.0.1:3000\"", "\"${LEAK}\"")
        .replace("\"2s\"", "\"${EVERY:-2s}\"")
        .replace("\"postgres://t\"", "\"file:/run/${LEAK}\"")
        .replace("\"postgres://c\"", "\"${MISSING}\"");
    let problems = Config::parse("routes.toml", &text, &env, &none).expect_err("it is not valid");
    let explained: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
    let expected = "\
routes.toml:16:12: control.database: the environment variable MISSING is not set; set MISSING, or write a default as ${MISSING:-value}
routes.toml:31:10: upstreams.monolith.peers[0]: what \"${LEAK}\" stands for is not an IP address with port; write for example \"127.0.0.1:3000\"
routes.toml:39:12: upstreams.ticket.database: the file named by \"file:/run/${LEAK}\" cannot be read: permission denied; make the file readable for this process, or name another one
";
    assert_eq!(explained, expected);
}

#[test]
fn secrets_are_never_printed() {
    let config = parse(COMPLETE).expect("the file is valid");
    let debug = format!("{config:?}");
    let json = serde_json::to_string(&config).expect("it can be written");
    for text in [&debug, &json] {
        assert!(!text.contains("postgres://"), "{text}");
        assert!(text.contains("[secret]"), "{text}");
    }
}

#[test]
fn a_process_without_secrets_reads_the_rest_of_the_file() {
    let text = COMPLETE.replace("\"postgres://c\"", "\"${MISSING}\"");
    let config = Config::parse_without_secrets("routes.toml", &text, &|_| None);
    let config = config.expect("the file is valid");
    assert_eq!(config.control.map(|control| control.database.0).as_deref(), Some("${MISSING}"));
}

#[test]
fn the_digest_follows_the_meaning_and_not_the_layout_or_the_environment() {
    let digest = |text: &str| {
        Config::parse_without_secrets("routes.toml", text, &|_| Some("9".to_owned()))
            .expect("the file is valid")
            .digest
    };
    let first = digest(COMPLETE);
    assert_eq!(first.len(), 32);
    let moved = COMPLETE.replace("fall = 4, rise = 5", "rise = 5,   fall = 4") + "\n# a comment\n";
    assert_eq!(digest(&moved), first);
    assert_ne!(digest(&COMPLETE.replace("fall = 4", "fall = 5")), first);
    let of_env = |value: &'static str| {
        let text = COMPLETE.replace("\"3s\"", "\"${EVERY}\"");
        let config =
            Config::parse_without_secrets("routes.toml", &text, &|_| Some(value.to_owned()));
        config.expect("the file is valid").digest
    };
    assert_eq!(of_env("1s"), of_env("2s"));
}

#[test]
fn routes_are_numbered_over_the_whole_file() {
    let config = sample::with_routes(&["GET /a", "GET /b", "POST /a"]);
    let ids: Vec<usize> = config.capabilities["tickets"].routes.iter().map(|r| r.id.0).collect();
    assert_eq!(ids, [0, 1, 2]);
}

#[test]
fn a_file_nested_without_end_is_explained() {
    let depth = 200_000;
    let texts = [
        format!("a = {}", "[".repeat(depth)),
        format!("a = {}", "{a=".repeat(depth)),
        format!("{}a = 1", "a.".repeat(depth)),
        format!("[{}a]", "a.".repeat(depth)),
        format!("a = {{ {}a = 1 }}", "a.".repeat(depth)),
    ];
    for text in texts {
        assert!(parse(&text).is_err());
    }
}

#[test]
fn a_configuration_is_shown_in_the_words_of_the_file() {
    let config = sample::with_routes(&["GET /a"]);
    let shown = serde_json::to_value(&config.capabilities["tickets"]).expect("it is JSON");
    let expected = serde_json::json!({
        "name": "tickets",
        "upstream": "service",
        "shift": { "steps": [1, 10, 50, 100], "every": "10m", "cool_down": "15m", "retries": 2 },
        "abort": { "error_delta": "1%", "p99_ratio": 1.5, "mismatch": "0.1%", "coverage": "80%",
            "max_lag": "2s" },
        "fence": { "hold": "10s", "max_held": 2000, "lock_timeout": "500ms" },
        "reverse": { "soak": "7d" },
        "routes": [{
            "id": 0, "method": "GET", "path": "/a", "version": null, "effect": "read", "shadow": null,
            "max_body": null, "policy": null,
            "line": 12,
        }],
        "tables": [{
            "source": "public.ticket", "target": "public.tickets", "columns": {}, "omit": [],
            "where": null, "set": {}, "reverse": {}, "line": 8,
        }],
        "references": [],
    });
    assert_eq!(shown, expected);
}

/// Every problem points into the file.
fn is_sound(text: &str, problem: &Problem) -> bool {
    let lines = text.split('\n').count();
    (1..=lines).contains(&problem.line)
        && problem.column >= 1
        && !problem.message.is_empty()
        && !problem.remedy.is_empty()
}

fn mutated() -> impl Strategy<Value = String> {
    let piece = proptest::sample::select(vec![
        "\"",
        "'",
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        "=",
        ".",
        ",",
        "\n",
        "#",
        "${",
        "$",
        "0",
        "-1",
        "1e999",
        "true",
        "é",
        "\u{0}",
        "\u{feff}",
        "'''",
        "\"\"\"",
        "[a]",
        "[a.b]",
        "a.b = 1",
        "1979-05-27",
        "99999999999999999999",
        "nan",
        "capabilities",
        "routes",
        " ",
        "\\u",
    ]);
    vec((any::<Index>(), any::<Index>(), piece, any::<bool>()), 1..6).prop_flat_map(|edits| {
        let mut text: Vec<char> = COMPLETE.chars().collect();
        for (from, length, piece, removes) in edits {
            let from = from.index(text.len() + 1);
            let rest = text.len() - from;
            let until = from + if removes { length.index(rest.min(40) + 1) } else { 0 };
            text.splice(from..until, piece.chars());
        }
        Just(text.into_iter().collect::<String>())
    })
}

proptest! {
    #[test]
    fn any_text_is_read_or_explained(text in "(?s).{0,200}") {
        if let Err(problems) = parse(&text) {
            prop_assert!(!problems.is_empty());
            prop_assert!(problems.iter().all(|problem| is_sound(&text, problem)), "{problems:?}");
        }
    }

    #[test]
    fn any_damage_to_a_complete_file_is_read_or_explained(text in mutated()) {
        if let Err(problems) = parse(&text) {
            prop_assert!(!problems.is_empty());
            prop_assert!(problems.iter().all(|problem| is_sound(&text, problem)), "{problems:?}");
        }
    }

    #[test]
    fn reading_twice_gives_the_same(text in mutated()) {
        prop_assert_eq!(format!("{:?}", parse(&text)), format!("{:?}", parse(&text)));
    }
}
