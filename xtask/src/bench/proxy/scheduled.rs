//! Requests on a schedule that waits for nobody: each is due at its time, and late from then on, whether
//! it could be sent or not. One thread for each connection; it sleeps until its next request is due.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::Instant;

use crate::bench::quantile;

/// Connections: enough that one answer that is late holds up few other requests.
const CONNECTIONS: u32 = 64;

/// The longest an answer may take before the run does not count.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// How long answers took from the time at which they were due, in ms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Latency {
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

/// Asks for `path` at so many requests a second in all.
///
/// # Errors
/// When one request fails.
pub(super) fn run(
    address: SocketAddr,
    path: &str,
    per_second: f64,
    duration: Duration,
) -> anyhow::Result<Latency> {
    let every = Duration::from_secs_f64(f64::from(CONNECTIONS) / per_second);
    let begin = Instant::now() + Duration::from_millis(50);
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let times = thread::scope(|scope| {
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                let first = begin + every.mul_f64(f64::from(number) / f64::from(CONNECTIONS));
                let request = request.as_bytes();
                scope.spawn(move || client(address, request, (first, every, begin + duration)))
            })
            .collect();
        let times = clients.into_iter().map(|client| match client.join() {
            Ok(times) => times,
            Err(_) => bail!("a client panicked"),
        });
        times.collect::<anyhow::Result<Vec<_>>>()
    })?;
    let of = |q| quantile(times.iter().flatten().copied(), q);
    Ok(Latency { p50_ms: of(0.5), p99_ms: of(0.99) })
}

fn client(
    address: SocketAddr,
    request: &[u8],
    (first, every, end): (Instant, Duration, Instant),
) -> anyhow::Result<Vec<f64>> {
    let stream = TcpStream::connect(address).context("connect")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    let mut answers = BufReader::new(stream);
    let (mut times, mut due) = (Vec::new(), first);
    while due < end {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        answers.get_mut().write_all(request)?;
        take_answer(&mut answers)?;
        times.push(due.elapsed().as_secs_f64() * 1000.0);
        due += every;
    }
    Ok(times)
}

/// Reads one answer with a `Content-Length`, which must be a success.
fn take_answer(answers: &mut impl BufRead) -> anyhow::Result<()> {
    let (mut line, mut length, mut is_first) = (String::new(), 0, true);
    loop {
        line.clear();
        anyhow::ensure!(answers.read_line(&mut line)? > 0, "the connection was closed");
        if is_first && !line.starts_with("HTTP/1.1 200") {
            bail!("answered {}", line.trim());
        }
        is_first = false;
        if line == "\r\n" {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().context("the length of an answer")?;
        }
    }
    let copied = std::io::copy(&mut answers.take(length), &mut std::io::sink())?;
    anyhow::ensure!(copied == length, "an answer was cut off");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_to_its_end_and_a_failure_is_an_error() {
        let mut two: &[u8] =
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 502 Bad\r\n\r\n";
        take_answer(&mut two).expect("a success");
        assert!(take_answer(&mut two).is_err());
    }
}
