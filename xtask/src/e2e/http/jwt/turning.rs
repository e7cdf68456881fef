//! What takes time: tokens that the proxy remembers, and keys that turn, end, or cannot be had.

use anyhow::ensure;
use serde_json::json;
use testkit::http::Answers;

use super::forge::{By, ED_HEADER, LEEWAY, claims, ed_key, encode, now, with};
use super::provider::Keys;
use super::{BOUND, GROUP, Guarded, STALE, add};
use crate::e2e::http::report::Report;

const ISSUER: &str = "turning";

/// Tokens that name keys nobody has.
const FLOOD: usize = 300;

const CASES: [(&str, &str); 7] = [
    ("a remembered token with other claims", "RFC 7515 5.2"),
    ("a token that ends while it is remembered", "RFC 7519 4.1.4: exp"),
    ("300 tokens that name unknown keys", "bounded work"),
    ("sets of keys that are none", "the old keys stay"),
    ("a key that is taken away", "rotation"),
    ("keys that cannot be fetched any more", "stale keys end"),
    ("keys that are there again", "rotation"),
];

pub(super) async fn run(guarded: &Guarded, report: &mut Report) -> anyhow::Result<()> {
    for (index, (name, rule)) in CASES.into_iter().enumerate() {
        if !report.wants(GROUP, name) {
            continue;
        }
        let outcome = match index {
            0 => changed(guarded).await,
            1 => ends(guarded).await,
            2 => flood(guarded).await,
            3 => broken_sets(guarded).await,
            4 => taken_away(guarded).await,
            5 => unreachable(guarded).await,
            _ => again(guarded).await,
        };
        add(report, name, rule, outcome);
        drop(guarded.recorder.take());
    }
    Ok(())
}

fn token(guarded: &Guarded, kid: &str, by: By<'_>) -> String {
    let header = json!({ "alg": "EdDSA", "kid": kid }).to_string();
    guarded.forge.token(&header, &claims("https://turning.example").to_string(), by)
}

fn is_passed(answers: &Answers) -> bool {
    answers.statuses == [200]
}

/// The set with one key; the next one has another name and is the stranger's.
fn set(guarded: &Guarded, has_turned: bool) -> Keys {
    let key = match has_turned {
        false => ed_key("one", &guarded.forge.ed),
        true => ed_key("two", &guarded.forge.stranger),
    };
    Keys::Set(json!({ "keys": [key] }))
}

/// Waits until the proxy has fetched the keys once more.
async fn fetched(guarded: &Guarded) -> anyhow::Result<()> {
    // one fetch may have begun before the set was changed
    let enough = guarded.provider.fetches(ISSUER) + 2;
    let is_enough = || async { Ok((guarded.provider.fetches(ISSUER) >= enough).then_some(())) };
    testkit::wait_until(BOUND, is_enough).await
}

async fn changed(guarded: &Guarded) -> anyhow::Result<String> {
    let good = guarded.forge.good();
    ensure!(is_passed(&guarded.ask(&good).await?), "the good token did not pass");
    let parts: Vec<&str> = good.split('.').collect();
    let [header, payload, signature] = parts.as_slice() else { anyhow::bail!("no token") };
    let other = with(claims("https://ed.example"), "sub", json!("admin"));
    let other = encode(other.to_string());
    let flipped = encode(guarded.forge.signature(b"something else", By::Ed));
    for forged in [
        format!("{header}.{other}.{signature}"),
        format!("{header}.{payload}.{flipped}"),
        format!("{}.{payload}.{signature}", encode(r#"{"alg":"none"}"#)),
        format!("{header}.{payload}."),
    ] {
        let answers = guarded.ask(&forged).await?;
        ensure!(answers.statuses == [401], "answered {:?} to {forged}", answers.statuses);
    }
    Ok("401".to_owned())
}

async fn ends(guarded: &Guarded) -> anyhow::Result<String> {
    let end = now() + 4;
    let claims = with(claims("https://ed.example"), "exp", json!(end - LEEWAY));
    let token = guarded.forge.token(ED_HEADER, &claims.to_string(), By::Ed);
    ensure!(is_passed(&guarded.ask(&token).await?), "it did not pass before its end");
    let is_refused = || async { Ok((guarded.ask(&token).await?.statuses == [401]).then_some(())) };
    testkit::wait_until(BOUND, is_refused).await?;
    let late = now() - end;
    ensure!((0..=5).contains(&late), "it was refused {late} s after its end");
    Ok("401 from its end on".to_owned())
}

/// However many tokens name keys that are not there, the issuer is asked only now and then.
async fn flood(guarded: &Guarded) -> anyhow::Result<String> {
    let before = guarded.provider.fetches("ed");
    let begun = now();
    for number in 0..FLOOD {
        let header = json!({ "alg": "EdDSA", "kid": format!("unknown-{number}") }).to_string();
        let claims = claims("https://ed.example").to_string();
        let answers = guarded.ask(&guarded.forge.token(&header, &claims, By::Stranger)).await?;
        ensure!(answers.statuses == [401], "answered {:?}", answers.statuses);
    }
    let fetches = guarded.provider.fetches("ed") - before;
    let seconds = usize::try_from(now() - begun).unwrap_or_default();
    ensure!(fetches <= 2 + seconds, "{fetches} fetches within {seconds} s");
    ensure!(is_passed(&guarded.ask(&guarded.forge.good()).await?), "the good token did not pass");
    Ok(format!("{fetches} fetches"))
}

async fn broken_sets(guarded: &Guarded) -> anyhow::Result<String> {
    let good = token(guarded, "one", By::Ed);
    let stranger = ed_key("one", &guarded.forge.stranger);
    let no_key = with(stranger, "x", json!("AAAA"));
    let answers = [
        Keys::Text("<html>"),
        Keys::Text("{}"),
        Keys::Text(r#"{"keys":[]}"#),
        Keys::Set(json!({ "keys": [no_key] })),
        Keys::Set(json!({ "keys": [{ "kty": "oct", "kid": "one", "k": "c2VjcmV0" }] })),
        Keys::Huge,
        Keys::Redirect,
        Keys::Failure,
    ];
    for keys in answers {
        let shown = format!("{keys:?}");
        guarded.provider.answer(ISSUER, keys);
        fetched(guarded).await?;
        let answers = guarded.ask(&good).await?;
        ensure!(is_passed(&answers), "{shown}: {:?}", answers.statuses);
        let trapped = guarded.provider.take_trapped();
        ensure!(trapped.is_empty(), "the proxy went to {trapped:?}");
        guarded.provider.answer(ISSUER, set(guarded, false));
        fetched(guarded).await?;
    }
    Ok("the good token passes".to_owned())
}

async fn taken_away(guarded: &Guarded) -> anyhow::Result<String> {
    let (old, new) = (token(guarded, "one", By::Ed), token(guarded, "two", By::Stranger));
    ensure!(is_passed(&guarded.ask(&old).await?), "the old token did not pass");
    ensure!(guarded.ask(&new).await?.statuses == [401], "the new token passed too early");
    guarded.provider.answer(ISSUER, set(guarded, true));
    let has_turned = || async { Ok(is_passed(&guarded.ask(&new).await?).then_some(())) };
    testkit::wait_until(BOUND, has_turned).await?;
    // it was remembered as good
    let answers = guarded.ask(&old).await?;
    ensure!(answers.statuses == [401], "the old token is answered {:?}", answers.statuses);
    Ok("new 200, old 401".to_owned())
}

async fn unreachable(guarded: &Guarded) -> anyhow::Result<String> {
    guarded.provider.answer(ISSUER, set(guarded, false));
    let good = token(guarded, "one", By::Ed);
    let passes = || async { Ok(is_passed(&guarded.ask(&good).await?).then_some(())) };
    testkit::wait_until(BOUND, passes).await?;
    guarded.provider.answer(ISSUER, Keys::Failure);
    let begun = now();
    let is_unavailable = || async {
        let answers = guarded.ask(&good).await?;
        let has_ended = answers.statuses == [503];
        ensure!(has_ended || is_passed(&answers), "answered {:?}", answers.statuses);
        let text = String::from_utf8_lossy(&answers.bytes).to_ascii_lowercase();
        ensure!(!has_ended || text.contains("\r\nretry-after: "), "no Retry-After in {text}");
        Ok(has_ended.then_some(()))
    };
    testkit::wait_until(BOUND, is_unavailable).await?;
    let seconds = now() - begun;
    let stale = i64::try_from(STALE.as_secs())?;
    ensure!((stale - 2..=stale + 5).contains(&seconds), "503 after {seconds} s");
    drop(guarded.recorder.take());
    ensure!(guarded.ask(&good).await?.statuses == [503], "it passed again");
    ensure!(guarded.recorder.take().is_empty(), "it reached the upstream");
    // the others go on
    ensure!(is_passed(&guarded.ask(&guarded.forge.good()).await?), "another issuer's did not pass");
    Ok(format!("503 after {seconds} s"))
}

async fn again(guarded: &Guarded) -> anyhow::Result<String> {
    guarded.provider.answer(ISSUER, set(guarded, false));
    let good = token(guarded, "one", By::Ed);
    let passes = || async { Ok(is_passed(&guarded.ask(&good).await?).then_some(())) };
    testkit::wait_until(BOUND, passes).await?;
    Ok("200".to_owned())
}
