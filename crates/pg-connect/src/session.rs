//! SQL sessions.

use tokio_postgres::{
    Client, Config, Socket,
    config::{ChannelBinding, SslMode},
};

use crate::{ConnectError, Settings, Tls, TlsError, TlsStream};

type Session = (Client, Box<tokio_postgres::Connection<Socket, TlsStream<Socket>>>);

impl Settings {
    /// Opens a session. The connection is driven by a task of its own, which ends with the client.
    ///
    /// # Errors
    /// When the server is away, refuses the login, or is not who the URL demands.
    pub async fn connect(&self) -> Result<Client, ConnectError> {
        let timeout = self.connect_timeout();
        // A handshake is large; whoever connects should not be.
        let (client, connection) = tokio::time::timeout(timeout, Box::pin(self.open()))
            .await
            .unwrap_or(Err(ConnectError::Timeout { timeout }))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "database connection ended");
            }
        });
        Ok(client)
    }

    async fn open(&self) -> Result<Session, ConnectError> {
        let tls = Tls::load(self.tls()).await?;
        match connect(self.config(), tls.clone()).await {
            // As libpq: whom plain text is good enough for is not turned away by a bad certificate.
            Err(ConnectError::Tls(TlsError::Certificate { .. } | TlsError::Handshake { .. }))
                if self.config().get_ssl_mode() == SslMode::Prefer =>
            {
                let mut plain = self.config().clone();
                plain.ssl_mode(SslMode::Disable);
                connect(&plain, tls).await
            }
            outcome => outcome,
        }
    }
}

async fn connect(config: &Config, tls: Tls) -> Result<Session, ConnectError> {
    let demands_binding = config.get_channel_binding() == ChannelBinding::Require;
    let (client, connection) = config
        .connect(tls)
        .await
        .map_err(|error| ConnectError::from_session(error, demands_binding))?;
    Ok((client, Box::new(connection)))
}
