//! Writes that are done and undone.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{ADMIN, Answer, World, send, token};

async fn dry(world: &World, method: Method, path: &str, body: Value) -> anyhow::Result<Answer> {
    let request = world.request(method, path).bearer_auth(token(ADMIN)).json(&body);
    send(request.header("ficus-dry-run", "1")).await
}

#[tokio::test]
async fn a_dry_run_answers_as_if_done_and_leaves_no_row() -> anyhow::Result<()> {
    let world = World::start().await?;
    let before = world.row_counts().await?;
    let title: String = world.value("select title from tickets where id = 101").await?;
    let new = json!({"title": "Lamp", "queue_id": 1, "body": "It is dark."});
    for (method, path, body, status) in [
        (Method::POST, "/api/v1/tickets", new, StatusCode::CREATED),
        (Method::PUT, "/api/v1/tickets/101", json!({"title": "x"}), StatusCode::OK),
        (Method::POST, "/api/v1/tickets/101/close", json!({}), StatusCode::OK),
        (Method::POST, "/api/v1/tickets/101/articles", json!({"body": "x"}), StatusCode::CREATED),
    ] {
        let answer = dry(&world, method, path, body).await?;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.json()?["success"], true, "{path}");
        assert_eq!(answer.header("ficus-dry-run"), Some("1"), "the answer confirms it: {path}");
    }
    assert_eq!(world.row_counts().await?, before);
    assert_eq!(world.value::<String>("select title from tickets where id = 101").await?, title);
    Ok(())
}

#[tokio::test]
async fn a_dry_run_cannot_collide_with_replicated_rows() -> anyhow::Result<()> {
    let world = World::start().await?;
    world.sql.batch_execute("update tickets set id = 1 where id = 104").await?;
    let body = json!({"title": "Lamp", "queue_id": 1});
    let answer = dry(&world, Method::POST, "/api/v1/tickets", body).await?;
    let id = answer.expect(201)?.json()?["data"]["id"].as_i64();
    assert!(id < Some(0), "{id:?} is not one a replicated row could have");
    Ok(())
}

#[tokio::test]
async fn a_dry_run_refuses_what_a_real_one_refuses() -> anyhow::Result<()> {
    let world = World::start().await?;
    let answer = dry(&world, Method::POST, "/api/v1/tickets", json!({"title": "x"})).await?;
    answer.expect(400)?;
    Ok(())
}

#[tokio::test]
async fn an_unclear_dry_run_header_is_refused_before_anything_is_done() -> anyhow::Result<()> {
    let world = World::start().await?;
    let before = world.row_counts().await?;
    let request = world.request(Method::POST, "/api/v1/tickets").bearer_auth(token(ADMIN));
    let body = json!({"title": "Lamp", "queue_id": 1});
    send(request.json(&body).header("ficus-dry-run", "true")).await?.expect(400)?;
    assert_eq!(world.row_counts().await?, before);
    Ok(())
}
