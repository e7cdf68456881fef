//! A closed loop of requests over connections that are kept: by wrk, or by this program when wrk is not
//! there; requests side by side on one connection by h2load. An answer that is not a success makes the run
//! invalid.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::machine;
use super::peers::Pinning;
use super::quantile;

/// What was sent, and how it went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Run {
    pub(super) requests: f64,
    pub(super) rps: f64,
    pub(super) p50_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
}

/// Who sends.
#[derive(Clone, Debug)]
pub(super) struct Generator {
    pub(super) wrk: Option<PathBuf>,
    pub(super) h2load: Option<PathBuf>,
    pub(super) pinning: Pinning,
}

/// What is sent, by a closed loop.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) url: String,
    /// A script for wrk that makes the requests.
    pub(super) script: Option<PathBuf>,
    /// A new connection for every request.
    pub(super) reconnects: bool,
}

/// Requests on one connection at the same time.
const MULTIPLEXED: &str = "-m32";

impl Generator {
    pub(super) fn version(&self) -> String {
        self.wrk
            .as_deref()
            .map_or_else(|| "this program".to_owned(), |wrk| machine::version(wrk, "-v"))
    }

    /// Sends requests over so many connections for so long.
    pub(super) async fn run(
        &self,
        asked: &Asked,
        connections: usize,
        seconds: u64,
    ) -> anyhow::Result<Run> {
        let Some(wrk) = &self.wrk else {
            anyhow::ensure!(asked.script.is_none() && !asked.reconnects, "this needs wrk");
            return own(&asked.url, connections, Duration::from_secs(seconds)).await;
        };
        let mut arguments: Vec<OsString> =
            vec!["-t1".into(), "--latency".into(), format!("-c{connections}").into()];
        arguments.push(format!("-d{seconds}s").into());
        if let Some(script) = &asked.script {
            arguments.extend(["-s".into(), script.into()]);
        }
        if asked.reconnects {
            arguments.extend(["-H".into(), "Connection: close".into()]);
        }
        let text = self.output(wrk, arguments, &asked.url).await?;
        parse_wrk(&text).with_context(|| format!("wrk said\n{text}"))
    }

    /// The same with many requests at a time on each connection, over HTTP/2.
    pub(super) async fn run_multiplexed(
        &self,
        url: &str,
        connections: usize,
        seconds: u64,
    ) -> anyhow::Result<Run> {
        let h2load = self.h2load.as_deref().context("this needs h2load")?;
        let arguments = vec![
            "-t1".into(),
            MULTIPLEXED.into(),
            format!("-c{connections}").into(),
            format!("-D{seconds}").into(),
        ];
        let text = self.output(h2load, arguments, url).await?;
        parse_h2load(&text).with_context(|| format!("h2load said\n{text}"))
    }

    async fn output(
        &self,
        program: &Path,
        arguments: Vec<OsString>,
        url: &str,
    ) -> anyhow::Result<String> {
        let (program, first) = self.pinning.beside(program);
        let output = Command::new(&program)
            .args(first)
            .args(arguments)
            .arg(url)
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| format!("run {}", program.display()))?;
        Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }
}

/// It tells no quantiles: those are absent.
fn parse_h2load(text: &str) -> anyhow::Result<Run> {
    let line = |start: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(start));
        line.with_context(|| format!("there is no line {start}"))
    };
    let mut counts = line("requests:")?.split(", ");
    let mut count = |what: &str| {
        let found = counts.find_map(|count| count.trim().strip_suffix(what)?.trim().parse().ok());
        found.with_context(|| format!("nothing is {what}"))
    };
    let (requests, failed): (f64, f64) = (count("succeeded")?, count("failed")?);
    anyhow::ensure!(failed == 0.0 && requests > 0.0, "the run does not count: {failed} failed");
    let rps = line("finished in")?.split(", ").nth(1).and_then(|rps| rps.strip_suffix(" req/s"));
    let rps = rps.and_then(|rps| rps.trim().parse().ok()).context("there is no rate")?;
    Ok(Run { requests, rps, p50_ms: None, p99_ms: None })
}

fn parse_wrk(text: &str) -> anyhow::Result<Run> {
    for trouble in ["Socket errors:", "Non-2xx or 3xx responses:"] {
        if let Some(line) = text.lines().find(|line| line.trim().starts_with(trouble)) {
            bail!("the run does not count: {}", line.trim());
        }
    }
    let after = |label: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(label));
        line.map(str::trim).with_context(|| format!("there is no line {label}"))
    };
    let requests = text
        .lines()
        .find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok())
        .context("there is no number of requests")?;
    let rps = after("Requests/sec:")?.parse()?;
    let quantile = |label| ms(after(label)?).map(Some);
    Ok(Run { requests, rps, p50_ms: quantile("50%")?, p99_ms: quantile("99%")? })
}

/// `635.91us`, `5.80ms`, `1.20s`
fn ms(text: &str) -> anyhow::Result<f64> {
    let parsed = [("us", 0.001), ("ms", 1.0), ("s", 1_000.0)].into_iter().find_map(|(unit, ms)| {
        text.strip_suffix(unit)?.parse::<f64>().ok().map(|number| number * ms)
    });
    parsed.with_context(|| format!("not a time: {text:?}"))
}

async fn own(url: &str, connections: usize, duration: Duration) -> anyhow::Result<Run> {
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        clients.spawn(client(url.to_owned(), begun + duration));
    }
    let mut times = Vec::new();
    while let Some(ended) = clients.join_next().await {
        times.extend(ended.context("a client panicked")??);
    }
    let requests = times.len() as f64;
    let rps = requests / begun.elapsed().as_secs_f64();
    let of = |q| quantile(times.iter().copied(), q);
    Ok(Run { requests, rps, p50_ms: Some(of(0.5)), p99_ms: Some(of(0.99)) })
}

/// One request after the other on one connection; answers how long each took, in ms.
async fn client(url: String, until: Instant) -> anyhow::Result<Vec<f64>> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let mut times = Vec::new();
    while Instant::now() < until {
        let begun = Instant::now();
        let answer = client.get(&url).send().await?.error_for_status()?;
        answer.bytes().await?;
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(times)
}

/// Answers every request with `body`, for as long as the runtime lives.
pub(crate) async fn serve(listener: TcpListener, body: &'static str) {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length";
    let answer = format!("{head}: {}\r\n\r\n{body}", body.len());
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answer_all(stream, answer.clone()));
    }
}

/// Requests without bodies, each ended by an empty line.
async fn answer_all(mut stream: TcpStream, answer: String) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut pending = Vec::with_capacity(4096);
    while stream.read_buf(&mut pending).await? > 0 {
        while let Some(end) = pending.windows(4).position(|four| four == b"\r\n\r\n") {
            drop(pending.drain(..end + 4));
            stream.write_all(answer.as_bytes()).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "\
Running 10s test @ http://127.0.0.1:8080/
  Latency Distribution
     50%  635.91us
     99%    5.80ms
  224646 requests in 10.00s, 17.76GB read
Requests/sec:  22464.65
";

    #[test]
    fn a_report_of_wrk_is_read() {
        let run = parse_wrk(REPORT).expect("a whole report");
        assert_eq!((run.requests, run.rps), (224_646.0, 22_464.65));
        assert_eq!((run.p50_ms, run.p99_ms), (Some(0.635_91), Some(5.8)));
    }

    #[test]
    fn a_run_with_failed_requests_does_not_count() {
        assert!(parse_wrk(&format!("{REPORT}  Non-2xx or 3xx responses: 3\n")).is_err());
        assert!(parse_wrk(&format!("{REPORT}  Socket errors: connect 0, read 1\n")).is_err());
    }

    #[test]
    fn a_report_of_h2load_is_read_and_one_with_failures_does_not_count() {
        let report = |failed: u32| {
            format!(
                "finished in 3.01s, 20483.33 req/s, 5.20MB/s\n\
                 requests: 61450 total, 61706 started, 61450 done, 61450 succeeded, {failed} failed, \
                 0 errored, 0 timeout\n"
            )
        };
        let run = parse_h2load(&report(0)).expect("a whole report");
        assert_eq!((run.requests, run.rps, run.p99_ms), (61_450.0, 20_483.33, None));
        assert!(parse_h2load(&report(2)).is_err());
    }

    #[tokio::test]
    async fn the_own_generator_and_the_own_upstream_understand_each_other() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(serve(listener, "{}"));
        let url = format!("http://{address}/");
        let run = own(&url, 3, Duration::from_millis(50)).await.expect("answers");
        assert!(run.requests >= 3.0 && run.p99_ms >= run.p50_ms, "{run:?}");
    }
}
