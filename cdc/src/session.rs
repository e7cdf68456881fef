//! Database sessions, all with the same pinned settings, so that a value means the same everywhere.

use cutover::Side;
use guard::GuardError;
use pg_connect::Settings;
use tokio_postgres::Client;

use crate::{
    StreamError,
    wire::{Mode, Session, WireError},
};

/// Settings that decide how values become text and back, limits that must not strike in the middle of
/// a stream, and a server that notices within half a minute when our machine is gone: until then the
/// session keeps its locks and the stream's origin.
const PINNED: &str =
    "SET DateStyle = 'ISO, MDY'; SET IntervalStyle = 'postgres'; SET TimeZone = 'UTC';
    SET lc_monetary = 'C';
    SET extra_float_digits = 3; SET bytea_output = 'hex'; SET xmlbinary = 'base64';
    SET standard_conforming_strings = on; SET statement_timeout = 0; SET lock_timeout = 0;
    SET idle_in_transaction_session_timeout = 0; SET client_min_messages = warning;
    SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3";

/// A session that the fences let pass.
///
/// # Errors
/// When the database can not be reached or the role may not be taken.
pub(crate) async fn open(url: &str, side: Side, name: &str) -> Result<Client, StreamError> {
    let client =
        guard::connect(url, name).await.map_err(|source| StreamError::Connect { side, source })?;
    client
        .batch_execute(PINNED)
        .await
        .map_err(StreamError::database("pin the session's settings", side))?;
    Ok(client)
}

/// As [`open`], over a connection that can pass copied rows on.
///
/// # Errors
/// As [`open`].
pub(crate) async fn open_for_copy(
    url: &str,
    side: Side,
    name: &str,
) -> Result<Session, StreamError> {
    let mut settings: Settings =
        url.parse().map_err(|error| StreamError::Operator(format!("{side}: {error}")))?;
    settings.application_name(name);
    let open = async {
        let mut session = Session::connect(&settings, Mode::Sql).await?;
        let user = session.query("SELECT session_user").await?.rows.into_iter().flatten().next();
        if user.flatten().as_deref() != Some(guard::APPLIER_ROLE) {
            session.query(&format!("SET SESSION AUTHORIZATION {}", guard::APPLIER_ROLE)).await?;
        }
        session.query(PINNED).await?;
        Ok::<_, WireError>(session)
    };
    open.await.map_err(StreamError::copy("open a session", side))
}

/// A session for reading catalogs: names of types come qualified.
///
/// # Errors
/// As [`open`].
pub(crate) async fn open_for_catalogs(url: &str, side: Side) -> Result<Client, StreamError> {
    let client = open(url, side, "ficus-cdc-catalog").await?;
    client
        .batch_execute("SET search_path = pg_catalog")
        .await
        .map_err(StreamError::database("pin the search path", side))?;
    Ok(client)
}

/// A session with the role of the URL itself, for what only the owner of a table may do.
///
/// # Errors
/// When the URL can not be used, or its server or role is not there.
pub(crate) async fn open_as_owner(url: &str) -> Result<Client, GuardError> {
    let mut settings: Settings = url.parse()?;
    settings.application_name("ficus-cdc-owner");
    Ok(settings.connect().await?)
}
