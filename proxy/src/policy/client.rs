//! The client policies ask other servers with, apart from the connections of requests.

use std::{
    convert::Infallible,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body_util::combinators::BoxBody;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client as Pooled, ResponseFuture, connect::HttpConnector},
    rt::TokioExecutor,
};

type Asked = BoxBody<Bytes, Infallible>;
type Pool = Pooled<HttpsConnector<HttpConnector>, Asked>;

/// Speaks HTTP/1.1, over TLS where the address says so. Made when somebody is asked for the first time:
/// what the system trusts takes a while to read, and most files ask nobody. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Client(Arc<OnceLock<Pool>>);

impl Client {
    /// Asks a server.
    pub(super) fn request(&self, request: Request<Asked>) -> ResponseFuture {
        self.0.get_or_init(pool).request(request)
    }
}

/// Connections that trust what the system trusts.
fn pool() -> Pool {
    let mut http = HttpConnector::new();
    http.set_connect_timeout(Some(Duration::from_secs(2)));
    http.set_nodelay(true);
    http.enforce_http(false);
    let builder = HttpsConnectorBuilder::new();
    let provider = rustls::crypto::ring::default_provider();
    let builder = match builder.with_provider_and_native_roots(provider) {
        Ok(builder) => builder,
        Err(error) => {
            tracing::warn!(%error, "the system has no certificates that are trusted: https fails");
            let versions = rustls::ClientConfig::builder_with_provider(Arc::new(
                rustls::crypto::ring::default_provider(),
            ));
            let config = versions.with_safe_default_protocol_versions();
            let config = config.expect("ring has all versions");
            let roots = rustls::RootCertStore::empty();
            let config = config.with_root_certificates(roots).with_no_client_auth();
            HttpsConnectorBuilder::new().with_tls_config(config)
        }
    };
    let connector = builder.https_or_http().enable_http1().wrap_connector(http);
    Pooled::builder(TokioExecutor::new())
        .pool_idle_timeout(Duration::from_secs(20))
        .build(connector)
}
