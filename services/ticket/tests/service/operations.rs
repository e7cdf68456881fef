//! Health, figures, request ids, the schema and the command line.

use std::process::Command;

use kit::config::Secret;
use reqwest::Method;
use testkit::Cluster;

use crate::world::{ADMIN, READER, World, send};

#[tokio::test]
async fn a_service_with_its_database_is_healthy_and_ready() -> anyhow::Result<()> {
    let world = World::start().await?;
    let health = send(world.request(Method::GET, "/health")).await?;
    assert_eq!(health.expect(200)?.text, r#"{"status":"healthy"}"#);
    send(world.request(Method::GET, "/ready")).await?.expect(200)?;
    let cluster = Cluster::shared().await?;
    let rename = format!("alter database {} rename to away", world.database);
    let end = format!(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{}'",
        world.database
    );
    // Sessions of the service may come back between the two statements: try until they do not.
    testkit::wait_until(crate::world::BOUND, async || {
        cluster.execute("postgres", &end).await?;
        Ok(cluster.execute("postgres", &rename).await.ok())
    })
    .await?;
    let ready = send(world.request(Method::GET, "/ready")).await?;
    ready.expect(503)?;
    send(world.request(Method::GET, "/health")).await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn requests_are_counted_by_route_and_not_by_path() -> anyhow::Result<()> {
    let world = World::start().await?;
    for id in [101, 102, 999] {
        world.get(READER, &format!("/api/v1/tickets/{id}")).await?;
    }
    send(world.request(Method::GET, "/no/such/path")).await?.expect(404)?;
    let text = send(world.request(Method::GET, "/metrics")).await?.text;
    for line in [
        r#"ficus_service_requests_total{method="GET",route="/api/v1/tickets/{id}",service="ticket",status="200"} 2"#,
        r#"ficus_service_requests_total{method="GET",route="/api/v1/tickets/{id}",service="ticket",status="404"} 1"#,
        r#"ficus_service_requests_total{method="GET",route="unmatched",service="ticket",status="404"} 1"#,
        r#"ficus_service_request_duration_seconds_count{method="GET",route="/api/v1/tickets/{id}",service="ticket"} 3"#,
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
    Ok(())
}

#[tokio::test]
async fn a_request_keeps_its_id_or_gets_one() -> anyhow::Result<()> {
    let world = World::start().await?;
    let given = send(world.request(Method::GET, "/health").header("x-request-id", "abc-1")).await?;
    assert_eq!(given.header("x-request-id"), Some("abc-1"));
    let made = send(world.request(Method::GET, "/health")).await?;
    assert_eq!(made.header("x-request-id").map(str::len), Some(32));
    Ok(())
}

#[tokio::test]
async fn unknown_paths_and_wrong_methods_are_not_found_in_plain_text() -> anyhow::Result<()> {
    let world = World::start().await?;
    for (method, path) in [(Method::GET, "/nothing"), (Method::DELETE, "/api/v1/tickets/101")] {
        let answer = send(world.request(method, path)).await?;
        assert_eq!(answer.expect(404)?.text, "404 page not found");
    }
    Ok(())
}

#[tokio::test]
async fn migrating_twice_changes_nothing_and_the_serving_role_owns_nothing() -> anyhow::Result<()> {
    let world = World::start().await?;
    let owner = Secret::new(Cluster::shared().await?.url_as("ticket_owner", &world.database));
    ticket::migrate::migrate(&owner, "ticket").await?;
    let owned: i64 =
        world.value("select count(*) from pg_tables where tableowner = 'ticket'").await?;
    assert_eq!(owned, 0);
    let error = ticket::migrate::migrate(&owner, "nobody").await.unwrap_err();
    assert!(error.to_string().contains("CREATE ROLE nobody LOGIN"), "{error}");
    Ok(())
}

#[tokio::test]
async fn an_unusable_configuration_is_explained_completely_and_ends_with_64() -> anyhow::Result<()>
{
    let output = Command::new(env!("CARGO_BIN_EXE_ticket"))
        .args(["serve", "--listen", "127.0.0.1:0", "--grpc", "127.0.0.1:0"])
        .env_clear()
        .env("JWT_SECRET", "short")
        .env("AUTO_CLOSE_EVERY", "soon")
        .output()?;
    assert_eq!(output.status.code(), Some(64));
    let text = String::from_utf8(output.stderr)?;
    for name in ["TICKET_DATABASE_URL", "JWT_SECRET", "AUTO_CLOSE_EVERY"] {
        assert!(text.contains(name), "{name} is missing in {text}");
    }
    assert!(!text.contains("short\""), "the secret itself is not shown: {text}");
    Ok(())
}

#[tokio::test]
async fn a_database_failure_is_told_without_details() -> anyhow::Result<()> {
    let world = World::start().await?;
    world.sql.batch_execute("drop table memberships").await?;
    let answer = world.get(ADMIN, "/api/v1/tickets").await?;
    assert_eq!(answer.expect(500)?.text, r#"{"error":"Database error","success":false}"#);
    Ok(())
}
