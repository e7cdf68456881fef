//! Watches both guard rows from outside, as a third party.

use std::time::Duration;

use anyhow::Context;
use testkit::tokio_postgres::Client;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::world::World;

/// Pause between two looks at both guards.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Who may write, as the guard rows say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Monolith,
    Service,
    Nobody,
}

impl Owner {
    /// The command that takes the capability from this owner.
    pub(super) const fn verb(self) -> &'static str {
        match self {
            Self::Service => "rollback",
            Self::Monolith | Self::Nobody => "cutover",
        }
    }
}

/// One guard row.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    open: bool,
    moved: bool,
    epoch: i64,
}

/// Who owns the capability now.
///
/// # Errors
/// When both sides are open, or a side can not be asked.
pub(super) async fn owner(world: &World) -> anyhow::Result<Owner> {
    let (source, target) =
        (world.source.connect("monolith").await?, world.target.connect("ticket").await?);
    let (source, target) = (read(&source).await?, read(&target).await?);
    Ok(match (&source, &target) {
        (one, other) if one.open && other.moved => Owner::Monolith,
        (one, other) if one.moved && other.open => Owner::Service,
        _ => Owner::Nobody,
    })
}

/// Counts the moments at which both sides were open.
#[derive(Debug)]
pub(super) struct GuardLog {
    stop: CancellationToken,
    counting: JoinHandle<u64>,
}

impl GuardLog {
    /// Looks every few milliseconds until finished.
    pub(super) async fn watch(world: &World) -> anyhow::Result<Self> {
        let (source, target) =
            (world.source.connect("monolith").await?, world.target.connect("ticket").await?);
        let stop = CancellationToken::new();
        let until = stop.clone();
        let counting = tokio::spawn(async move {
            let mut split = 0;
            while !until.is_cancelled() {
                if both_open(&source, &target).await.unwrap_or(false) {
                    split += 1;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
            split
        });
        Ok(Self { stop, counting })
    }

    /// How often both were open.
    pub(super) async fn finish(self) -> u64 {
        self.stop.cancel();
        // a watcher that died has proved nothing
        self.counting.await.unwrap_or(u64::MAX)
    }
}

/// The two rows can not be read at one instant: the source is read before and after the target, and
/// counts as open in between when it was open at the same epoch both times.
async fn both_open(source: &Client, target: &Client) -> anyhow::Result<bool> {
    let before = read(source).await?;
    let target = read(target).await?;
    let after = read(source).await?;
    Ok(before.open && target.open && before == after)
}

async fn read(client: &Client) -> anyhow::Result<Row> {
    let row = client
        .query_opt("SELECT state, epoch FROM ficus.guard WHERE capability = 'tickets'", &[])
        .await?
        .context("there is no guard row")?;
    let state: String = row.try_get(0)?;
    Ok(Row { open: state == "OPEN", moved: state == "MOVED", epoch: row.try_get(1)? })
}
