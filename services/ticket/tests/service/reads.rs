//! Answers to reads, byte for byte.

use crate::world::{ADMIN, READER, WORKER, World};

#[tokio::test]
async fn a_ticket_is_answered_byte_for_byte_as_the_monolith_does() -> anyhow::Result<()> {
    let world = World::start().await?;
    let answer = world.get(READER, "/api/v1/tickets/101").await?;
    assert_eq!(
        answer.expect(200)?.text,
        r#"{"data":{"article_count":3,"change_time":"2026-02-07T11:00:00Z","create_time":"2026-02-07T10:00:00Z","customer_id":"ACME","customer_user_id":"anna@acme.test","id":101,"owner_user_id":2,"priority":"3 normal","priority_id":3,"queue":"Postmaster","queue_id":1,"responsible_user_id":3,"state":"new","state_id":1,"ticket_number":"202602071000101","title":"Printer <b>on</b> fire","type_id":1},"success":true}"#
    );
    let sparse = world.get(READER, "/api/v1/tickets/102").await?.json()?;
    for absent in ["type_id", "customer_id", "customer_user_id"] {
        assert!(sparse["data"].get(absent).is_none(), "{absent} is null, so it is left out");
    }
    Ok(())
}

#[tokio::test]
async fn a_list_is_answered_byte_for_byte_as_the_monolith_does() -> anyhow::Result<()> {
    let world = World::start().await?;
    let path = "/api/v1/tickets?include=article_count,last_article&order=asc&per_page=2&page=x";
    let answer = world.get(WORKER, path).await?;
    assert_eq!(
        answer.expect(200)?.text,
        concat!(
            r#"{"data":[{"article_count":3,"create_time":"2026-02-07T10:00:00.123456Z","created_at":"2026-02-07T10:00:00.123456Z","customer_id":"ACME","customer_user_id":"anna@acme.test","id":101,"last_article":{"created_at":"2026-02-07T11:00:01.000000Z","subject":""},"priority_id":3,"priority_name":"3 normal","queue_id":1,"queue_name":"Postmaster","responsible_user_id":3,"state_id":1,"state_name":"new","ticket_number":"202602071000101","title":"Printer <b>on</b> fire","tn":"202602071000101","update_time":"2026-02-07T11:00:00.500000Z","updated_at":"2026-02-07T11:00:00.500000Z","user_id":2},"#,
            r#"{"article_count":0,"create_time":"2026-02-07T10:00:01.000000Z","created_at":"2026-02-07T10:00:01.000000Z","customer_id":"","customer_user_id":"","id":102,"last_article":null,"priority_id":1,"priority_name":"1 very low","queue_id":1,"queue_name":"Postmaster","responsible_user_id":2,"state_id":2,"state_name":"closed successful","ticket_number":"202602071000102","title":"Chair squeaks","tn":"202602071000102","update_time":"2026-02-07T10:00:01.000000Z","updated_at":"2026-02-07T10:00:01.000000Z","user_id":2}],"#,
            r#""pagination":{"has_next":false,"has_prev":false,"page":1,"per_page":2,"total":2,"total_pages":1},"success":true}"#
        )
    );
    Ok(())
}

#[tokio::test]
async fn filters_and_orders_select_the_tickets_they_name() -> anyhow::Result<()> {
    let world = World::start().await?;
    let cases: [(&str, &[i64]); 13] = [
        ("", &[104, 103, 102, 101]),
        ("?order=asc", &[101, 102, 103, 104]),
        ("?status=open", &[104, 103, 101]),
        ("?status=closed", &[102]),
        ("?status=nonsense", &[104, 103, 102, 101]),
        ("?queue_id=5", &[103]),
        ("?priority_id=1", &[102]),
        ("?assigned_user_id=3", &[101]),
        ("?customer_user_id=anna%40acme.test", &[101]),
        ("?search=squeak", &[102]),
        ("?search=202602071000103", &[103]),
        ("?sort=priority", &[103, 104, 101, 102]),
        ("?sort=updated&per_page=2&page=2", &[103, 102]),
    ];
    for (query, expected) in cases {
        let list = world.get(ADMIN, &format!("/api/v1/tickets{query}")).await?.json()?;
        let ids: Vec<i64> =
            list["data"].as_array().unwrap().iter().map(|t| t["id"].as_i64().unwrap()).collect();
        assert_eq!(ids, expected, "{query}");
    }
    Ok(())
}

#[tokio::test]
async fn pages_say_where_they_stand() -> anyhow::Result<()> {
    let world = World::start().await?;
    let list = world.get(ADMIN, "/api/v1/tickets?per_page=3&page=2").await?.json()?;
    let pagination = list["pagination"].to_string();
    assert_eq!(
        pagination,
        r#"{"has_next":false,"has_prev":true,"page":2,"per_page":3,"total":4,"total_pages":2}"#
    );
    Ok(())
}

#[tokio::test]
async fn articles_are_answered_oldest_first_and_one_by_one() -> anyhow::Result<()> {
    let world = World::start().await?;
    let first = r#"{"article_sender_type_id":3,"body":"It burns & smokes.","communication_channel_id":1,"content_type":"text/plain","create_by":2,"create_time":"2026-02-07T10:00:00.123456Z","from":"anna@acme.test","id":201,"is_visible_for_customer":true,"subject":"Printer","ticket_id":101,"to":"help@example.test"}"#;
    let answer = world.get(READER, "/api/v1/tickets/101/articles").await?;
    let text = &answer.expect(200)?.text;
    assert!(text.starts_with(&format!(r#"{{"data":[{first},"#)), "{text}");
    assert!(text.ends_with(r#"],"success":true,"total":3}"#), "{text}");
    let one = world.get(READER, "/api/v1/tickets/101/articles/201").await?;
    assert_eq!(one.expect(200)?.text, format!(r#"{{"data":{first},"success":true}}"#));
    let none = world.get(READER, "/api/v1/tickets/102/articles/201").await?;
    assert_eq!(none.expect(404)?.text, r#"{"error":"Article not found","success":false}"#);
    Ok(())
}

#[tokio::test]
async fn ids_that_are_none_are_refused_in_the_words_of_the_monolith() -> anyhow::Result<()> {
    let world = World::start().await?;
    let word = world.get(ADMIN, "/api/v1/tickets/abc").await?;
    assert_eq!(word.expect(400)?.text, r#"{"error":"Invalid ticket ID","success":false}"#);
    let absent = world.get(ADMIN, "/api/v1/tickets/999").await?;
    assert_eq!(absent.expect(404)?.text, r#"{"error":"Ticket not found","success":false}"#);
    Ok(())
}
