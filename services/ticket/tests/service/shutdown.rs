//! Ending without cutting anybody off, unless they take too long.

use reqwest::{Method, RequestBuilder};
use serde_json::json;
use testkit::{Cluster, wait_until};

use crate::world::{BOUND, WORKER, World, send, token};

fn update(world: &World) -> RequestBuilder {
    let request = world.request(Method::PUT, "/api/v1/tickets/101").bearer_auth(token(WORKER));
    request.json(&json!({"title": "Finished"}))
}

/// Until the service's one request waits for the row that the test has locked.
async fn wait_for_blocked_request(world: &World) -> anyhow::Result<()> {
    wait_until(BOUND, async || {
        let waiting: i64 = world
            .value(
                "select count(*) from pg_stat_activity where wait_event_type = 'Lock'
                 and application_name = 'ticket' and datname = current_database()",
            )
            .await?;
        Ok((waiting == 1).then_some(()))
    })
    .await
}

const LOCK: &str = "select 1 from tickets where id = 101 for update";

#[tokio::test]
async fn a_request_in_flight_is_finished_after_shutdown_is_asked_for() -> anyhow::Result<()> {
    let mut world = World::start().await?;
    let mut blocker = Cluster::shared().await?.connect(&world.database).await?;
    let lock = blocker.transaction().await?;
    lock.execute(LOCK, &[]).await?;
    let in_flight = tokio::spawn(send(update(&world)));
    wait_for_blocked_request(&world).await?;

    world.shutdown.cancel();
    wait_until(BOUND, async || {
        let refused = tokio::net::TcpStream::connect(world.http).await.is_err();
        Ok(refused.then_some(()))
    })
    .await?;
    assert!(!world.served.is_finished(), "the service waits for the request");
    assert!(!in_flight.is_finished());

    lock.commit().await?;
    in_flight.await??.expect(200)?;
    (&mut world.served).await??;
    let title: String = world.value("select title from tickets where id = 101").await?;
    assert_eq!(title, "Finished");
    Ok(())
}

#[tokio::test]
async fn a_request_that_outlasts_the_grace_period_does_not_keep_the_process() -> anyhow::Result<()>
{
    let mut world = World::start_with_grace("100ms").await?;
    let mut blocker = Cluster::shared().await?.connect(&world.database).await?;
    let lock = blocker.transaction().await?;
    lock.execute(LOCK, &[]).await?;
    let in_flight = tokio::spawn(send(update(&world)));
    wait_for_blocked_request(&world).await?;

    world.shutdown.cancel();
    tokio::time::timeout(BOUND, &mut world.served).await???;
    assert!(!in_flight.is_finished(), "the request was still waiting for the lock");
    in_flight.abort();
    Ok(())
}
