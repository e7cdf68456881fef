//! Answers that grow line by line. The work behind them goes on when the client leaves.

use std::convert::Infallible;

use axum::{
    body::Body,
    http::header,
    response::{IntoResponse, Response},
};
use futures::StreamExt;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Lines wait only while the client's network is slow.
const WAITING_MAX: usize = 64;

/// The writing end of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Lines(mpsc::Sender<Vec<u8>>);

impl Lines {
    /// An answer and its writing end.
    pub(crate) fn answer() -> (Self, Response) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let body = Body::from_stream(ReceiverStream::new(receiver).map(Ok::<_, Infallible>));
        (Self(sender), ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
    }

    /// Writes one line; a client that left misses it.
    pub(crate) async fn write(&self, value: &impl Serialize) {
        let Ok(mut line) = serde_json::to_vec(value) else { return };
        line.push(b'\n');
        let _client_left = self.0.send(line).await.is_err();
    }
}
