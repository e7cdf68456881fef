//! Who may do what, and what the others are told.

use reqwest::Method;
use serde_json::json;

use crate::world::{ADMIN, HELPER, READER, STRANGER, WORKER, World, customer_token, send, token};

#[tokio::test]
async fn each_route_asks_for_its_own_permission() -> anyhow::Result<()> {
    let world = World::start().await?;
    let create = json!({"title": "x", "queue_id": 1});
    let note = json!({"body": "x"});
    for (user, statuses) in [
        (ADMIN, [200, 201, 201, 200]),
        (WORKER, [200, 201, 201, 200]),
        (HELPER, [200, 201, 201, 403]),
        (READER, [200, 403, 403, 403]),
        (STRANGER, [403, 403, 403, 403]),
    ] {
        let seen = [
            world.get(user, "/api/v1/tickets/101").await?,
            world.post(user, "/api/v1/tickets", create.clone()).await?,
            world.post(user, "/api/v1/tickets/101/articles", note.clone()).await?,
            world.put(user, "/api/v1/tickets/101", json!({"title": "new"})).await?,
        ];
        assert_eq!(seen.each_ref().map(|answer| answer.status.as_u16()), statuses, "user {user}");
    }
    let refusal = world.put(READER, "/api/v1/tickets/101", json!({"title": "new"})).await?;
    assert_eq!(refusal.text, r#"{"error":"You do not have permission to access this queue"}"#);
    Ok(())
}

#[tokio::test]
async fn lists_show_only_tickets_in_readable_valid_queues() -> anyhow::Result<()> {
    let world = World::start().await?;
    let ids = |list: serde_json::Value| -> Vec<i64> {
        list["data"].as_array().unwrap().iter().map(|t| t["id"].as_i64().unwrap()).collect()
    };
    assert_eq!(ids(world.get(READER, "/api/v1/tickets").await?.json()?), [102, 101]);
    assert_eq!(ids(world.get(ADMIN, "/api/v1/tickets").await?.json()?), [104, 103, 102, 101]);
    let none = world.get(STRANGER, "/api/v1/tickets").await?;
    assert_eq!(none.expect(403)?.text, r#"{"error":"You do not have access to any queues"}"#);
    Ok(())
}

#[tokio::test]
async fn a_customer_with_the_id_of_an_administrator_sees_only_their_own() -> anyhow::Result<()> {
    let world = World::start().await?;
    let get =
        |path| send(world.request(Method::GET, path).bearer_auth(customer_token("anna@acme.test")));
    assert_eq!(get("/api/v1/tickets").await?.json()?["pagination"]["total"], 1);
    get("/api/v1/tickets/101").await?.expect(200)?;
    get("/api/v1/tickets/102").await?.expect(403)?;
    let articles = get("/api/v1/tickets/101/articles").await?.json()?;
    assert_eq!(articles["total"], 1, "internal notes are not shown");
    get("/api/v1/tickets/101/articles/202").await?.expect(404)?;
    Ok(())
}

#[tokio::test]
async fn without_identity_browsers_go_to_the_login_page_and_programs_get_401() -> anyhow::Result<()>
{
    let world = World::start().await?;
    let program = send(world.request(Method::GET, "/api/v1/tickets")).await?;
    assert_eq!(program.expect(401)?.text, r#"{"error":"Missing authorization token"}"#);
    let url = format!("http://{}/api/v1/tickets", world.http);
    let plain = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
    let browser = send(plain.get(url).header("accept", "text/html,*/*")).await?;
    assert_eq!(browser.expect(303)?.header("location"), Some("/login"));
    let bad = send(world.request(Method::GET, "/api/v1/tickets").bearer_auth("nonsense")).await?;
    assert_eq!(bad.expect(401)?.text, r#"{"error":"Invalid or expired token"}"#);
    assert_eq!(bad.headers.get_all("set-cookie").iter().count(), 4);
    Ok(())
}

#[tokio::test]
async fn a_token_in_a_cookie_is_as_good_as_one_in_the_header() -> anyhow::Result<()> {
    let world = World::start().await?;
    let cookie = format!("session_id=abc; access_token={}", token(READER));
    let request = world.request(Method::GET, "/api/v1/tickets/101").header("cookie", cookie);
    send(request).await?.expect(200)?;
    Ok(())
}
