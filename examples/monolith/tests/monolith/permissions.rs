//! Who may do what, and what everybody else is told.

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn an_agent_may_do_what_the_groups_of_the_queue_grant_and_nothing_else() -> anyhow::Result<()>
{
    let world = World::new("monolith_permissions").await?;
    let admin = world.sign_in("root@localhost").await?;
    let reports = admin.create(json!({ "title": "Figures", "queue_id": 5 })).await?;
    let misc = admin.create(json!({ "title": "Anything", "queue_id": 4 })).await?;
    let forbidden = (
        StatusCode::FORBIDDEN,
        json!({ "error": "You do not have permission to access this queue" }),
    );

    let worker = world.sign_in("agent6").await?;
    assert_eq!(worker.get(&format!("/api/v1/tickets/{reports}")).await?, forbidden);
    let (_, list) = worker.get("/api/v1/tickets").await?;
    assert_eq!((&list["pagination"]["total"], &list["data"][0]["id"]), (&json!(1), &json!(misc)));

    let reader = world.sign_in("agent36").await?;
    assert_eq!(reader.get(&format!("/api/v1/tickets/{misc}")).await?.0, StatusCode::OK);
    assert_eq!(
        reader.put(&format!("/api/v1/tickets/{misc}"), json!({ "title": "x" })).await?,
        forbidden
    );
    let articles = format!("/api/v1/tickets/{misc}/articles");
    assert_eq!(reader.post(&articles, json!({ "body": "x" })).await?, forbidden);
    assert_eq!(
        reader.post("/api/v1/tickets", json!({ "title": "x", "queue_id": 1 })).await?,
        forbidden
    );

    let writer = world.sign_in("agent31").await?;
    assert_eq!(writer.post(&articles, json!({ "body": "x" })).await?.0, StatusCode::CREATED);
    assert_eq!(writer.post(&format!("/api/v1/tickets/{misc}/close"), json!({})).await?, forbidden);

    let nobody = world.sign_in("agent40").await?;
    let (status, refused) = nobody.get("/api/v1/tickets").await?;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(refused, json!({ "error": "You do not have access to any queues" }));
    Ok(())
}

#[tokio::test]
async fn requests_without_a_valid_token_are_refused_the_way_clients_expect() -> anyhow::Result<()> {
    let world = World::new("monolith_tokens").await?;

    let missing = world.request(Method::GET, "/api/v1/tickets").send().await?;
    assert_eq!(missing.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(missing.text().await?, r#"{"error":"Missing authorization token"}"#);
    let browser = world.http.get(format!("{}/api/v1/tickets", world.base)).send().await?;
    assert_eq!(browser.status(), StatusCode::SEE_OTHER);
    assert_eq!(browser.headers()["location"], "/login");

    let (one, other) = (world.sign_in("agent1").await?, world.sign_in("root@localhost").await?);
    let (signed_for_one, _) = one.token.rsplit_once('.').unwrap();
    let (_, signature_of_other) = other.token.rsplit_once('.').unwrap();
    let forged = format!("{signed_for_one}.{signature_of_other}");
    let refused = world.request(Method::GET, "/api/v1/users/me").bearer_auth(forged).send().await?;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(refused.headers().get_all("set-cookie").iter().count(), 4);
    assert_eq!(refused.text().await?, r#"{"error":"Invalid or expired token"}"#);

    let body = json!({ "login": "agent1", "password": "wrong" });
    let login = world.request(Method::POST, "/api/v1/auth/login").json(&body).send().await?;
    assert_eq!(login.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(login.text().await?, r#"{"error":"Invalid credentials","success":false}"#);

    let (_, me) = one.get("/api/v1/users/me").await?;
    assert_eq!(
        me["data"],
        json!({ "email": "agent1", "first_name": "Ben", "id": 2, "last_name": "Albers", "login": "agent1",
                "role": "Agent" })
    );
    Ok(())
}
