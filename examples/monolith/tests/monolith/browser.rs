//! An agent with a browser: cookies, sessions, pages.

use reqwest::header::{HeaderMap, SET_COOKIE};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::world::World;

fn cookies(headers: &HeaderMap) -> String {
    let cookies = headers.get_all(SET_COOKIE).iter().filter_map(|cookie| cookie.to_str().ok());
    let pairs = cookies.filter_map(|cookie| cookie.split(';').next());
    pairs.collect::<Vec<_>>().join("; ")
}

#[tokio::test]
async fn a_browser_works_with_cookies_until_its_session_is_ended() -> anyhow::Result<()> {
    let world = World::new("monolith_browser").await?;
    let agent = world.sign_in("agent1").await?;
    let id = agent.create(json!({ "title": "Tea & <biscuits>", "queue_id": 1 })).await?;

    let form = [("login", "agent1"), ("password", "secret")];
    let login = world.http.post(format!("{}/login", world.base)).form(&form).send().await?;
    assert_eq!(login.status(), StatusCode::SEE_OTHER);
    assert_eq!(login.headers()["location"], "/tickets");
    let cookies = cookies(login.headers());
    let page = async |path: String| {
        let request = world.http.get(format!("{}{path}", world.base)).header("cookie", &cookies);
        request.send().await?.error_for_status()?.text().await
    };

    assert!(page("/tickets?page=1".to_owned()).await?.contains("Tea &amp; &lt;biscuits&gt;"));
    let note = world
        .http
        .post(format!("{}/agent/tickets/{id}/note", world.base))
        .header("cookie", &cookies)
        .form(&[("subject", "Milk"), ("body", "or lemon?")])
        .send()
        .await?;
    assert_eq!(note.status(), StatusCode::SEE_OTHER);
    assert_eq!(note.headers()["location"], format!("/tickets/{id}"));
    assert!(page(format!("/tickets/{id}")).await?.contains("or lemon?"));

    world.sql.batch_execute("DELETE FROM sessions").await?;
    let ended =
        world.request(Method::GET, "/api/v1/users/me").header("cookie", &cookies).send().await?;
    assert_eq!(ended.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(ended.headers().get_all(SET_COOKIE).iter().count(), 6);
    assert_eq!(ended.text().await?, r#"{"error":"Session has been terminated"}"#);
    Ok(())
}

#[tokio::test]
async fn reference_data_and_unknown_paths_are_answered() -> anyhow::Result<()> {
    let world = World::new("monolith_lookups").await?;
    let agent = world.sign_in("agent36").await?;
    for (path, count) in [("queues", 5), ("states", 9), ("priorities", 5)] {
        let (status, answer) = agent.get(&format!("/api/v1/{path}")).await?;
        assert_eq!((status, answer["data"].as_array().unwrap().len()), (StatusCode::OK, count));
    }
    let (_, queue) = agent.get("/api/v1/queues/5").await?;
    assert_eq!((&queue["data"]["name"], &queue["data"]["groups"]), (&json!("Reports"), &json!([])));
    let (_, users) = agent.get("/api/v1/users?per_page=2&search=agent").await?;
    assert_eq!((&users["pagination"]["total"], &users["data"][0]["id"]), (&json!(40), &json!(2)));
    let (_, health) = agent.get("/health/detailed").await?;
    assert_eq!(
        health,
        json!({ "auto_close_closed": 0, "auto_close_refused": 0, "database": "reachable",
                "status": "healthy" })
    );
    for (method, path) in [(Method::GET, "/api/v2"), (Method::DELETE, "/api/v1/tickets")] {
        let unknown = world.request(method, path).send().await?;
        assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
        assert_eq!(unknown.text().await?, "404 page not found");
    }
    Ok(())
}
