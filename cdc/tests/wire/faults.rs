//! A stream whose server is silent, gone or out of its mind.

use std::time::Duration;

use bytes::Buf;
use cdc::wire::{Frame, StartOptions, WireError};
use pg::Lsn;
use tokio::time::timeout;

use crate::{
    fake_server::{FakeServer, Sent, wal},
    source::{BOUND, PUBLICATION},
};

fn options() -> StartOptions {
    StartOptions::new([PUBLICATION])
}

/// Received, flushed and applied position, and whether an answer is wanted.
fn status(sent: &Sent) -> (u64, u64, u64, bool) {
    let mut body = sent.body.clone();
    assert_eq!((sent.tag, body.get_u8(), body.len()), (b'd', b'r', 33));
    let positions = (body.get_u64(), body.get_u64(), body.get_u64());
    body.advance(8);
    (positions.0, positions.1, positions.2, body.get_u8() == 1)
}

#[tokio::test]
async fn a_request_for_an_answer_is_answered_at_once_with_what_is_confirmed() -> anyhow::Result<()>
{
    let options = StartOptions { status_interval: Duration::from_secs(3600), ..options() };
    let (mut server, mut stream) = FakeServer::start(options).await?;
    stream.progress().confirm(Lsn::new(150));
    server.send_wal(200, b"x").await?;
    server.send_keepalive(300, true).await?;
    let sent = timeout(Duration::from_secs(5), server.receive()).await??;
    assert_eq!(status(&sent), (300, 150, 150, false));
    assert!(
        matches!(stream.next().await?, Frame::Wal { wal_start, .. } if wal_start == Lsn::new(200))
    );
    assert_eq!(stream.next().await?, Frame::Keepalive { wal_end: Lsn::new(300) });
    Ok(())
}

#[tokio::test]
async fn requests_without_end_are_answered_with_a_pause_between() -> anyhow::Result<()> {
    let (mut server, _stream) = FakeServer::start(options()).await?;
    let started = tokio::time::Instant::now();
    for _ in 0..10 {
        server.send_keepalive(300, true).await?;
        timeout(BOUND, server.receive()).await??;
    }
    assert!(started.elapsed() >= Duration::from_millis(90), "{:?}", started.elapsed());
    Ok(())
}

#[tokio::test]
async fn a_silent_server_is_asked_for_a_sign_and_then_given_up() -> anyhow::Result<()> {
    let options = StartOptions { silence_max: Duration::from_millis(300), ..options() };
    let (mut server, mut stream) = FakeServer::start(options).await?;
    let sent = timeout(BOUND, server.receive()).await??;
    assert_eq!(status(&sent), (100, 0, 0, true));
    let error = timeout(BOUND, stream.next()).await?.expect_err("nothing came");
    assert!(matches!(error, WireError::Silent { .. }) && error.is_transient(), "{error:?}");
    let error = stream.next().await.expect_err("the stream is over");
    assert!(matches!(error, WireError::Closed), "{error:?}");
    Ok(())
}

#[tokio::test]
async fn a_server_that_answers_our_question_is_alive() -> anyhow::Result<()> {
    let options = StartOptions { silence_max: Duration::from_millis(300), ..options() };
    let (mut server, mut stream) = FakeServer::start(options).await?;
    for lsn in 300..310 {
        while !status(&timeout(BOUND, server.receive()).await??).3 {}
        server.send_keepalive(lsn, false).await?;
    }
    for lsn in 300..310 {
        assert_eq!(stream.next().await?, Frame::Keepalive { wal_end: Lsn::new(lsn) });
    }
    Ok(())
}

#[tokio::test]
async fn frames_before_a_fault_are_delivered_before_its_error() -> anyhow::Result<()> {
    let length = |bytes: u32| bytes.to_be_bytes();
    let faults: [(&str, Vec<u8>); 6] = [
        ("an unknown frame", [&b"d"[..], &length(5), b"?"].concat()),
        ("a short frame", [&b"d"[..], &length(6), b"wx"].concat()),
        ("a length below its minimum", [&b"d"[..], &length(3)].concat()),
        ("a length beyond all messages", [&b"d"[..], &length(u32::MAX / 2)].concat()),
        ("a negative length", [&b"d"[..], &length(u32::MAX)].concat()),
        ("an unknown message", [&b"!"[..], &length(4)].concat()),
    ];
    for (name, bytes) in faults {
        let (mut server, mut stream) = FakeServer::start(options()).await?;
        server.send_wal(200, b"x").await?;
        server.send_raw(&bytes).await?;
        assert!(matches!(stream.next().await?, Frame::Wal { .. }), "{name}");
        let error = timeout(BOUND, stream.next()).await?.expect_err(name);
        assert!(matches!(error, WireError::Protocol { .. } | WireError::Frame(_)), "{error:?}");
        assert!(!error.is_transient(), "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn an_error_report_in_the_stream_keeps_its_sqlstate() -> anyhow::Result<()> {
    let (mut server, mut stream) = FakeServer::start(options()).await?;
    server.send(b'N', b"SNOTICE\0C00000\0Mnever mind\0\0").await?;
    server.send(b'E', b"SERROR\0C58P01\0Mrequested WAL segment has been removed\0\0").await?;
    let error = timeout(BOUND, stream.next()).await?.expect_err("the server refused");
    assert_eq!(error.sqlstate(), Some("58P01"));
    assert!(error.is_slot_lost());
    let shown = error.to_string();
    assert_eq!(shown, "server says: requested WAL segment has been removed (SQLSTATE 58P01)");
    Ok(())
}

#[tokio::test]
async fn a_connection_cut_inside_a_message_ends_the_stream() -> anyhow::Result<()> {
    let (mut server, mut stream) = FakeServer::start(options()).await?;
    server.send_raw(&[b'd', 0, 0, 1, 0, b'w']).await?;
    drop(server);
    let error = timeout(BOUND, stream.next()).await?.expect_err("the server is gone");
    assert!(matches!(error, WireError::Closed | WireError::Io(_)), "{error:?}");
    Ok(())
}

#[tokio::test]
async fn a_message_may_come_byte_by_byte() -> anyhow::Result<()> {
    let (mut server, mut stream) = FakeServer::start(options()).await?;
    let body = wal(200, b"payload");
    let length = u32::try_from(body.len() + 4)?;
    let message = [&b"d"[..], &length.to_be_bytes(), &body].concat();
    let send = async {
        for byte in message.chunks(1) {
            server.send_raw(byte).await?;
            tokio::task::yield_now().await;
        }
        anyhow::Ok(())
    };
    let receive = async { Ok(timeout(BOUND, stream.next()).await??) };
    let ((), frame) = tokio::try_join!(send, receive)?;
    let Frame::Wal { data, .. } = frame else { panic!("no data") };
    assert_eq!(&data[..], b"payload");
    Ok(())
}

#[tokio::test]
async fn closing_ends_copy_mode_reports_and_says_goodbye() -> anyhow::Result<()> {
    let options = StartOptions { status_interval: Duration::from_secs(3600), ..options() };
    let (mut server, stream) = FakeServer::start(options).await?;
    stream.progress().confirm(Lsn::new(100));
    let serve = async {
        assert_eq!(status(&server.receive().await?), (100, 100, 100, false));
        assert_eq!(server.receive().await?.tag, b'c');
        // The rest of a transaction, then the server's own end of copy mode.
        server.send_wal(200, b"x").await?;
        server.send(b'c', b"").await?;
        server.send(b'C', b"COPY 0\0").await?;
        server.send(b'Z', b"I").await?;
        anyhow::Ok(server.receive().await?.tag)
    };
    let (closed, tag) = timeout(BOUND, async { tokio::join!(stream.close(), serve) }).await?;
    closed?;
    assert_eq!(tag?, b'X');
    Ok(())
}

#[tokio::test]
async fn closing_a_broken_stream_tells_why_it_broke() -> anyhow::Result<()> {
    let (mut server, stream) = FakeServer::start(options()).await?;
    let progress = stream.progress();
    server.send_keepalive(300, false).await?;
    let report = b"SFATAL\0C57P01\0Mterminating connection\0\0";
    server.send(b'E', report).await?;
    let bytes = u64::try_from(5 + 18 + 5 + report.len())?;
    testkit::wait_until(BOUND, async || Ok((progress.received_bytes() == bytes).then_some(())))
        .await?;
    let error = timeout(BOUND, stream.close()).await?.expect_err("it broke before");
    assert_eq!(error.sqlstate(), Some("57P01"));
    Ok(())
}
