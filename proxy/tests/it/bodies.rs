//! JSON bodies that a policy changes on their way.

use http::StatusCode;
use serde_json::Value;

use crate::{policed, upstream::Reply, world::header};

const REQUEST: &str = r#"request_body = { max = "1KiB", remove = ["/debug"], rename = { "/customer/name" = "full_name" }, set = { "/source" = '"web"' } }"#;
const ANSWER: &str =
    r#"response_body = { unwrap = "/data", remove = ["/*/secret"], wrap = "tickets" }"#;

#[tokio::test]
async fn an_upstream_gets_the_changed_body_and_its_true_length() -> anyhow::Result<()> {
    let world = policed::plain(REQUEST).await?;
    let body = r#"{"debug":true,"customer":{"name":"Ann","paid":10.50}}"#;
    let request = world.client.post(world.url("/orders")).body(body);
    let answer = request.header("content-type", "application/json").send().await?;
    assert_eq!(answer.status(), StatusCode::OK);
    let seen = world.monolith.seen();
    let changed = r#"{"customer":{"full_name":"Ann","paid":10.50},"source":"web"}"#;
    assert_eq!(String::from_utf8_lossy(&seen[0].body), changed);
    let length = header(&seen[0].headers, "content-length");
    assert!(length.is_empty() || length == changed.len().to_string(), "{length}");
    Ok(())
}

#[tokio::test]
async fn a_body_in_parts_is_changed_as_a_whole() -> anyhow::Result<()> {
    let world = policed::plain(REQUEST).await?;
    let parts = ["{\"deb", "ug\":1,", "\"a\":2}"].map(Ok::<_, std::io::Error>);
    let body = reqwest::Body::wrap_stream(futures::stream::iter(parts));
    let request = world.client.post(world.url("/orders")).body(body);
    request.header("content-type", "application/json").send().await?;
    let seen = world.monolith.seen();
    assert_eq!(String::from_utf8_lossy(&seen[0].body), r#"{"a":2,"source":"web"}"#);
    Ok(())
}

#[tokio::test]
async fn a_request_without_a_body_passes() -> anyhow::Result<()> {
    let world = policed::plain(REQUEST).await?;
    assert_eq!(world.get("/orders").await?.status(), StatusCode::OK);
    assert_eq!(world.client.delete(world.url("/orders/7")).send().await?.status(), StatusCode::OK);
    assert_eq!(world.monolith.count(), 2);
    Ok(())
}

#[tokio::test]
async fn a_body_that_cannot_be_changed_never_reaches_the_upstream() -> anyhow::Result<()> {
    let world = policed::plain(REQUEST).await?;
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(2_000));
    let cases = [
        ("text/plain", "{\"debug\":1}".to_owned(), 415),
        ("application/json", "{\"debug\":".to_owned(), 400),
        ("application/json", "{\"a\":1,\"a\":2}".to_owned(), 400),
        ("application/json", long.clone(), 413),
    ];
    for (kind, body, status) in cases {
        let request = world.client.post(world.url("/orders")).body(body.clone());
        let answer = request.header("content-type", kind).send().await?;
        assert_eq!(answer.status().as_u16(), status, "{kind} {body}");
        assert_eq!(header(answer.headers(), "content-type"), "application/problem+json");
    }
    let parts = [Ok::<_, std::io::Error>(long)];
    let body = reqwest::Body::wrap_stream(futures::stream::iter(parts));
    let request = world.client.post(world.url("/orders")).body(body);
    let answer = request.header("content-type", "application/json").send().await?;
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let whole = world.monolith.seen().iter().filter(|seen| !seen.body.is_empty()).count();
    assert_eq!(whole, 0);
    Ok(())
}

#[tokio::test]
async fn a_client_gets_the_changed_answer_whole() -> anyhow::Result<()> {
    let world = policed::plain(ANSWER).await?;
    world.monolith.answer(|seen| {
        assert_eq!(header(&seen.headers, "range"), "");
        assert_eq!(header(&seen.headers, "accept-encoding"), "");
        Reply::json(r#"{"data":[{"id":1,"secret":"x"},{"id":2.0}],"meta":1}"#)
    });
    let request = world.client.get(world.url("/tickets")).header("accept-encoding", "gzip");
    let answer = request.header("range", "bytes=0-3").send().await?;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.text().await?, r#"{"tickets":[{"id":1},{"id":2.0}]}"#);
    Ok(())
}

#[tokio::test]
async fn answers_that_are_not_json_pass_and_broken_ones_do_not() -> anyhow::Result<()> {
    let world = policed::plain(ANSWER).await?;
    world.monolith.answer(|_| {
        let headers = vec![("content-type", "text/html")];
        Reply { status: StatusCode::OK, headers, body: "<p>data</p>".to_owned() }
    });
    assert_eq!(world.get("/page").await?.text().await?, "<p>data</p>");
    let head = world.client.head(world.url("/page")).send().await?;
    assert_eq!(head.status(), StatusCode::OK);
    world.monolith.answer(|_| {
        let mut reply = Reply::json("compressed");
        reply.headers.push(("content-encoding", "gzip"));
        reply
    });
    let answer = world.get("/page").await?;
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    let problem: Value = answer.json().await?;
    assert_eq!(problem["type"], "urn:ficus:problem:answer-unchangeable");
    world.monolith.answer(|_| Reply::json("{\"data\":"));
    let is_whole = match world.get("/page").await {
        Ok(answer) => answer.status() == StatusCode::OK && answer.text().await.is_ok(),
        Err(_) => false,
    };
    assert!(!is_whole, "half of a document was passed on as a whole one");
    Ok(())
}

#[tokio::test]
async fn a_kept_answer_is_changed_each_time() -> anyhow::Result<()> {
    let world = policed::plain(&format!("{ANSWER}\ncache = {{ fresh = \"1m\" }}")).await?;
    world.monolith.answer(|_| Reply::json(r#"{"data":[{"secret":1}]}"#));
    for _ in 0..2 {
        assert_eq!(world.get("/tickets").await?.text().await?, r#"{"tickets":[{}]}"#);
    }
    assert_eq!(world.monolith.count(), 1);
    Ok(())
}
