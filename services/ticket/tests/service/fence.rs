//! Writes while the other side owns the tickets.

use reqwest::Method;
use serde_json::json;

use crate::world::{ADMIN, World, send, token};

#[tokio::test]
async fn every_fenced_write_is_answered_503_and_leaves_nothing() -> anyhow::Result<()> {
    let world = World::start().await?;
    world.fence().await?;
    let before = world.row_counts().await?;
    let writes = [
        (Method::POST, "/api/v1/tickets", json!({"title": "x", "queue_id": 1})),
        (Method::PUT, "/api/v1/tickets/101", json!({"title": "x"})),
        (Method::POST, "/api/v1/tickets/101/close", json!({})),
        (Method::POST, "/api/v1/tickets/102/reopen", json!({"reason": "x"})),
        (Method::POST, "/api/v1/tickets/101/articles", json!({"body": "x"})),
    ];
    for (method, path, body) in writes {
        let request = world.request(method, path).bearer_auth(token(ADMIN)).json(&body);
        let answer = send(request).await?;
        assert_eq!(
            answer.expect(503)?.text,
            r#"{"error":"tickets are owned by the other side at the moment","success":false}"#,
            "{path}"
        );
        assert_eq!(answer.header("retry-after"), Some("1"), "{path}");
        assert_eq!(answer.header("ficus-fenced"), Some("true"), "{path}");
    }
    let form = world.request(Method::POST, "/agent/tickets/101/note");
    let answer = send(form.bearer_auth(token(ADMIN)).form(&[("body", "x")])).await?;
    assert_eq!(answer.expect(503)?.header("ficus-fenced"), Some("true"));
    assert_eq!(world.row_counts().await?, before);
    Ok(())
}

#[tokio::test]
async fn reads_pass_the_fence() -> anyhow::Result<()> {
    let world = World::start().await?;
    world.fence().await?;
    world.get(ADMIN, "/api/v1/tickets/101").await?.expect(200)?;
    world.get(ADMIN, "/api/v1/tickets").await?.expect(200)?;
    Ok(())
}
