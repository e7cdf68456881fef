//! The handshake, for both kinds of connection.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use rustls::{ClientConfig, crypto::ring, pki_types::ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect};
use tokio_rustls::{TlsConnector, client};

use crate::{
    TlsError, TlsSettings,
    files::{self, Roots},
    server_end_point::server_end_point,
    verifier::{Demand, Verifier},
};

/// What a server that is spoken to without an SSLRequest (`sslnegotiation=direct`) wants to hear.
const ALPN: &[u8] = b"postgresql";

/// All that is needed for the handshakes with one server: certificates are read once.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
}

/// An encrypted connection.
pub struct TlsStream<S> {
    stream: client::TlsStream<S>,
    server_end_point: Option<Vec<u8>>,
}

impl Tls {
    /// Reads the certificates that the settings name.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub async fn load(settings: &TlsSettings) -> Result<Self, TlsError> {
        let settings = settings.clone();
        tokio::task::spawn_blocking(move || Self::load_now(&settings)).await.unwrap_or_else(|_| {
            Err(TlsError::handshake("the certificates were not read to the end"))
        })
    }

    fn load_now(settings: &TlsSettings) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let roots = settings.root.as_ref().map_or_else(|| Ok(Roots::none()), Roots::load)?;
        let verifier = Verifier {
            demand: Demand::of(settings),
            roots,
            algorithms: provider.signature_verification_algorithms,
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::handshake(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = if let Some(identity) = &settings.identity {
            let (chain, key) = files::identity(identity)?;
            builder.with_client_auth_cert(chain, key).map_err(|_| files::unusable(identity))?
        } else {
            builder.with_no_client_auth()
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self { config: Arc::new(config) })
    }

    /// Encrypts a connection on which the server has agreed to it. `host` is the name that the
    /// certificate must be for, and that the server is told (SNI) unless it is an address.
    ///
    /// # Errors
    /// When the server is not who the settings demand, or does not speak TLS as we do.
    pub async fn handshake<S>(&self, host: &str, stream: S) -> Result<TlsStream<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| TlsError::handshake(format!("{host:?} is no host name")))?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let stream =
            connector.connect(name, stream).await.map_err(|error| TlsError::from_io(&error))?;
        let (_, session) = stream.get_ref();
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        let server_end_point = certificate.and_then(|each| server_end_point(each));
        Ok(TlsStream { stream, server_end_point })
    }
}

impl<S> TlsStream<S> {
    /// What SCRAM binds a login to; `None` when the server's certificate is of a kind without it.
    #[must_use]
    pub fn server_end_point(&self) -> Option<&[u8]> {
        self.server_end_point.as_deref()
    }
}

/// The handshake with one host, as `tokio-postgres` wants it.
#[derive(Debug)]
pub struct Handshake {
    tls: Tls,
    host: String,
}

impl<S> MakeTlsConnect<S> for Tls
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = TlsStream<S>;
    type TlsConnect = Handshake;
    type Error = TlsError;

    fn make_tls_connect(&mut self, host: &str) -> Result<Handshake, TlsError> {
        Ok(Handshake { tls: self.clone(), host: host.to_owned() })
    }
}

impl<S> TlsConnect<S> for Handshake
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = TlsStream<S>;
    type Error = TlsError;
    type Future = Pin<Box<dyn Future<Output = Result<TlsStream<S>, TlsError>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move { self.tls.handshake(&self.host, stream).await })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> tokio_postgres::tls::TlsStream for TlsStream<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.server_end_point
            .clone()
            .map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl<S> fmt::Debug for TlsStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").finish_non_exhaustive()
    }
}
