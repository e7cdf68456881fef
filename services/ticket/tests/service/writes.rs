//! Answers to writes and everything they leave behind.

use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{ADMIN, HELPER, READER, WORKER, World, send, token};

#[tokio::test]
async fn creating_a_ticket_writes_number_ticket_article_and_event() -> anyhow::Result<()> {
    let world = World::start().await?;
    let body = json!({"title": "Lamp", "queue_id": 1, "body": "It is dark.", "type_id": 2,
        "customer_email": "ben@acme.test"});
    let answer = world.post(HELPER, "/api/v1/tickets", body.clone()).await?;
    let day: String = world.value("select to_char(now() at time zone 'UTC', 'YYYYMMDD')").await?;
    let expected = format!(
        r#"{{"data":{{"id":1,"queue_id":1,"ticket_priority_id":3,"ticket_state_id":1,"title":"Lamp","tn":"{day}1000001"}},"success":true}}"#
    );
    assert_eq!(answer.expect(201)?.text, expected);
    let second = world.post(HELPER, "/api/v1/tickets", body).await?.json()?;
    assert_eq!(second["data"]["tn"], format!("{day}1000002"));
    let row: Value = world
        .value(
            "select json_build_array(t.owner_id, t.responsible_id, t.lock_id, t.customer_user_id,
                 t.archived, a.sender_type_id, a.channel_id, a.visible_to_customer, b.subject,
                 b.body, e.name, e.article_id, k.name, e.ticket_type_id, t.created_at = e.created_at)
             from tickets t join articles a on a.ticket_id = t.id
             join article_bodies b on b.article_id = a.id
             join ticket_events e on e.ticket_id = t.id join event_types k on k.id = e.type_id
             where t.id = 1",
        )
        .await?;
    let created = format!("Ticket created ({day}1000001)");
    assert_eq!(
        row,
        json!([
            4,
            4,
            1,
            "ben@acme.test",
            0,
            3,
            1,
            1,
            "Lamp",
            "It is dark.",
            created,
            null,
            "NewTicket",
            2,
            true
        ])
    );
    Ok(())
}

#[tokio::test]
async fn a_ticket_without_words_has_no_article() -> anyhow::Result<()> {
    let world = World::start().await?;
    let body = json!({"title": "Lamp", "queue_id": 1, "body": " \n"});
    world.post(WORKER, "/api/v1/tickets", body).await?.expect(201)?;
    assert_eq!(world.row_counts().await?, [1, 5, 3, 2, 1, 0]);
    Ok(())
}

#[tokio::test]
async fn tickets_that_cannot_be_are_refused_and_leave_nothing() -> anyhow::Result<()> {
    let world = World::start().await?;
    let before = world.row_counts().await?;
    for (body, error) in [
        (json!({"queue_id": 1}), "Invalid ticket request: missing title or queue"),
        (json!({"title": "x"}), "Invalid ticket request: missing title or queue"),
        (json!({"title": "x", "queue_id": 6}), "invalid queue"),
        (json!({"title": "x", "queue_id": 1, "state_id": 77}), "invalid ticket state"),
        (json!({"title": "é".repeat(128), "queue_id": 1}), "title too long"),
        (
            json!({"title": "x", "queue_id": 1, "state_id": 7}),
            "pending state requires pending until",
        ),
    ] {
        let answer = world.post(ADMIN, "/api/v1/tickets", body).await?;
        assert_eq!(answer.expect(400)?.json()?["error"], error);
    }
    assert_eq!(world.row_counts().await?, before);
    Ok(())
}

#[tokio::test]
async fn an_update_answers_the_whole_ticket_and_records_each_change() -> anyhow::Result<()> {
    let world = World::start().await?;
    let change = json!({"state_id": 4, "user_id": 3, "title": "Printer cold", "unknown": 1});
    let answer = world.put(WORKER, "/api/v1/tickets/101", change).await?;
    let mut data = answer.expect(200)?.json()?["data"].clone();
    let changed = data.as_object_mut().unwrap().shift_remove("change_time").unwrap();
    assert_ne!(changed, json!("2026-02-07T11:00:00.500000Z"));
    assert_eq!(
        data.to_string(),
        r#"{"change_by":2,"create_by":2,"create_time":"2026-02-07T10:00:00.123456Z","customer_id":"ACME","customer_user_id":"anna@acme.test","id":101,"priority_id":3,"queue_id":1,"responsible_user_id":3,"state_id":4,"ticket_lock_id":1,"title":"Printer cold","tn":"202602071000101","type_id":1,"user_id":3}"#
    );
    world.put(WORKER, "/api/v1/tickets/101", json!({"unknown": 1})).await?.expect(200)?;
    let names: Vec<String> =
        world.value("select array_agg(name::text order by id) from ticket_events").await?;
    let expected = ["State changed from new to open", "Assigned to Ben Brandt", "Ticket updated"];
    assert_eq!(names, expected);
    let flags: i64 = world
        .value("select count(*) from ticket_flags where key = 'Seen' and created_by = 2")
        .await?;
    assert_eq!(flags, 1, "the second update refreshes the first one's flag");
    Ok(())
}

#[tokio::test]
async fn updates_that_cannot_be_are_refused() -> anyhow::Result<()> {
    let world = World::start().await?;
    for (body, status, error) in [
        (json!({}), 400, "No fields to update"),
        (json!({"title": ""}), 400, "Title cannot be empty"),
        (json!({"title": "x".repeat(256)}), 400, "Title too long (max 255 characters)"),
        (json!({"queue_id": 77}), 400, "Invalid queue_id"),
        (json!({"state_id": 77}), 400, "Invalid state_id"),
        (json!({"priority_id": 77}), 400, "Invalid priority_id"),
        (json!({"type_id": 77}), 400, "Invalid type_id"),
        (json!({"responsible_user_id": null}), 500, "Failed to update ticket"),
    ] {
        let answer = world.put(WORKER, "/api/v1/tickets/101", body).await?;
        assert_eq!(answer.expect(status)?.json()?["error"], error);
    }
    assert_eq!(world.row_counts().await?, [0, 4, 3, 2, 0, 0]);
    Ok(())
}

#[tokio::test]
async fn a_ticket_without_type_is_updated_and_only_its_id_is_answered() -> anyhow::Result<()> {
    let world = World::start().await?;
    let answer = world.put(WORKER, "/api/v1/tickets/102", json!({"priority_id": 5})).await?;
    assert_eq!(
        answer.expect(200)?.text,
        r#"{"data":{"id":102},"message":"Ticket updated successfully","success":true}"#
    );
    Ok(())
}

#[tokio::test]
async fn a_ticket_is_closed_once_and_reopened_once() -> anyhow::Result<()> {
    let world = World::start().await?;
    let close = "/api/v1/tickets/101/close";
    let wrong = world.post(WORKER, close, json!({"state_id": 4})).await?;
    let error = "Invalid close request: state_id must be 2 or 3";
    assert_eq!(wrong.expect(400)?.json()?["error"], error);
    let closed = world.post(WORKER, close, json!({"reason": "done", "state_id": 3})).await?;
    let keys: Vec<String> =
        closed.expect(200)?.json()?.as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["closed_at", "id", "reason", "state", "state_id", "success"]);
    assert_eq!(closed.json()?["state"], "closed unsuccessful");
    let again = world.post(WORKER, close, json!({})).await?;
    assert_eq!(again.expect(400)?.json()?["error"], "Ticket is already closed");

    let reopen = "/api/v1/tickets/101/reopen";
    let silent = world.post(WORKER, reopen, json!({})).await?;
    let error = "Invalid reopen request: reason is required";
    assert_eq!(silent.expect(400)?.json()?["error"], error);
    let open = world.post(WORKER, reopen, json!({"reason": "broken again"})).await?.json()?;
    assert_eq!((&open["state"], &open["state_id"]), (&json!("open"), &json!(4)));
    let again = world.post(WORKER, reopen, json!({"reason": "x"})).await?;
    assert_eq!(again.expect(400)?.json()?["error"], "Ticket is not closed");

    let left: Value = world
        .value(
            "select json_agg(json_build_array(b.subject, b.body, e.name) order by b.id)
             from article_bodies b join articles a on a.id = b.article_id
             join ticket_events e on e.created_at = a.created_at and e.ticket_id = a.ticket_id",
        )
        .await?;
    let expected = json!([
        ["Ticket Closed", "done", "State changed from new to closed unsuccessful"],
        ["Ticket Reopened", "broken again", "State changed from closed unsuccessful to open"],
    ]);
    assert_eq!(left, expected);
    Ok(())
}

#[tokio::test]
async fn an_article_changes_the_ticket_and_is_recorded() -> anyhow::Result<()> {
    let world = World::start().await?;
    let body = json!({"subject": "Call", "body": "She called.", "article_type": "phone",
        "message_id": "<1@x>", "from": "anna"});
    let answer = world.post(HELPER, "/api/v1/tickets/102/articles", body).await?;
    let mut data = answer.expect(201)?.json()?["data"].clone();
    data.as_object_mut().unwrap().shift_remove("create_time").unwrap();
    assert_eq!(
        data.to_string(),
        r#"{"article_sender_type_id":1,"body":"She called.","cc":"","communication_channel_id":2,"content_type":"text/plain","create_by":4,"from":"anna","id":1,"is_visible_for_customer":true,"message_id":"<1@x>","subject":"Call","ticket_id":102,"ticket_updated":true,"to":""}"#
    );
    let left: Value = world
        .value(
            "select json_build_array(t.updated_by, e.name, e.article_id, e.ticket_type_id, f.value,
                 b.message_id_md5 = md5('<1@x>'))
             from tickets t join ticket_events e on e.ticket_id = t.id
             join ticket_flags f on f.ticket_id = t.id
             join article_bodies b on b.article_id = e.article_id where t.id = 102",
        )
        .await?;
    assert_eq!(left, json!([4, "Note added — She called.", 1, 0, "1", true]));
    Ok(())
}

#[tokio::test]
async fn the_note_form_leads_back_to_the_page_of_the_ticket() -> anyhow::Result<()> {
    let world = World::start().await?;
    let post = |user: i32, form: &[(&str, &str)]| {
        let request = world.request(Method::POST, "/agent/tickets/101/note");
        send(request.bearer_auth(token(user)).form(form))
    };
    let answer = post(HELPER, &[("subject", "Hm"), ("body", "I wonder.")]).await?;
    assert_eq!(answer.expect(303)?.header("location"), Some("/tickets/101"));
    let body: String = world.value("select body from article_bodies where subject = 'Hm'").await?;
    assert_eq!(body, "I wonder.");
    post(READER, &[("subject", "Hm"), ("body", "I wonder.")]).await?.expect(403)?;
    Ok(())
}

#[tokio::test]
async fn parallel_creations_get_consecutive_numbers() -> anyhow::Result<()> {
    let world = World::start().await?;
    let body = json!({"title": "x", "queue_id": 1});
    let posts = (0..20).map(|_| world.post(WORKER, "/api/v1/tickets", body.clone()));
    let mut counters = Vec::new();
    for answer in futures::future::try_join_all(posts).await? {
        let tn: i64 = answer.expect(201)?.json()?["data"]["tn"].as_str().unwrap().parse()?;
        counters.push(tn % 100_000);
    }
    counters.sort_unstable();
    assert_eq!(counters, (1..=20).collect::<Vec<_>>());
    Ok(())
}
