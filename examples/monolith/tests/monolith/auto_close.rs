//! The writer that no request passes through, and what happens when the database refuses writes.

use reqwest::StatusCode;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::world::World;

/// Makes 120 tickets pending auto close, every other one with a bad ending, and one of them not due yet.
const MAKE_PENDING: &str = "
    INSERT INTO ticket (tn, title, queue_id, ticket_lock_id, user_id, responsible_user_id, ticket_priority_id,
                        ticket_state_id, timeout, until_time, escalation_time, escalation_update_time,
                        escalation_response_time, escalation_solution_time,
                        create_time, create_by, change_time, change_by)
    SELECT n, 'Pending', 1, 1, 1, 1, 3, 7 + n % 2, 0,
           extract(epoch FROM now())::int + CASE n WHEN 120 THEN 3600 ELSE -n END, 0, 0, 0, 0,
           now() AT TIME ZONE 'UTC', 1, now() AT TIME ZONE 'UTC', 1
    FROM generate_series(1, 120) AS n";

const REFUSE: &str = "
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'writes are closed' USING ERRCODE = 'FC001'; END $$;
    CREATE TRIGGER refuse BEFORE INSERT OR UPDATE OR DELETE ON ticket
        FOR EACH STATEMENT EXECUTE FUNCTION refuse()";

#[tokio::test]
async fn auto_close_closes_what_is_due_and_leaves_the_rest() -> anyhow::Result<()> {
    let world = World::new("monolith_auto_close").await?;
    world.sql.batch_execute(MAKE_PENDING).await?;

    assert_eq!(world.auto_close.round(&CancellationToken::new()).await, 119);
    assert_eq!((world.counts.closed(), world.counts.refused()), (119, 0));
    assert_eq!(
        world
            .value(
                "SELECT string_agg(state || 'x' || count, ' ' ORDER BY state) FROM
                     (SELECT ticket_state_id AS state, count(*) FROM ticket GROUP BY 1) AS s"
            )
            .await?,
        "2x59 3x60 7x1"
    );
    assert_eq!(
        world.value("SELECT count(*) FROM article_data_mime WHERE article_id <> 0").await?,
        "119"
    );
    assert_eq!(
        world
            .value("SELECT string_agg(DISTINCT name, '; ' ORDER BY name) FROM ticket_history")
            .await?,
        "State changed from pending auto close+ to closed successful; \
         State changed from pending auto close- to closed unsuccessful"
    );
    assert_eq!(world.auto_close.round(&CancellationToken::new()).await, 0);
    Ok(())
}

#[tokio::test]
async fn a_refused_write_is_a_500_and_is_counted_by_auto_close() -> anyhow::Result<()> {
    let world = World::new("monolith_refused").await?;
    let agent = world.sign_in("agent1").await?;
    let id = agent.create(json!({ "title": "Before", "queue_id": 1 })).await?;
    world.sql.batch_execute(MAKE_PENDING).await?;
    world.sql.batch_execute(REFUSE).await?;

    let (status, refused) =
        agent.post("/api/v1/tickets", json!({ "title": "After", "queue_id": 1 })).await?;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(refused["success"], false);
    let path = format!("/api/v1/tickets/{id}");
    let (status, refused) = agent.put(&path, json!({ "title": "After" })).await?;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(refused["error"].as_str().unwrap().contains("writes are closed"));
    assert_eq!(agent.get(&path).await?.1["data"]["title"], "Before");
    assert_eq!(world.value("SELECT count(*) FROM ticket_history").await?, "1");

    assert_eq!(world.auto_close.round(&CancellationToken::new()).await, 0);
    assert_eq!((world.counts.closed(), world.counts.refused()), (0, 1));
    assert_eq!(agent.get("/health/detailed").await?.1["auto_close_refused"], 1);
    Ok(())
}
