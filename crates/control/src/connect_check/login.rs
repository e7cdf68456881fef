//! Logging in: once as the owner, to look, and once as the replicator will, to see whether it can.

use std::{error::Error as _, time::Duration};

use cutover::Side;
use pg_connect::{ConnectError, Settings, SettingsError};
use routes::Upstream;
use tokio_postgres::Client;

use super::{
    CheckFinding, Place,
    catalog::{Login, Rights, Server},
    read, side_name,
};

const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// A balancer would have sent one of so many more connections to another server.
const MORE_CONNECTIONS: usize = 3;

/// Looking must never be what stops the monolith.
const SESSION: &str = "SET default_transaction_read_only = on; SET statement_timeout = '15s';
    SET lock_timeout = '2s'; SET search_path = pg_catalog";

/// What could be learned of one upstream's database.
#[derive(Debug)]
pub(super) struct Opened {
    /// The upstream's name.
    pub(super) name: String,
    at: String,
    side: Side,
    /// The owner's session; absent when it could not be opened.
    pub(super) client: Option<Client>,
    pub(super) server: Option<Server>,
    pub(super) rights: Option<Rights>,
    pub(super) login: Option<Login>,
}

impl Opened {
    pub(super) fn place<'a>(&'a self, capability: Option<&'a str>) -> Place<'a> {
        Place { side: side_name(self.side), at: &self.at, capability }
    }
}

/// Opens an upstream's database and reads what concerns all of it.
pub(super) async fn open(
    upstream: &Upstream,
    side: Side,
    findings: &mut Vec<CheckFinding>,
) -> Opened {
    let mut opened = Opened {
        name: upstream.name.clone(),
        at: format!("upstreams.{}", upstream.name),
        side,
        client: None,
        server: None,
        rights: None,
        login: None,
    };
    let (key, url) = match (&upstream.owner_database, &upstream.database) {
        (Some(url), _) => ("owner_database", url),
        (None, Some(url)) => ("database", url),
        (None, None) => return opened,
    };
    let client = match connect(url.expose()).await {
        Ok(client) => client,
        Err(failed) => {
            findings.push(can_not_log_in(opened.place(None), key, &failed));
            return opened;
        }
    };
    match read_all(&client).await {
        Ok((server, rights)) => {
            opened.server = Some(server);
            opened.rights = Some(rights);
        }
        Err(error) => findings.push(can_not_read(opened.place(None), &error)),
    }
    if let Some(server) = &opened.server {
        let one_server = same_server(opened.place(None), url.expose(), &server.system_id).await;
        findings.extend(one_server);
    }
    opened.client = Some(client);
    if let Some(database) = &upstream.database {
        opened.login = Some(log_in(database.expose()).await);
    }
    opened
}

/// Behind a load balancer every connection may come to another server: a snapshot of one is unknown to the
/// next, and so is a position in the log.
async fn same_server(place: Place<'_>, url: &str, system_id: &str) -> Option<CheckFinding> {
    for _ in 0..MORE_CONNECTIONS {
        // what can not be reached now was reached before, and is tried again by whoever needs it
        let Ok(client) = connect(url).await else { continue };
        let Ok(found) = read::system_id(&client).await else { continue };
        if found != system_id {
            return Some(
                CheckFinding::error(
                    place,
                    "load_balancer",
                    format!("{}: connections come to different servers", place.at),
                )
                .remedy("let the URL lead to the one server that takes writes, past any balancer"),
            );
        }
    }
    None
}

/// The finding for a URL that does not lead into its database.
pub(super) fn can_not_log_in(place: Place<'_>, key: &str, failed: &Failed) -> CheckFinding {
    let Failed { user, why } = failed;
    CheckFinding::error(
        place,
        "login",
        format!("{}.{key} can not log in as {user}: {why}", place.at),
    )
    .remedy("correct the URL, or let the role in: its password, its LOGIN attribute, pg_hba.conf")
}

/// The finding for a query that was refused.
pub(super) fn can_not_read(place: Place<'_>, error: &tokio_postgres::Error) -> CheckFinding {
    CheckFinding::error(
        place,
        "catalogs",
        format!("{}: the catalogs could not be read: {}", place.at, in_words(error)),
    )
    .remedy("look at the server's log, then check again")
}

async fn read_all(client: &Client) -> Result<(Server, Rights), tokio_postgres::Error> {
    Ok((read::server(client).await?, read::rights(client).await?))
}

async fn log_in(url: &str) -> Login {
    let failed = match connect(url).await {
        Ok(client) => match read::session_role(&client).await {
            Ok(role) => return Login::Role(role),
            Err(error) => Failed { user: "its user".to_owned(), why: in_words(&error) },
        },
        Err(failed) => failed,
    };
    Login::Failed { user: failed.user, why: failed.why }
}

/// Why nobody is logged in. Holds no password.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) user: String,
    pub(super) why: String,
}

/// A session that only looks.
pub(super) async fn connect(url: &str) -> Result<Client, Failed> {
    let mut settings: Settings = url.parse().map_err(|error: SettingsError| Failed {
        user: "anybody".to_owned(),
        why: error.to_string(),
    })?;
    settings.application_name("ficus-check").set_connect_timeout(CONNECT_WITHIN);
    let config = settings.config();
    let user = config.get_user().unwrap_or("the default user").to_owned();
    let password = String::from_utf8_lossy(config.get_password().unwrap_or_default()).into_owned();
    let fail = |why: String| {
        let why = if password.is_empty() { why } else { why.replace(&password, "***") };
        Failed { user: user.clone(), why }
    };
    let client = settings.connect().await.map_err(|error| fail(why_not(&error)))?;
    client.batch_execute(SESSION).await.map_err(|error| fail(in_words(&error)))?;
    Ok(client)
}

fn why_not(error: &ConnectError) -> String {
    if let ConnectError::Server(error) = error { in_words(error) } else { error.to_string() }
}

/// The server's message, or what went wrong on the way to it.
pub(super) fn in_words(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        return db.message().to_owned();
    }
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}
