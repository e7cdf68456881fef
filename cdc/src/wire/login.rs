//! Startup and authentication: trust, cleartext, md5 and SCRAM-SHA-256 with and without channel binding.

use fallible_iterator::FallibleIterator;
use pg_connect::TlsError;
use postgres_protocol::{
    authentication::{
        md5_hash,
        sasl::{self, ScramSha256},
    },
    message::{
        backend::{AuthenticationSaslBody, Message},
        frontend,
    },
};
use tokio_postgres::{Config, config::ChannelBinding};

use super::{
    WireError,
    connection::{Connection, Reply},
    socket::Channel,
};

const APPLICATION_NAME: &str = "ficus";

/// Settings that decide how values become text, so that a value means the same whatever the
/// database or the role have set. They are those of PostgreSQL's own subscriber, and the time zone.
const VALUE_SETTINGS: [(&str, &str); 7] = [
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("TimeZone", "UTC"),
    ("lc_monetary", "C"),
];

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Slots and the log of the settings' database; statements too.
    Replication,
    /// Statements only.
    Sql,
}

/// Logs in and returns the server's version as it reports it.
pub(super) async fn log_in(
    connection: &mut Connection,
    config: &Config,
    mode: Mode,
    channel: &Channel,
) -> Result<String, WireError> {
    let user = config.get_user().ok_or_else(|| WireError::settings("no user is given"))?;
    let mut parameters = vec![
        ("user", user),
        ("database", config.get_dbname().unwrap_or(user)),
        ("application_name", config.get_application_name().unwrap_or(APPLICATION_NAME)),
    ];
    match mode {
        Mode::Replication => parameters.push(("replication", "database")),
        Mode::Sql => {}
    }
    parameters.extend(VALUE_SETTINGS);
    parameters.extend(config.get_options().map(|options| ("options", options)));
    frontend::startup_message(parameters, &mut connection.outgoing)
        .map_err(|_| WireError::settings("a setting holds a NUL byte"))?;
    connection.send().await?;
    authenticate(connection, config, user, channel).await?;
    await_ready(connection).await
}

async fn authenticate(
    connection: &mut Connection,
    config: &Config,
    user: &str,
    channel: &Channel,
) -> Result<(), WireError> {
    let demand = config.get_channel_binding();
    let mut is_bound = false;
    // Without the binding, whoever sits between us and the server could be who asks for a password.
    let must_be_bound = |is_bound: bool| {
        if demand == ChannelBinding::Require && !is_bound {
            return Err(WireError::Tls(TlsError::no_binding()));
        }
        Ok(())
    };
    loop {
        match receive(connection).await? {
            Reply::Message(Message::AuthenticationOk) => return must_be_bound(is_bound),
            Reply::Message(Message::AuthenticationCleartextPassword) => {
                must_be_bound(is_bound)?;
                send_password(connection, password(config)?).await?;
            }
            Reply::Message(Message::AuthenticationMd5Password(body)) => {
                must_be_bound(is_bound)?;
                let hash = md5_hash(user.as_bytes(), password(config)?, body.salt());
                send_password(connection, hash.as_bytes()).await?;
            }
            Reply::Message(Message::AuthenticationSasl(body)) => {
                let mechanism = Mechanism::choose(&body, demand, channel)?;
                is_bound = mechanism.is_bound();
                must_be_bound(is_bound)?;
                authenticate_scram(connection, mechanism, password(config)?).await?;
            }
            Reply::Message(
                Message::AuthenticationGss
                | Message::AuthenticationKerberosV5
                | Message::AuthenticationSspi
                | Message::AuthenticationScmCredential,
            ) => {
                return Err(WireError::login(
                    "the server asks for gss, sspi or credentials of the system, \
                     let pg_hba.conf ask for scram-sha-256",
                ));
            }
            Reply::Message(_) | Reply::CopyBoth => {
                return Err(WireError::protocol("an unexpected message during authentication"));
            }
        }
    }
}

/// A way of SCRAM, and what we say about binding. A server that could bind and hears that we can
/// not, or the other way round, notices that somebody has changed the list of mechanisms.
enum Mechanism {
    Bound(Vec<u8>),
    /// We could bind the login, the server did not offer to.
    NotOffered,
    /// We can not, or do not want to.
    Unbound,
}

impl Mechanism {
    fn choose(
        offered: &AuthenticationSaslBody,
        demand: ChannelBinding,
        channel: &Channel,
    ) -> Result<Self, WireError> {
        let is_offered = |name: &str| {
            offered
                .mechanisms()
                .any(|mechanism| Ok(mechanism == name))
                .map_err(|_| WireError::protocol("the list of sasl mechanisms cannot be read"))
        };
        let end_point = match channel {
            Channel::Encrypted(Some(end_point)) if demand != ChannelBinding::Disable => {
                Some(end_point)
            }
            Channel::Encrypted(_) | Channel::Plain => None,
        };
        let is_bindable = is_offered(sasl::SCRAM_SHA_256_PLUS)?;
        match end_point {
            Some(end_point) if is_bindable => Ok(Self::Bound(end_point.clone())),
            _ if !is_offered(sasl::SCRAM_SHA_256)? => {
                Err(WireError::login("the server does not offer scram-sha-256"))
            }
            Some(_) => Ok(Self::NotOffered),
            None => Ok(Self::Unbound),
        }
    }

    const fn is_bound(&self) -> bool {
        match self {
            Self::Bound(_) => true,
            Self::NotOffered | Self::Unbound => false,
        }
    }

    fn begin(self) -> (&'static str, sasl::ChannelBinding) {
        match self {
            Self::Bound(end_point) => {
                (sasl::SCRAM_SHA_256_PLUS, sasl::ChannelBinding::tls_server_end_point(end_point))
            }
            Self::NotOffered => (sasl::SCRAM_SHA_256, sasl::ChannelBinding::unrequested()),
            Self::Unbound => (sasl::SCRAM_SHA_256, sasl::ChannelBinding::unsupported()),
        }
    }
}

/// Both sides prove that they know the password; the server's proof is checked before we go on.
async fn authenticate_scram(
    connection: &mut Connection,
    mechanism: Mechanism,
    password: &[u8],
) -> Result<(), WireError> {
    let (name, binding) = mechanism.begin();
    let mut scram = ScramSha256::new(password, binding);
    frontend::sasl_initial_response(name, scram.message(), &mut connection.outgoing)
        .map_err(WireError::Io)?;
    connection.send().await?;
    let Reply::Message(Message::AuthenticationSaslContinue(body)) = receive(connection).await?
    else {
        return Err(WireError::protocol("scram did not continue"));
    };
    scram.update(body.data()).map_err(|error| scram_error(&error))?;
    frontend::sasl_response(scram.message(), &mut connection.outgoing).map_err(WireError::Io)?;
    connection.send().await?;
    let Reply::Message(Message::AuthenticationSaslFinal(body)) = receive(connection).await? else {
        return Err(WireError::protocol("scram did not end"));
    };
    scram.finish(body.data()).map_err(|error| scram_error(&error))
}

/// The text of the library says which step failed and holds no secret.
fn scram_error(error: &std::io::Error) -> WireError {
    WireError::login(format!("scram: {error}"))
}

/// Everything between authentication and the first command.
async fn await_ready(connection: &mut Connection) -> Result<String, WireError> {
    let mut version = None;
    loop {
        match receive(connection).await? {
            Reply::Message(Message::ParameterStatus(body)) => {
                if body.name().map_err(WireError::Io)? == "server_version" {
                    version = Some(body.value().map_err(WireError::Io)?.to_owned());
                }
            }
            Reply::Message(Message::BackendKeyData(_)) => {}
            Reply::Message(Message::ReadyForQuery(_)) => {
                return version.ok_or_else(|| WireError::protocol("it did not tell its version"));
            }
            Reply::Message(_) | Reply::CopyBoth => {
                return Err(WireError::protocol("an unexpected message after authentication"));
            }
        }
    }
}

async fn receive(connection: &mut Connection) -> Result<Reply, WireError> {
    match connection.receive().await? {
        Reply::Message(Message::ErrorResponse(body)) => Err(WireError::server(body.fields())),
        reply @ (Reply::Message(_) | Reply::CopyBoth) => Ok(reply),
    }
}

async fn send_password(connection: &mut Connection, password: &[u8]) -> Result<(), WireError> {
    frontend::password_message(password, &mut connection.outgoing)
        .map_err(|_| WireError::settings("the password holds a NUL byte"))?;
    connection.send().await
}

fn password(config: &Config) -> Result<&[u8], WireError> {
    config
        .get_password()
        .ok_or_else(|| WireError::login("the server asks for a password and none is given"))
}
