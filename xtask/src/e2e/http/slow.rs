//! Downstreams that are slow, many, or send much: each is bounded, and the memory of the proxy too.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use testkit::http::{Recorder, exchange};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::report::{Line, Report};
use super::servers::{Servers, resident_mb};

/// The limits of the proxy are 2 and 3 s; this is far beyond, and machines are busy.
const BOUND: Duration = Duration::from_secs(20);

/// The least rate of a body holds after 10 s.
const RATE_BOUND: Duration = Duration::from_secs(40);

const UPLOAD_BYTES: usize = 200 << 20;
const UPLOAD_GROWTH_MB_MAX: f64 = 32.0;

/// More than the limit of connections of one address.
const CROWD: usize = 260;
const CROWD_MAX: usize = 200;

const GROUP: &str = "slow";

pub(super) async fn run(servers: &mut Servers, report: &mut Report) -> anyhow::Result<()> {
    let (entry, recorder) = (servers.direct(), &servers.recorder);
    let pid = servers.ficus.pid();
    for (name, rule, bytes, every) in DRIPS {
        if report.wants(GROUP, name) {
            let outcome = drip(entry, recorder, bytes, every).await;
            add(report, name, rule, outcome);
        }
    }
    let cases: [(&str, &str); 5] = [
        ("a downstream that does not read", "bounded time of a write"),
        ("200 MB are uploaded", "bounded memory"),
        ("a body longer than allowed", "RFC 9110 15.5.14"),
        ("chunks longer than allowed", "RFC 9110 15.5.14"),
        ("more connections than one address may have", "bounded connections"),
    ];
    for (index, (name, rule)) in cases.into_iter().enumerate() {
        if !report.wants(GROUP, name) {
            continue;
        }
        let outcome = match index {
            0 => does_not_read(entry).await,
            1 => upload(entry, recorder, pid).await,
            2 => too_long(entry, recorder).await,
            3 => too_long_chunks(entry, recorder).await,
            _ => crowd(entry).await,
        };
        add(report, name, rule, outcome);
        drop(recorder.take());
    }
    Ok(())
}

fn add(report: &mut Report, name: &str, rule: &str, outcome: anyhow::Result<String>) {
    let (seen, faults) = match outcome {
        Ok(seen) => (seen, Vec::new()),
        Err(error) => (String::new(), vec![format!("{error:#}")]),
    };
    report.add(Line { group: GROUP, name, rule, seen, faults });
}

/// What is sent at once, and then one byte again and again; nothing more with a pause of zero.
const DRIPS: [(&str, &str, &[u8], Duration); 6] = [
    ("nothing is ever sent", "bounded idle time", b"", Duration::ZERO),
    ("a head of one byte each 300 ms", "slowloris", b"", Duration::from_millis(300)),
    (
        "fields without end, one byte each 300 ms",
        "slowloris",
        b"GET / HTTP/1.1\r\nHost: a\r\nX-A: ",
        Duration::from_millis(300),
    ),
    (
        "a body that stops",
        "slow POST",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nhello",
        Duration::ZERO,
    ),
    (
        "a body of one byte each 300 ms",
        "slow POST",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n",
        Duration::from_millis(300),
    ),
    (
        "the preface of HTTP/2 and nothing more",
        "bounded idle time",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        Duration::ZERO,
    ),
];

/// The proxy must end the connection by itself, and the upstream must see no complete request.
async fn drip(
    entry: SocketAddr,
    recorder: &Recorder,
    bytes: &[u8],
    every: Duration,
) -> anyhow::Result<String> {
    let begin = Instant::now();
    let mut stream = TcpStream::connect(entry).await?;
    stream.write_all(bytes).await?;
    let (mut reader, mut writer) = stream.split();
    let mut answer = Vec::new();
    let read = reader.read_to_end(&mut answer);
    let bytes = async {
        if every.is_zero() {
            return std::future::pending::<()>().await;
        }
        let mut tick = interval(every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if writer.write_all(b"x").await.is_err() {
                // the end is seen by the reader
                std::future::pending::<()>().await;
            }
        }
    };
    let ended = timeout(RATE_BOUND, async {
        tokio::select! {
            // a reset is an end too
            _ = read => {}
            () = bytes => {}
        }
    });
    ended.await.context("the connection was never ended")?;
    let complete = recorder.take().into_iter().filter(|request| request.is_complete).count();
    ensure!(complete == 0, "{complete} complete requests reached the upstream");
    Ok(format!("{} after {:.1} s", status(&answer), begin.elapsed().as_secs_f64()))
}

fn status(answer: &[u8]) -> String {
    let line = String::from_utf8_lossy(answer).lines().next().unwrap_or_default().to_owned();
    match line.split(' ').nth(1) {
        Some(status) => status.to_owned(),
        None => "closed".to_owned(),
    }
}

async fn does_not_read(entry: SocketAddr) -> anyhow::Result<String> {
    let begin = Instant::now();
    let mut stream = TcpStream::connect(entry).await?;
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    // The end shows only to who reads, and reading would let the answer go on: writing fails, though.
    let ended = timeout(BOUND, async {
        let mut tick = interval(Duration::from_millis(200));
        loop {
            tick.tick().await;
            if stream.write_all(b"\r\n").await.is_err() {
                return begin.elapsed();
            }
        }
    });
    let after = ended.await.context("the answer was never given up")?;
    Ok(format!("closed after {:.1} s", after.as_secs_f64()))
}

async fn upload(entry: SocketAddr, recorder: &Recorder, pid: i32) -> anyhow::Result<String> {
    let before = resident_mb(pid)?;
    let mut stream = TcpStream::connect(entry).await?;
    let head =
        format!("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: {UPLOAD_BYTES}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let piece = vec![7; 1 << 20];
    let mut most = before;
    for _ in 0..UPLOAD_BYTES / piece.len() {
        timeout(BOUND, stream.write_all(&piece)).await.context("the upload stands still")??;
        most = most.max(resident_mb(pid)?);
    }
    let mut answer = vec![0; 12];
    timeout(BOUND, stream.read_exact(&mut answer)).await.context("no answer")??;
    ensure!(answer == b"HTTP/1.1 200", "{}", String::from_utf8_lossy(&answer));
    let arrived = recorder.take().first().map_or(0, |request| request.body_bytes);
    ensure!(arrived == UPLOAD_BYTES, "{arrived} bytes arrived");
    let grown = most - before;
    ensure!(grown <= UPLOAD_GROWTH_MB_MAX, "the proxy grew by {grown:.0} MB");
    Ok(format!("the proxy grew by {grown:.1} MB"))
}

async fn too_long(entry: SocketAddr, recorder: &Recorder) -> anyhow::Result<String> {
    let length = 400_u64 << 20;
    let head = format!("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    let answers = exchange(entry, head.as_bytes()).await?;
    ensure!(answers.statuses == [413], "{:?}", answers.statuses);
    ensure!(recorder.take().is_empty(), "it reached the upstream");
    Ok("413".to_owned())
}

async fn too_long_chunks(entry: SocketAddr, recorder: &Recorder) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(entry).await?;
    let head = b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head).await?;
    let chunk = [&b"100000\r\n"[..], &vec![7; 1 << 20], b"\r\n"].concat();
    let mut sent = 0;
    while sent < 400 && timeout(BOUND, stream.write_all(&chunk)).await?.is_ok() {
        sent += 1;
    }
    ensure!(sent < 400, "400 MiB were taken");
    let complete = recorder.take().into_iter().any(|request| request.is_complete);
    ensure!(!complete, "it is complete at the upstream");
    Ok(format!("ended after {sent} MiB"))
}

/// Opens more connections than one address may have; when they are gone, there is room again.
async fn crowd(entry: SocketAddr) -> anyhow::Result<String> {
    for round in 0..2 {
        let mut open = Vec::new();
        for _ in 0..CROWD {
            open.push(TcpStream::connect(entry).await?);
        }
        let mut served = 0;
        for stream in &mut open {
            // one that was turned away is closed or reset
            let sent = stream.write_all(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await;
            let mut answer = [0; 12];
            let read = timeout(BOUND, stream.read_exact(&mut answer)).await;
            let is_read = read.context("a connection was neither served nor closed")?.is_ok();
            served += usize::from(sent.is_ok() && is_read && answer == *b"HTTP/1.1 200");
        }
        ensure!(served <= CROWD_MAX, "{served} of {CROWD} were served in round {round}");
        ensure!(served >= CROWD_MAX / 2, "only {served} of {CROWD} were served in round {round}");
        drop(open);
        let is_room = || async {
            let answers =
                exchange(entry, b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            Ok(answers.await.is_ok_and(|answers| answers.statuses == [200]).then_some(()))
        };
        testkit::wait_until(BOUND, is_room).await.context("there is no room again")?;
    }
    Ok(format!("at most {CROWD_MAX} of {CROWD}"))
}
