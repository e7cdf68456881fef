//! Rule sets in the language of ModSecurity that a policy asks.

use http::StatusCode;
use proxy::Reloaded;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    policed,
    upstream::Reply,
    world::{BOUND, World, header},
};

const RULES: &str = r#"
SecRuleEngine On
SecRequestBodyAccess On
SecRule ARGS "@detectSQLi" "id:942100,phase:2,block,t:none,t:urlDecodeUni,setvar:tx.score=+5"
SecRule TX:SCORE "@ge 5" "id:949110,phase:2,deny,status:403,t:none"
"#;

const ATTACK: &str = "1' OR '1'='1";

/// A world whose policy asks these rules; the folder they are in.
async fn world(keys: &str) -> anyhow::Result<(World, TempDir)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("main.conf");
    std::fs::write(&file, RULES)?;
    let keys = format!("hygiene = \"off\"\nattack_rules = {{ file = {file:?}, {keys} }}");
    Ok((policed::plain(&keys).await?, folder))
}

async fn post(world: &World, body: impl Into<reqwest::Body>) -> anyhow::Result<reqwest::Response> {
    let request = world.client.post(world.url("/orders")).body(body);
    Ok(request.header("content-type", "application/json").send().await?)
}

async fn search(world: &World, text: &str) -> anyhow::Result<StatusCode> {
    let request = world.client.get(world.url("/search")).query(&[("q", text)]);
    Ok(request.send().await?.status())
}

/// Waits until so many examinations came to this.
async fn counted(world: &World, outcome: &str, wanted: f64) -> anyhow::Result<()> {
    let outcome = format!("outcome=\"{outcome}\"");
    let is_there = || async {
        let figure = world.figure("ficus_proxy_examinations_total", &outcome).await?;
        Ok((figure >= wanted).then_some(()))
    };
    testkit::wait_until(BOUND, is_there).await
}

#[tokio::test]
async fn what_rules_deny_never_reaches_an_upstream_whole() -> anyhow::Result<()> {
    let (world, _folder) = world(r#"mode = "block", body_max = "1KiB", budget = "10s""#).await?;
    let request = world.client.get(world.url("/search")).query(&[("q", ATTACK)]);
    let answer = request.send().await?;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert_eq!(answer.json::<Value>().await?["type"], "urn:ficus:problem:attack-rules");
    assert_eq!(world.monolith.count(), 0);
    let body = serde_json::json!({ "customer": { "name": ATTACK } }).to_string();
    let answer = post(&world, body.clone()).await?;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    let (first, second) = body.split_at(body.len() / 2);
    let parts = [first.to_owned(), second.to_owned()].map(Ok::<_, std::io::Error>);
    let parts = reqwest::Body::wrap_stream(futures::stream::iter(parts));
    assert_eq!(post(&world, parts).await?.status(), StatusCode::FORBIDDEN);
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(2_000));
    assert_eq!(post(&world, long).await?.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let whole = world.monolith.seen().iter().filter(|seen| !seen.body.is_empty()).count();
    assert_eq!(whole, 0);
    Ok(())
}

#[tokio::test]
async fn what_rules_say_nothing_against_arrives_as_it_was_sent() -> anyhow::Result<()> {
    let (world, _folder) = world(r#"mode = "block", budget = "10s""#).await?;
    assert_eq!(search(&world, "rock and roll").await?, StatusCode::OK);
    let body = r#"{ "customer": {"name": "Ann O'Neil"},  "paid": 10.50 }"#;
    assert_eq!(post(&world, body).await?.status(), StatusCode::OK);
    let parts = ["{\"a\":", " \"b\"", " }"].map(Ok::<_, std::io::Error>);
    let parts = reqwest::Body::wrap_stream(futures::stream::iter(parts));
    assert_eq!(post(&world, parts).await?.status(), StatusCode::OK);
    assert_eq!(world.client.delete(world.url("/orders/7")).send().await?.status(), StatusCode::OK);
    let seen = world.monolith.seen().clone();
    let bodies: Vec<_> = seen.iter().map(|seen| String::from_utf8_lossy(&seen.body)).collect();
    assert_eq!(bodies, ["", body, "{\"a\": \"b\" }", ""]);
    assert_eq!(header(&seen[1].headers, "content-length"), body.len().to_string());
    counted(&world, "passed", 4.0).await
}

#[tokio::test]
async fn where_rules_only_detect_everything_passes_and_is_counted() -> anyhow::Result<()> {
    let (world, _folder) = world(r#"body_max = "1KiB""#).await?;
    world.monolith.answer(|seen| Reply::json(String::from_utf8_lossy(&seen.body)));
    assert_eq!(search(&world, ATTACK).await?, StatusCode::OK);
    counted(&world, "detected", 1.0).await?;
    let body = serde_json::json!({ "name": ATTACK }).to_string();
    let answer = post(&world, body.clone()).await?;
    assert_eq!((answer.status(), answer.text().await?), (StatusCode::OK, body));
    counted(&world, "detected", 2.0).await?;
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(200_000));
    assert_eq!(post(&world, long.clone()).await?.text().await?, long);
    counted(&world, "too_long", 1.0).await
}

#[tokio::test]
async fn a_request_that_is_not_examined_in_time_is_refused_unless_the_file_says_otherwise()
-> anyhow::Result<()> {
    let (world, folder) = world(r#"mode = "block", budget = "1ms""#).await?;
    // Slow for every engine: each rule looks at each of many arguments.
    let slow: String = (0..3_000)
        .map(|id| format!("SecRule ARGS \"@rx (a|b|ab)*c{id}$\" \"id:{},phase:2,pass\"\n", id + 1))
        .collect();
    std::fs::write(folder.path().join("main.conf"), format!("{RULES}{slow}"))?;
    assert!(matches!(world.proxy.reload.reload().await?, Reloaded::Applied { .. }));
    let pairs: Vec<_> = (0..20).map(|name| (name.to_string(), "ab".repeat(50))).collect();
    let request = || world.client.get(world.url("/search")).query(&pairs).send();
    let answer = request().await?;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(header(answer.headers(), "retry-after"), "1");
    assert_eq!(world.monolith.count(), 0);
    let text = std::fs::read_to_string(world.path())?;
    std::fs::write(world.path(), text.replace("budget =", "over_budget = \"pass\", budget ="))?;
    world.proxy.reload.reload().await?;
    assert_eq!(request().await?.status(), StatusCode::OK);
    counted(&world, "late", 2.0).await
}

#[tokio::test]
async fn rules_are_read_again_and_bad_ones_replace_nothing() -> anyhow::Result<()> {
    let (world, folder) = world(r#"mode = "block", budget = "10s""#).await?;
    let file = folder.path().join("main.conf");
    assert_eq!(world.proxy.reload.reload().await?, Reloaded::Unchanged);
    std::fs::write(&file, format!("{RULES}SecRule ARGS \"@rx (\" \"id:1,phase:2,deny\"\n"))?;
    let refused = world.proxy.reload.reload().await?;
    assert!(
        matches!(&refused, Reloaded::Unreadable(why) if why.contains("main.conf")),
        "{refused:?}"
    );
    assert_eq!(search(&world, ATTACK).await?, StatusCode::FORBIDDEN);
    let more = "SecRule ARGS \"@streq pear\" \"id:2,phase:2,deny,status:403\"\n";
    std::fs::write(&file, format!("{RULES}{more}"))?;
    assert_eq!(search(&world, "pear").await?, StatusCode::OK);
    assert!(matches!(world.proxy.reload.reload().await?, Reloaded::Applied { .. }));
    assert_eq!(search(&world, "pear").await?, StatusCode::FORBIDDEN);
    Ok(())
}
