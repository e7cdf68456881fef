//! The program itself, as a supervisor sees it.

use std::time::Duration;

use serde_json::Value;
use testkit::{ChildSpec, Cluster, wait_until};

use crate::world::SECRET;

const BOUND: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_binary_migrates_generates_serves_and_stops_when_asked() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    cluster.create_database("monolith_binary").await?;
    cluster.create_role("monolith_binary").await?;
    let directory = tempfile::tempdir()?;
    let program = |name: &str| {
        ChildSpec::new(name, env!("CARGO_BIN_EXE_monolith"), directory.path().join(name))
    };
    let owner = cluster.url("monolith_binary");

    for arguments in [
        vec!["migrate", "--database", &owner, "--app-role", "monolith_binary"],
        vec!["migrate", "--database", &owner, "--app-role", "monolith_binary"],
        vec!["generate", "--database", &owner, "--tickets", "20", "--seed", "3"],
    ] {
        let mut run = program("run").args(arguments).spawn()?;
        let status = run.wait(BOUND).await?;
        anyhow::ensure!(status.success(), "{status}: {}", run.log_tail());
    }

    let mut server = program("serve")
        .args(["serve", "--listen", "127.0.0.1:0"])
        .env("DATABASE_URL", cluster.url_as("monolith_binary", "monolith_binary"))
        .env("JWT_SECRET", SECRET)
        .env("AUTO_CLOSE_EVERY", "100ms")
        .spawn()?;
    let log = server.log().to_owned();
    let address = wait_until(BOUND, async || {
        let text = tokio::fs::read_to_string(&log).await?;
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut bound = lines.filter(|line| line["message"] == "listening");
        Ok(bound.next().and_then(|line| line["address"].as_str().map(str::to_owned)))
    })
    .await?;
    server.wait_ready(address.parse()?, "/health", BOUND).await?;

    let sql = cluster.connect("monolith_binary").await?;
    let writers = "SELECT string_agg(DISTINCT application_name, ',' ORDER BY application_name)
                   FROM pg_stat_activity WHERE usename = 'monolith_binary'";
    let writers: String = sql.query_one(writers, &[]).await?.get(0);
    assert_eq!(writers, "monolith,monolith-auto-close");
    sql.batch_execute("UPDATE ticket SET ticket_state_id = 8, until_time = 1 WHERE id = 1").await?;
    wait_until(BOUND, async || {
        let row = sql.query_one("SELECT ticket_state_id FROM ticket WHERE id = 1", &[]).await?;
        Ok((row.get::<_, i16>(0) == 3).then_some(()))
    })
    .await?;

    let status = server.terminate().await?;
    assert!(status.success(), "{status}");
    Ok(())
}
