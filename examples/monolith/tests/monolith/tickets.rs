//! A ticket's life over the JSON API.

use reqwest::StatusCode;
use serde_json::json;

use crate::world::{World, keys};

const SUMMARY_KEYS: [&str; 18] = [
    "create_time",
    "created_at",
    "customer_id",
    "customer_user_id",
    "id",
    "priority_id",
    "priority_name",
    "queue_id",
    "queue_name",
    "responsible_user_id",
    "state_id",
    "state_name",
    "ticket_number",
    "title",
    "tn",
    "update_time",
    "updated_at",
    "user_id",
];

#[tokio::test]
async fn creating_and_reading_a_ticket_answers_in_the_agreed_shapes() -> anyhow::Result<()> {
    let world = World::new("monolith_create").await?;
    let agent = world.sign_in("agent1").await?;

    let request = json!({ "title": "Printer is on fire", "queue_id": 2, "type_id": 3, "body": "Help",
                          "customer_user_id": "ada@example.com" });
    let (status, created) = agent.post("/api/v1/tickets", request).await?;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(keys(&created), ["data", "success"]);
    let today = world.value("to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')").await?;
    let tn = format!("{today}1000001");
    assert_eq!(
        created["data"],
        json!({ "id": 1, "queue_id": 2, "ticket_priority_id": 3, "ticket_state_id": 1,
                "title": "Printer is on fire", "tn": tn })
    );
    agent.create(json!({ "title": "Silent", "queue_id": 1, "body": "  " })).await?;

    let (status, detail) = agent.get("/api/v1/tickets/1").await?;
    assert_eq!(status, StatusCode::OK);
    let ticket = &detail["data"];
    assert_eq!(
        keys(ticket),
        [
            "article_count",
            "change_time",
            "create_time",
            "customer_user_id",
            "id",
            "owner_user_id",
            "priority",
            "priority_id",
            "queue",
            "queue_id",
            "responsible_user_id",
            "state",
            "state_id",
            "ticket_number",
            "title",
            "type_id"
        ]
    );
    assert_eq!(ticket["article_count"], 1);
    assert_eq!(ticket["queue"], "Raw");
    assert_eq!(ticket["create_time"].as_str().unwrap().len(), "2026-02-07T10:00:00Z".len());

    let (_, list) =
        agent.get("/api/v1/tickets?sort=created&order=asc&per_page=1&search=fire").await?;
    assert_eq!(keys(&list), ["data", "pagination", "success"]);
    assert_eq!(keys(&list["data"][0]), SUMMARY_KEYS);
    let created_at = list["data"][0]["created_at"].as_str().unwrap();
    assert_eq!(created_at.len(), "2026-02-07T10:00:00.123456Z".len());
    assert_eq!(
        list["pagination"],
        json!({ "has_next": false, "has_prev": false, "page": 1, "per_page": 1, "total": 1, "total_pages": 1 })
    );
    let (_, list) = agent.get("/api/v1/tickets?include=last_article,article_count").await?;
    assert_eq!(list["data"][0]["last_article"], json!(null));
    assert_eq!(list["data"][1]["last_article"]["subject"], "Printer is on fire");
    assert_eq!(list["data"][1]["article_count"], 1);

    assert_eq!(
        world.value("SELECT string_agg(name, ',' ORDER BY id) FROM ticket_history").await?,
        format!("Ticket created ({tn}),Ticket created ({today}1000002)")
    );
    assert_eq!(
        world.value("SELECT count(*) FROM article_data_mime WHERE a_body = 'Help'").await?,
        "1"
    );
    Ok(())
}

#[tokio::test]
async fn changing_a_ticket_leaves_history_and_a_flag_behind() -> anyhow::Result<()> {
    let world = World::new("monolith_update").await?;
    let agent = world.sign_in("agent1").await?;
    let id = agent.create(json!({ "title": "Slow", "queue_id": 1, "type_id": 1 })).await?;
    let path = format!("/api/v1/tickets/{id}");

    let (status, updated) = agent.put(&path, json!({ "title": "Very slow" })).await?;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        keys(&updated["data"]),
        [
            "change_by",
            "change_time",
            "create_by",
            "create_time",
            "customer_id",
            "customer_user_id",
            "id",
            "priority_id",
            "queue_id",
            "responsible_user_id",
            "state_id",
            "ticket_lock_id",
            "title",
            "tn",
            "type_id",
            "user_id"
        ]
    );
    agent.put(&path, json!({ "state_id": 4, "user_id": 3 })).await?;
    assert_eq!(
        world
            .value("SELECT string_agg(name, '; ' ORDER BY id) FROM ticket_history WHERE id > 1")
            .await?,
        "Ticket updated; State changed from new to open; Assigned to Chloe Albers"
    );
    assert_eq!(
        world.value("SELECT count(*) FROM ticket_flag WHERE ticket_key = 'Seen'").await?,
        "1"
    );

    for (body, error) in [
        (json!({}), "No fields to update"),
        (json!({ "title": "" }), "Title cannot be empty"),
        (json!({ "title": "x".repeat(256) }), "Title too long (max 255 characters)"),
        (json!({ "queue_id": 77 }), "Invalid queue_id"),
        (json!({ "state_id": 77 }), "Invalid state_id"),
    ] {
        let refused = agent.put(&path, body).await?;
        assert_eq!(refused, (StatusCode::BAD_REQUEST, json!({ "error": error, "success": false })));
    }
    let (status, refused) = agent.put(&path, json!({ "responsible_user_id": null })).await?;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(refused["error"].as_str().unwrap().starts_with("Failed to update ticket: "));
    assert_eq!(agent.get("/api/v1/tickets/999").await?.0, StatusCode::NOT_FOUND);
    assert_eq!(agent.get("/api/v1/tickets/2026x").await?.0, StatusCode::BAD_REQUEST);
    Ok(())
}

#[tokio::test]
async fn a_ticket_can_be_closed_once_and_reopened_with_a_reason() -> anyhow::Result<()> {
    let world = World::new("monolith_close").await?;
    let agent = world.sign_in("agent2").await?;
    let id = agent.create(json!({ "title": "Done soon", "queue_id": 1, "body": "Hm" })).await?;
    let path = format!("/api/v1/tickets/{id}");
    let (close, reopen) = (format!("{path}/close"), format!("{path}/reopen"));

    assert_eq!(
        agent.post(&reopen, json!({ "reason": "x" })).await?.1["error"],
        "Ticket is not closed"
    );
    let (status, closed) = agent.post(&close, json!({ "reason": "fixed", "state_id": 3 })).await?;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(keys(&closed), ["closed_at", "id", "reason", "state", "state_id", "success"]);
    assert_eq!(closed["state"], "closed unsuccessful");
    assert_eq!(agent.post(&close, json!({})).await?.1["error"], "Ticket is already closed");

    assert_eq!(agent.post(&reopen, json!({})).await?.0, StatusCode::BAD_REQUEST);
    let (status, reopened) = agent.post(&reopen, json!({ "reason": "not fixed" })).await?;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(keys(&reopened), ["id", "reason", "reopened_at", "state", "state_id", "success"]);
    assert_eq!(
        world.value("SELECT string_agg(a_subject || ':' || a_body || ':' || create_by, '; ' ORDER BY id)
                     FROM article_data_mime WHERE id > 1").await?,
        "Ticket Closed:fixed:3; Ticket Reopened:not fixed:3"
    );
    assert_eq!(world.value("SELECT ticket_state_id FROM ticket").await?, "4");
    Ok(())
}

#[tokio::test]
async fn articles_are_added_listed_and_read_one_by_one() -> anyhow::Result<()> {
    let world = World::new("monolith_articles").await?;
    let agent = world.sign_in("agent31").await?;
    let id = agent.create(json!({ "title": "Talk", "queue_id": 1, "body": "First" })).await?;
    let path = format!("/api/v1/tickets/{id}/articles");

    let (status, refused) = agent.post(&path, json!({ "subject": "Re" })).await?;
    assert_eq!(
        (status, &refused["error"]),
        (StatusCode::BAD_REQUEST, &json!("Article body is required"))
    );
    let draft = json!({ "subject": "Re", "body": "Second", "is_visible": true, "to": "ada@example.com",
                        "article_type": "email", "message_id": "<1@example.com>" });
    let (status, added) = agent.post(&path, draft).await?;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(
        keys(&added["data"]),
        [
            "article_sender_type_id",
            "body",
            "cc",
            "communication_channel_id",
            "content_type",
            "create_by",
            "create_time",
            "from",
            "id",
            "is_visible_for_customer",
            "message_id",
            "subject",
            "ticket_id",
            "ticket_updated",
            "to"
        ]
    );

    let (_, list) = agent.get(&path).await?;
    assert_eq!(keys(&list), ["data", "success", "total"]);
    assert_eq!(list["total"], 2);
    let (_, one) = agent.get(&format!("{path}/2")).await?;
    assert_eq!(one["data"], list["data"][1]);
    assert_eq!(
        keys(&one["data"]),
        [
            "article_sender_type_id",
            "body",
            "communication_channel_id",
            "content_type",
            "create_by",
            "create_time",
            "from",
            "id",
            "is_visible_for_customer",
            "subject",
            "ticket_id",
            "to"
        ]
    );
    assert_eq!(one["data"]["create_time"], added["data"]["create_time"]);
    assert_eq!(agent.get(&format!("{path}/99")).await?.0, StatusCode::NOT_FOUND);
    assert_eq!(
        world.value("SELECT name FROM ticket_history WHERE article_id = 2").await?,
        "Note added — Second"
    );
    assert_eq!(
        world
            .value("SELECT t.change_time = a.create_time FROM ticket t, article a WHERE a.id = 2")
            .await?,
        "true"
    );
    Ok(())
}
