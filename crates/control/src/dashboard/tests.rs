//! The markup of the page, for one status after another.

use base64::{Engine, engine::general_purpose::STANDARD};
use cutover::{Epoch, GuardState, Phase};
use sha2::{Digest, Sha256};

use super::{
    SCRIPT, SCRIPT_HASH, STYLE, STYLE_HASH, fragment, page,
    sample::{NOW, advice, fresh, guard, journal, status, stream},
    words,
};
use crate::api::{CapabilityStatus, Status, Traffic};

fn shown(one: CapabilityStatus) -> String {
    let status = Status { capabilities: vec![one], now_unix_ms: NOW, ..status() };
    fragment(&status, &[]).into_string()
}

/// The text of the first element that begins with `from`, up to `to`.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let (_, rest) = text.split_once(from).unwrap_or_else(|| panic!("{from} is not in {text}"));
    rest.split_once(to).map_or(rest, |(inner, _)| inner)
}

#[test]
fn the_policy_names_exactly_the_style_and_the_script_that_are_sent() {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
    assert_eq!((STYLE_HASH, SCRIPT_HASH), (hash(STYLE).as_str(), hash(SCRIPT).as_str()));
    let page = page(&status(), &journal()).into_string();
    assert!(page.contains(&format!("<style>{STYLE}</style>")));
    assert!(page.contains(&format!("<script>{SCRIPT}</script>")));
    // the policy would ignore these silently
    assert!(!page.contains(" style=") && !page.contains(" onclick="));
}

/// With `FICUS_DASHBOARD_PAGE` the sample is written there, for looking at it in a browser.
#[test]
fn the_sample_page_asks_nobody_else_for_anything() {
    let page = page(&status(), &journal()).into_string();
    for word in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!page.contains(word), "{word}");
    }
    if let Some(path) = std::env::var_os("FICUS_DASHBOARD_PAGE") {
        std::fs::write(path, page).unwrap();
    }
}

#[test]
fn hostile_names_and_texts_stay_text() {
    let hostile = "<script>alert(1)</script>\" onload=\"x";
    let mut one = fresh(hostile, hostile);
    one.advice = vec![advice(true, hostile, Some(hostile))];
    let mut bad = stream(hostile, hostile);
    bad.reason = hostile.to_owned();
    bad.tables[0].source = hostile.to_owned();
    one.streams = vec![bad];
    let mut entries = journal();
    entries[0].detail = hostile.to_owned();
    let status = Status { capabilities: vec![one], ..status() };
    let html = fragment(&status, &entries).into_string();
    assert!(!html.contains("<script") && !html.contains("\" onload"), "{html}");
    assert!(html.contains("&lt;script&gt;"));
}

#[test]
fn an_unknown_lag_reads_unknown_and_a_known_one_does_not() {
    let lag = |ms, bytes| {
        let mut stream = stream("forward", "streaming");
        (stream.lag_ms, stream.lag_bytes) = (ms, bytes);
        let html = shown(CapabilityStatus { streams: vec![stream], ..fresh("tickets", "ticket") });
        between(&html, "<dt>Lag</dt><dd>", "</dd>").to_owned()
    };
    assert_eq!(lag(None, None), "<span class=\"unknown\">unknown</span>");
    assert!(lag(Some(0), None).starts_with("0.0 ms") && lag(Some(0), None).contains("unknown"));
    assert!(!lag(Some(12), Some(2048)).contains("unknown"));
}

#[test]
fn guards_that_were_not_read_are_unknown() {
    let one = CapabilityStatus { source_guard: guard(GuardState::Open, 7), ..fresh("a", "b") };
    let html = shown(one);
    let row = between(&html, "guard</th>", "</tr>");
    assert!(row.contains("open") && row.contains("epoch 7"), "{row}");
    assert!(row.ends_with("<td><span class=\"unknown\">unknown</span></td>"), "{row}");
}

#[test]
fn traffic_without_a_connected_proxy_is_unknown_not_zero() {
    let traffic = Traffic { requests_source: 5, ..Traffic::default() };
    let mut status = Status {
        capabilities: vec![CapabilityStatus { traffic, ..fresh("tickets", "ticket") }],
        ..status()
    };
    let answered = |status: &Status| {
        let html = fragment(status, &[]).into_string();
        between(&html, "answered</th>", "</tr>").to_owned()
    };
    assert!(answered(&status).contains("<td>5</td><td>0</td>"));
    status.proxies.retain(|proxy| !proxy.connected);
    assert_eq!(answered(&status).matches("unknown</span>").count(), 2);
}

#[test]
fn the_phase_is_marked_on_the_path_and_only_there() {
    let phases = [
        (Phase::Monolith, 0, "monolith"),
        (Phase::Reading { percent: 25 }, 3, "reading 25%"),
        (Phase::Completed, 5, "completed"),
    ];
    for (phase, past, name) in phases {
        let html = shown(CapabilityStatus { phase, ..fresh("tickets", "ticket") });
        assert_eq!(html.matches("aria-current=\"step\"").count(), 1, "{name}");
        assert!(between(&html, "aria-current=\"step\"", "</li>").contains(name), "{html}");
        assert_eq!(html.matches("<li class=\"past\"").count(), past, "{name}");
    }
}

#[test]
fn a_transfer_is_shown_step_by_step_with_what_it_held() {
    let html = fragment(&status(), &[]).into_string();
    let steps = between(&html, "<ol class=\"steps\">", "</ol>");
    assert_eq!(steps.matches("<li").count(), 10);
    // hold to publish
    assert_eq!(steps.matches("class=\"held\"").count(), 8);
    assert!(html.contains("writes were held for <strong>214 ms</strong>"));
    assert!(html.contains("the point of no return"));
}

#[test]
fn an_overdue_fence_and_a_prepared_owner_are_told() {
    let mut one = fresh("tickets", "ticket");
    one.source_guard = guard(GuardState::Fenced, 4).map(|mut row| {
        row.overdue = true;
        row
    });
    one.target_guard = guard(GuardState::Moved, 3).map(|mut row| {
        row.prepared = Epoch(4);
        row
    });
    let html = shown(one);
    assert!(html.contains("fenced, overdue") && html.contains("prepared for 4"), "{html}");
}

#[test]
fn figures_are_written_for_people() {
    assert_eq!(words::ago(0, 90_999), "90 s ago");
    assert_eq!(words::ago(0, 600_000), "10 min ago");
    assert_eq!(words::ago(0, 3 * 86_400_000), "3 d ago");
    assert_eq!(words::ago(5, 0), "now");
    assert_eq!(words::count(1_234_567), "1\u{202f}234\u{202f}567");
    assert_eq!(words::count(123), "123");
    assert_eq!(
        (words::bytes(1023), words::bytes(33_554_432)),
        ("1023 B".into(), "32.0 MiB".into())
    );
    assert_eq!(words::ms(0.42), "0.4 ms");
    assert_eq!(words::ms(3_210.0), "3.2 s");
    assert_eq!(words::share(1, 100_000).as_deref(), Some("< 0.1 %"));
    assert_eq!(words::share(0, 0), None);
}
