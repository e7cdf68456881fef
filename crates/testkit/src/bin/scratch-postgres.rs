//! A throw-away PostgreSQL cluster to play with: prints its directory and URL, and is gone when
//! standard input ends or the process is killed. `cargo run -p testkit --bin scratch-postgres`.

use testkit::Cluster;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let facts = format!("{}\n{}\n", cluster.socket_dir().display(), cluster.url("postgres"));
    let mut output = tokio::io::stdout();
    output.write_all(facts.as_bytes()).await?;
    output.flush().await?;
    let mut ignored = [0_u8; 256];
    while tokio::io::stdin().read(&mut ignored).await? > 0 {}
    Ok(())
}
