//! Which requests are logged, and where: JSON lines, to the process's log or to a file of their own. A
//! request never waits for a disk; lines that do not fit the queue are left out and counted.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use routes::AccessLog;
use serde::Serialize;

use crate::metrics::load::LOG_LINES;

/// Lines waiting to be written.
const QUEUE_MAX: usize = 8_192;

/// Longest time a line waits in a buffer.
const FLUSH_EVERY: Duration = Duration::from_millis(200);

/// One request, as a line.
#[derive(Debug, Serialize)]
pub(crate) struct Line<'l> {
    /// Milliseconds since 1970.
    pub(crate) time_ms: u64,
    pub(crate) method: &'l str,
    pub(crate) route: &'l str,
    pub(crate) capability: &'l str,
    pub(crate) upstream: &'l str,
    pub(crate) phase: &'l str,
    pub(crate) generation: u64,
    /// 0 when the downstream left without an answer.
    pub(crate) status: u16,
    pub(crate) ms: f64,
    pub(crate) held_ms: f64,
    pub(crate) bytes: usize,
    /// Address of the client, as the trusted hops say.
    pub(crate) client: Option<IpAddr>,
    pub(crate) request_id: Option<&'l str>,
    pub(crate) trace_id: Option<&'l str>,
}

/// A file of its own for the lines.
#[derive(Debug)]
pub(crate) struct LogFile(SyncSender<Message>);

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// The file was moved away: begin a new one.
    Reopen,
}

/// The time of a line, in milliseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "for people; nothing is decided by it")]
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Whether a request is logged: failed and slow ones always, of the others the sampled share. `draw` is
/// a number from 0 to 1.
pub(crate) fn is_logged(rules: &AccessLog, status: u16, took: Duration, draw: f64) -> bool {
    status >= 500 || status == 0 || took >= rules.slow || draw < rules.sample
}

impl Line<'_> {
    /// Writes it to the process's log.
    pub(crate) fn trace(&self) {
        tracing::info!(
            target: "access",
            method = self.method,
            route = self.route,
            capability = self.capability,
            upstream = self.upstream,
            phase = self.phase,
            generation = self.generation,
            status = self.status,
            ms = self.ms,
            held_ms = self.held_ms,
            bytes = self.bytes,
            client = self.client.map(tracing::field::display),
            request_id = self.request_id,
            trace_id = self.trace_id,
        );
    }
}

impl LogFile {
    /// Opens the file and starts the thread that writes it, until this is dropped.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        let file = append(&path)?;
        let (lines, queue) = sync_channel(QUEUE_MAX);
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_all(&queue, &path, file))?;
        Ok(Self(lines))
    }

    /// Hands one line over, if there is room.
    pub(crate) fn write(&self, line: &Line<'_>) {
        let Ok(mut text) = serde_json::to_vec(line) else { return };
        text.push(b'\n');
        self.send(Message::Line(text));
    }

    /// Begins a new file under the same name.
    pub(crate) fn reopen(&self) {
        self.send(Message::Reopen);
    }

    fn send(&self, message: Message) {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.0.try_send(message)
        {
            LOG_LINES.with_label_values(&["left_out"]).inc();
        }
    }
}

fn append(path: &Path) -> io::Result<BufWriter<File>> {
    OpenOptions::new().create(true).append(true).open(path).map(BufWriter::new)
}

fn write_all(queue: &Receiver<Message>, path: &Path, mut file: BufWriter<File>) {
    let written = LOG_LINES.with_label_values(&["written"]);
    loop {
        let outcome = match queue.recv_timeout(FLUSH_EVERY) {
            Ok(Message::Line(text)) => file.write_all(&text).map(|()| written.inc()),
            Ok(Message::Reopen) => file.flush().and_then(|()| append(path)).map(|new| file = new),
            Err(RecvTimeoutError::Timeout) => file.flush(),
            Err(RecvTimeoutError::Disconnected) => break,
        };
        if let Err(error) = outcome {
            LOG_LINES.with_label_values(&["failed"]).inc();
            tracing::error!(path = %path.display(), %error, "cannot write the access log");
        }
    }
    if let Err(error) = file.flush() {
        tracing::error!(path = %path.display(), %error, "cannot write the end of the access log");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: AccessLog = AccessLog { sample: 0.1, slow: Duration::from_secs(1), file: None };

    #[test]
    fn failed_and_slow_requests_are_always_logged_and_the_others_by_their_share() {
        let quick = Duration::from_millis(999);
        let cases = [
            (200, quick, 0.05, true),
            (200, quick, 0.1, false),
            (404, quick, 0.9, false),
            (500, quick, 0.9, true),
            (0, quick, 0.9, true),
            (200, Duration::from_secs(1), 0.9, true),
        ];
        for (status, took, draw, expected) in cases {
            assert_eq!(is_logged(&RULES, status, took, draw), expected, "{status} {took:?} {draw}");
        }
    }

    fn line(status: u16) -> Line<'static> {
        Line {
            time_ms: 0,
            method: "GET",
            route: "GET /\"quoted\"",
            capability: "none",
            upstream: "monolith",
            phase: "monolith",
            generation: 1,
            status,
            ms: 1.5,
            held_ms: 0.0,
            bytes: 2,
            client: None,
            request_id: None,
            trace_id: None,
        }
    }

    fn wait_lines(path: &Path, count: usize) -> Vec<serde_json::Value> {
        let until = tokio::time::Instant::now() + Duration::from_secs(10);
        loop {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            if text.lines().count() >= count {
                let parse = |line| serde_json::from_str(line).expect("a JSON line");
                return text.lines().map(parse).collect();
            }
            assert!(tokio::time::Instant::now() < until, "{text:?} in {}", path.display());
            std::thread::yield_now();
        }
    }

    #[test]
    fn lines_go_on_in_a_new_file_after_the_old_one_was_moved_away() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, moved) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let log = LogFile::open(path.clone()).expect("a file");
        log.write(&line(200));
        assert_eq!(wait_lines(&path, 1)[0]["route"], "GET /\"quoted\"");
        std::fs::rename(&path, &moved).expect("it is there");
        log.write(&line(201));
        assert_eq!(wait_lines(&moved, 2)[1]["status"], 201);
        log.reopen();
        log.write(&line(202));
        assert_eq!(wait_lines(&path, 1)[0]["status"], 202);
        assert_eq!(wait_lines(&moved, 2).len(), 2);
    }
}
