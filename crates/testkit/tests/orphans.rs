//! Nothing a killed process has started outlives it.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use testkit::wait_until;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

#[tokio::test]
async fn the_server_and_its_directory_are_gone_after_the_owner_was_killed() -> anyhow::Result<()> {
    let mut owner = Command::new(env!("CARGO_BIN_EXE_scratch-postgres"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let output = owner.stdout.take().expect("standard output is a pipe");
    let mut lines = BufReader::new(output).lines();
    let base = PathBuf::from(lines.next_line().await?.expect("a directory"));
    let url = lines.next_line().await?.expect("a URL");
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await?;
    let connection = tokio::spawn(connection);
    client.simple_query("SELECT 1").await?;

    owner.start_kill()?;
    owner.wait().await?;

    wait_until(Duration::from_secs(30), || async { Ok((!base.exists()).then_some(())) }).await?;
    assert!(connection.await?.is_err(), "the server ended the session");
    assert!(tokio_postgres::connect(&url, tokio_postgres::NoTls).await.is_err());
    Ok(())
}
