//! The data generator.

use monolith::{Generated, Volume, generate};

use crate::world::World;

#[tokio::test]
async fn the_generator_adds_what_it_was_asked_for_each_time() -> anyhow::Result<()> {
    let world = World::new("monolith_generate").await?;
    let volume = Volume { tickets: 6_001, articles_each: 2, seed: 7 };
    let first = generate(&world.owner_url, volume).await?;
    assert_eq!((first.tickets, first.articles, first.orphans), (6_001, 12_002, 6));
    let second =
        generate(&world.owner_url, Volume { tickets: 10, articles_each: 1, seed: 7 }).await?;
    assert_eq!((second.tickets, second.articles, second.orphans), (10, 10, 3));

    let counted = world
        .sql
        .query_one(
            "SELECT (SELECT count(*) FROM ticket), (SELECT count(*) FROM article),
                    (SELECT count(*) FROM ticket_history), (SELECT count(*) FROM ticket_flag),
                    (SELECT count(*) FROM article_data_mime WHERE article_id = 0)",
            &[],
        )
        .await?;
    let counted = Generated {
        tickets: counted.get(0),
        articles: counted.get(1),
        history: counted.get(2),
        flags: counted.get(3),
        orphans: counted.get(4),
    };
    let sum = Generated {
        tickets: first.tickets + second.tickets,
        articles: first.articles + second.articles,
        history: first.history + second.history,
        flags: first.flags + second.flags,
        orphans: first.orphans + second.orphans,
    };
    assert_eq!(counted, sum);

    // Long bodies are stored out of line and are rare; the counters agree with the numbers given out.
    let large =
        world.value("SELECT count(*) FROM article_data_mime WHERE pg_column_size(a_body) > 20000");
    assert!((20..150).contains(&large.await?.parse::<i64>()?));
    let due = "SELECT count(*) > 0 FROM ticket WHERE ticket_state_id = 7
               AND until_time BETWEEN extract(epoch FROM now()) AND extract(epoch FROM now()) + 120";
    assert_eq!(world.value(due).await?, "true");
    let ahead = "SELECT count(*) FROM ticket_number_counter
                 WHERE counter <> (SELECT count(*) FROM ticket WHERE tn LIKE substr(counter_uid, 4) || '%')";
    assert_eq!(world.value(ahead).await?, "0");

    let agent = world.sign_in("root@localhost").await?;
    let created = agent.create(serde_json::json!({ "title": "New", "queue_id": 1 })).await?;
    let (_, list) = agent.get("/api/v1/tickets").await?;
    assert_eq!(list["data"][0]["id"], created);
    assert_eq!(list["pagination"]["total"], 6_012);
    Ok(())
}
