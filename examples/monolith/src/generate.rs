//! Fills the database with tickets that look like years of work. PostgreSQL makes the texts itself, a chunk of
//! tickets for each statement: nothing travels, and a debug build is as fast as any other.

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, FromRow, PgConnection};
use tokio::time::Instant;

/// Tickets of one statement, and so of one transaction: large enough to be fast, small enough to show progress.
const CHUNK: u32 = 5_000;

/// The first ticket of a run is this many days old; the last one is of yesterday, or older in a small run.
const DAYS: u32 = 180;

/// One mail part in so many tickets has lost its article.
const TICKETS_PER_ORPHAN: u32 = 1_000;
const ORPHANS_MIN: u32 = 3;

/// How much to generate.
#[derive(Debug, Clone, Copy)]
pub struct Volume {
    /// Tickets to add to those there are.
    pub tickets: u32,
    /// Articles of each of them.
    pub articles_each: u16,
    /// The same seed gives an empty database the same texts and states.
    pub seed: u32,
}

/// How many rows were added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromRow)]
pub struct Generated {
    /// Rows of `ticket`.
    pub tickets: i64,
    /// Rows of `article`, each with its `article_data_mime`.
    pub articles: i64,
    /// Rows of `ticket_history`.
    pub history: i64,
    /// Rows of `ticket_flag`.
    pub flags: i64,
    /// Rows of `article_data_mime` that belong to no article.
    #[sqlx(default)]
    pub orphans: i64,
}

/// Adds `volume` to the database at `url`. Each chunk of tickets is committed on its own; progress is logged.
///
/// # Errors
/// When the database cannot be reached or refuses; the chunks before that stay.
pub async fn generate(url: &str, volume: Volume) -> Result<Generated, sqlx::Error> {
    let options: PgConnectOptions = url.parse()?;
    let mut connection = options.application_name("monolith-generate").connect().await?;
    sqlx::raw_sql(include_str!("generate/functions.sql")).execute(&mut connection).await?;

    let started = Instant::now();
    let mut total = Generated::default();
    let mut first = 1;
    while first <= volume.tickets {
        let last = volume.tickets.min(first.saturating_add(CHUNK - 1));
        let chunk = generate_chunk(&mut connection, volume, first, last).await?;
        total.tickets += chunk.tickets;
        total.articles += chunk.articles;
        total.history += chunk.history;
        total.flags += chunk.flags;
        let elapsed_s = started.elapsed().as_secs_f32();
        tracing::info!(tickets = total.tickets, of = volume.tickets, elapsed_s, "generated");
        first = last + 1;
    }
    total.orphans = generate_orphans(&mut connection, volume).await?;
    // Fresh statistics and visibility maps: counting and sorting are fast from the first request on.
    sqlx::query("VACUUM (ANALYZE) ticket, article, article_data_mime, ticket_history, ticket_flag")
        .execute(&mut connection)
        .await?;
    tracing::info!(?total, elapsed_s = started.elapsed().as_secs_f32(), "finished");
    connection.close().await?;
    Ok(total)
}

async fn generate_chunk(
    connection: &mut PgConnection,
    volume: Volume,
    first: u32,
    last: u32,
) -> Result<Generated, sqlx::Error> {
    sqlx::query_as(include_str!("generate/chunk.sql"))
        .bind(i64::from(first))
        .bind(i64::from(last))
        .bind(i32::from(volume.articles_each))
        .bind(i64::from(volume.seed))
        .bind(i64::from(volume.tickets.div_ceil(DAYS)))
        .bind(i64::from(DAYS))
        .fetch_one(connection)
        .await
}

async fn generate_orphans(
    connection: &mut PgConnection,
    volume: Volume,
) -> Result<i64, sqlx::Error> {
    let count = (volume.tickets / TICKETS_PER_ORPHAN).max(ORPHANS_MIN);
    sqlx::query(include_str!("generate/orphans.sql"))
        .bind(i64::from(count))
        .bind(i64::from(volume.seed))
        .execute(connection)
        .await?;
    Ok(i64::from(count))
}
