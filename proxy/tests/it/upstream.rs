//! A scripted upstream that remembers every request it was sent.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use http::{HeaderMap, Method, StatusCode};
use tokio::{net::TcpListener, sync::watch};

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// How a request is answered.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) body: String,
}

type Script = Box<dyn Fn(&Seen) -> Reply + Send>;

/// One upstream; `x-by` of every answer carries its name.
pub(crate) struct Upstream {
    name: &'static str,
    pub(crate) address: SocketAddr,
    seen: Mutex<Vec<Seen>>,
    script: Mutex<Script>,
    slow: watch::Sender<bool>,
}

impl Reply {
    pub(crate) fn json(body: impl Into<String>) -> Self {
        Self {
            status: StatusCode::OK,
            headers: vec![("content-type", "application/json")],
            body: body.into(),
        }
    }

    pub(crate) fn html(body: impl Into<String>) -> Self {
        let headers = vec![("content-type", "text/html; charset=utf-8")];
        Self { status: StatusCode::OK, headers, body: body.into() }
    }

    pub(crate) fn status(mut self, status: u16) -> Self {
        self.status = StatusCode::from_u16(status).expect("a status");
        self
    }
}

impl Upstream {
    pub(crate) async fn start(name: &'static str) -> anyhow::Result<Arc<Self>> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let upstream = Arc::new(Self {
            name,
            address: listener.local_addr()?,
            seen: Mutex::default(),
            script: Mutex::new(Box::new(|_| Reply::json("{}"))),
            slow: watch::Sender::new(false),
        });
        let app = Router::new().fallback(answer).with_state(Arc::clone(&upstream));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(upstream)
    }

    /// From now on answers this way.
    pub(crate) fn answer(&self, script: impl Fn(&Seen) -> Reply + Send + 'static) {
        *self.script.lock().expect("no panic") = Box::new(script);
    }

    /// From now on requests are taken and not answered, until set back.
    pub(crate) fn set_slow(&self, slow: bool) {
        self.slow.send_replace(slow);
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().expect("no panic")
    }

    pub(crate) fn count(&self) -> usize {
        self.seen().len()
    }
}

async fn answer(State(upstream): State<Arc<Upstream>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    // A request that was given up before its end never happened.
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
        let mut refused = Response::default();
        *refused.status_mut() = StatusCode::BAD_REQUEST;
        return refused;
    };
    let body = body.to_vec();
    let path = head.uri.path().to_owned();
    let seen = Seen { method: head.method, path, headers: head.headers, body };
    upstream.seen().push(seen.clone());
    let mut slow = upstream.slow.subscribe();
    slow.wait_for(|slow| !slow).await.expect("the upstream lives as long as its server");
    let reply = upstream.script.lock().expect("no panic")(&seen);
    let mut response = Response::builder().status(reply.status).header("x-by", upstream.name);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(reply.body)).expect("a response")
}
