//! One control leads, the others stand by: a session-level advisory lock on a connection of its own.
//! Safety does not rest on it (the guards do that); it keeps two coordinators from wasting each
//! other's time.

use std::{sync::Arc, time::Duration};

use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;

use crate::{
    align, autoshift,
    core::{Core, Term},
    metrics,
    store::connect_options,
};

/// "ficus" as a number: the key of the lock.
const LOCK_KEY: i64 = 0x0066_6963_7573;
const TRY_EVERY: Duration = Duration::from_millis(500);
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Tries to lead, leads, and stands by again, until the process stops.
pub(crate) async fn run(core: Arc<Core>) {
    let mut said = false;
    while !core.stop.is_cancelled() {
        let lost = match try_lock(core.control.database.expose()).await {
            Ok(Some(mut connection)) => {
                said = false;
                lead(&core, &mut connection).await;
                let _gone_anyway = connection.close().await.is_err();
                "leadership ended"
            }
            Ok(None) => "another control leads, standing by",
            Err(error) => {
                tracing::warn!(%error, "control's database does not answer");
                "control's database does not answer"
            }
        };
        if !said {
            tracing::info!(lost, "not leading");
            said = true;
        }
        tokio::select! {
            () = tokio::time::sleep(TRY_EVERY) => {}
            () = core.stop.cancelled() => {}
        }
    }
}

async fn try_lock(url: &str) -> Result<Option<PgConnection>, sqlx::Error> {
    let options = connect_options(url)?;
    let mut connection = within(PgConnection::connect_with(&options)).await?;
    let query = sqlx::query_as("SELECT pg_try_advisory_lock($1)").bind(LOCK_KEY);
    let (locked,): (bool,) = within(query.fetch_one(&mut connection)).await?;
    Ok(locked.then_some(connection))
}

async fn within<T>(call: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    match tokio::time::timeout(ANSWER_WITHIN, call).await {
        Ok(answer) => answer,
        Err(_elapsed) => Err(sqlx::Error::PoolTimedOut),
    }
}

/// Leads until the lock's connection is lost or the process stops.
async fn lead(core: &Arc<Core>, connection: &mut PgConnection) {
    let term = Term { over: CancellationToken::new() };
    if let Err(error) = align::begin_term(core).await {
        tracing::warn!(%error, "leading could not begin");
        return;
    }
    core.proxies.clear();
    core.set_term(Some(term.clone()));
    metrics::leader(true);
    tracing::info!("leading");
    let duties = async {
        align::take_up_transfers(core).await;
        tokio::join!(align::run(core), autoshift::run(core));
    };
    tokio::select! {
        () = duties => {}
        () = keep(connection) => tracing::warn!("lost the connection that holds the leader's lock"),
        () = core.stop.cancelled() => finish_transfers(core).await,
    }
    term.over.cancel();
    core.set_term(None);
    metrics::leader(false);
}

/// A transfer that is under way ends by itself within seconds; a process told to stop waits for it.
async fn finish_transfers(core: &Core) {
    let all_ended = async {
        while core.is_transferring_any() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(8), all_ended).await.is_err() {
        tracing::warn!("stopping during a transfer; the next leader takes it up");
    }
}

/// Returns when the connection, and with it the lock, is gone.
async fn keep(connection: &mut PgConnection) {
    loop {
        tokio::time::sleep(TRY_EVERY).await;
        if within(connection.ping()).await.is_err() {
            return;
        }
    }
}
