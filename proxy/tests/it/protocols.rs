//! What passes through unchanged: bodies that stream, codings, answers without a body, upgrades, trailers,
//! and both versions of HTTP.

mod script;
mod versions;

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    response::Response,
    routing::{any, get},
};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use testkit::http::Recorder;
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_tungstenite::tungstenite::Message;

use crate::{plain::Plain, wire::Wire, world::BOUND};
use script::Script;

/// Serves a router until the test ends.
async fn serve(router: Router) -> anyhow::Result<std::net::SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

#[tokio::test]
async fn an_event_reaches_the_downstream_before_the_next_one_is_made() -> anyhow::Result<()> {
    let (events, stream) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let stream = std::sync::Mutex::new(Some(stream));
    let answer = move || {
        let stream = stream.lock().expect("no panic").take().expect("asked once");
        let body = Body::from_stream(ReceiverStream::new(stream));
        let response = Response::builder().header("content-type", "text/event-stream");
        std::future::ready(response.body(body).expect("a response"))
    };
    let answer = std::sync::Arc::new(answer);
    let router = Router::new().route("/events", get(move || answer()));
    let plain = Plain::start(serve(router).await?, "").await?;
    let url = format!("http://{}/events", plain.address());
    let mut answer = reqwest::get(url).await?;
    for number in 0..3 {
        let event = format!("data: {number}\n\n");
        events.send(Ok(event.clone().into())).await?;
        let seen = timeout(BOUND, answer.chunk()).await??;
        assert_eq!(seen.as_deref(), Some(event.as_bytes()));
    }
    drop(events);
    assert_eq!(timeout(BOUND, answer.chunk()).await??, None);
    Ok(())
}

#[tokio::test]
async fn a_web_socket_carries_messages_both_ways_and_its_close() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let upstream = listener.local_addr()?;
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await?;
        let mut socket = tokio_tungstenite::accept_async(stream).await?;
        let mut code = None;
        while let Some(message) = socket.next().await {
            match message? {
                message @ (Message::Text(_) | Message::Binary(_)) => socket.send(message).await?,
                // its answer is sent when the next message is waited for
                Message::Close(frame) => code = frame.map(|frame| u16::from(frame.code)),
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
        anyhow::Ok(code)
    });
    let plain = Plain::start(upstream, "").await?;
    let url = format!("ws://{}/socket", plain.address());
    let (mut socket, _) = timeout(BOUND, tokio_tungstenite::connect_async(url)).await??;
    let large = vec![7; 1 << 20];
    for message in [Message::text("hello"), Message::binary(large)] {
        socket.send(message.clone()).await?;
        let echo = timeout(BOUND, socket.next()).await?.expect("an answer")?;
        assert!(echo == message, "another message came back");
    }
    let close = tokio_tungstenite::tungstenite::protocol::CloseFrame {
        code: 4_001.into(),
        reason: "done".into(),
    };
    socket.close(Some(close)).await?;
    let end = timeout(BOUND, socket.next()).await?;
    assert!(
        matches!(&end, Some(Ok(Message::Close(Some(frame)))) if u16::from(frame.code) == 4_001)
    );
    assert_eq!(timeout(BOUND, server).await???, Some(4_001));
    Ok(())
}

#[tokio::test]
async fn a_body_is_asked_for_when_the_upstream_wants_it() -> anyhow::Result<()> {
    let recorder = Recorder::start().await?;
    let plain = Plain::start(recorder.address(), "").await?;
    let head = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    let mut wire = Wire::send(plain.address(), head).await?;
    let first = wire.answer().await?;
    assert!(first.starts_with("HTTP/1.1 100 "), "{first}");
    wire.write("hello").await?;
    let last = wire.answer().await?;
    assert!(last.starts_with("HTTP/1.1 200 "), "{last}");
    let seen = recorder.take();
    assert_eq!(seen.first().map(|request| request.body_bytes), Some(5));
    Ok(())
}

#[tokio::test]
async fn a_coded_answer_is_passed_on_as_it_is() -> anyhow::Result<()> {
    // no gzip at all: who decodes it on the way fails
    let body = "\u{1f}not really gzip";
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nETag: \"v1\"\r\nVary: Accept-Encoding\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let script = Script::start(answer).await?;
    let plain = Plain::start(script.address, "").await?;
    let request = "GET /x HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip, br\r\n\r\n";
    let seen = Wire::send(plain.address(), request).await?.answer().await?;
    let (head, seen_body) = seen.split_once("\r\n\r\n").expect("a head");
    let head = head.to_ascii_lowercase();
    for field in ["content-encoding: gzip", "etag: \"v1\"", "vary: accept-encoding"] {
        assert!(head.contains(field), "{head}");
    }
    assert_eq!(seen_body, body);
    let asked = script.requests();
    assert!(asked[0].to_ascii_lowercase().contains("accept-encoding: gzip, br"), "{asked:?}");
    Ok(())
}

#[tokio::test]
async fn answers_without_a_body_leave_the_connection_usable() -> anyhow::Result<()> {
    for (method, answer) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\n\r\n"),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ] {
        let script = Script::start(answer.to_owned()).await?;
        let plain = Plain::start(script.address, "").await?;
        let request = format!("{method} /x HTTP/1.1\r\nHost: a\r\n\r\n");
        let last = format!("{method} /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let mut wire = Wire::send(plain.address(), &request).await?;
        let first = wire.head().await?;
        assert!(
            first.starts_with(answer.get(..12).unwrap_or_default()),
            "{method} {answer}: {first}"
        );
        wire.write(&last).await?;
        let rest = wire.rest().await?;
        assert!(
            rest.starts_with(answer.get(..12).unwrap_or_default()),
            "{method} {answer}: {rest}"
        );
        assert!(rest.ends_with("\r\n\r\n"), "a body where none may be: {rest}");
        assert_eq!(script.requests().len(), 2, "{method} {answer}");
    }
    Ok(())
}

#[tokio::test]
async fn chunks_and_trailers_of_an_answer_reach_the_downstream() -> anyhow::Result<()> {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
                  5\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 42\r\n\r\n";
    let script = Script::start(answer.to_owned()).await?;
    let plain = Plain::start(script.address, "").await?;
    let request = "GET /x HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: close\r\n\r\n";
    let seen = Wire::send(plain.address(), request).await?.rest().await?;
    let (_, body) = seen.split_once("\r\n\r\n").expect("a head");
    let data: String = body.split("\r\n").skip(1).step_by(2).take(2).collect();
    assert_eq!(data, "hello world", "{seen}");
    assert!(body.contains("0\r\n"), "{seen}");
    Ok(())
}

#[tokio::test]
async fn an_upload_streams_and_is_counted_to_its_last_byte() -> anyhow::Result<()> {
    const PIECES: usize = 320;
    const PIECE: usize = 64 * 1024;
    let recorder = Recorder::start().await?;
    let plain = Plain::start(recorder.address(), "").await?;
    let (pieces, stream) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let url = format!("http://{}/upload", plain.address());
    let body = reqwest::Body::wrap_stream(ReceiverStream::new(stream));
    let answer = tokio::spawn(reqwest::Client::new().post(url).body(body).send());
    for piece in 0..PIECES {
        // a proxy that keeps the whole body would never let the upstream see its first half
        if piece == PIECES / 2 {
            let look = || {
                let has_begun = recorder.peek(|seen| seen.body_bytes > 0);
                std::future::ready(Ok(has_begun.then_some(())))
            };
            testkit::wait_until(BOUND, look).await?;
        }
        timeout(BOUND, pieces.send(Ok(vec![0; PIECE].into()))).await??;
    }
    drop(pieces);
    let answer = timeout(BOUND + Duration::from_secs(40), answer).await???;
    assert_eq!(answer.status(), 200);
    let seen = recorder.take();
    assert_eq!(seen.first().map(|request| request.body_bytes), Some(PIECES * PIECE));
    Ok(())
}

#[tokio::test]
async fn every_method_but_the_dangerous_ones_reaches_the_upstream() -> anyhow::Result<()> {
    let router = Router::new().route("/x", any(|| async { "ok" }));
    let plain = Plain::start(serve(router).await?, "").await?;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let request = reqwest::Client::new()
            .request(method.parse()?, format!("http://{}/x", plain.address()));
        assert_eq!(request.send().await?.status(), 200, "{method}");
    }
    Ok(())
}
