//! An HTTP/1.1 upstream that writes down every request that reaches it, as bytes. It reads strictly: what
//! it cannot read exactly is written down as malformed and never answered.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const HEAD_BYTES_MAX: usize = 256 * 1024;

/// Length of the answer to `GET /large`.
const LARGE_BYTES: usize = 64 << 20;

/// What reached the upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Request line, field lines, empty line.
    pub head: Vec<u8>,
    /// Of the body so far, without what frames it.
    pub body_bytes: usize,
    /// The body has ended, as the head says.
    pub is_complete: bool,
    /// Head or body break the grammar.
    pub is_malformed: bool,
}

/// A running upstream; ends when it is dropped.
#[derive(Debug)]
pub struct Recorder {
    address: SocketAddr,
    seen: Seen,
    task: JoinHandle<()>,
}

type Seen = Arc<Mutex<Vec<Arc<Mutex<Recorded>>>>>;

/// How a body ends.
enum Body {
    Length(usize),
    Chunked,
}

impl Recorded {
    /// The request line.
    #[must_use]
    pub fn line(&self) -> String {
        let end = self.head.iter().position(|byte| *byte == b'\n').unwrap_or(self.head.len());
        String::from_utf8_lossy(self.head.get(..end).unwrap_or_default()).trim_end().to_owned()
    }

    /// The value of a field, by its name in lower case.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<String> {
        let head = String::from_utf8_lossy(&self.head).into_owned();
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }
}

impl Recorder {
    /// Listens on a port of the loopback interface.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let seen = Seen::default();
        let shared = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let seen = Arc::clone(&shared);
                tokio::spawn(async move {
                    // a connection that ends early is seen by what was written down
                    let _ended = serve(stream, &seen).await.is_err();
                });
            }
        });
        Ok(Self { address, seen, task })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything since the last time, in order of arrival.
    #[must_use]
    pub fn take(&self) -> Vec<Recorded> {
        let taken = std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        taken.iter().map(|entry| locked(entry).clone()).collect()
    }
}

impl Recorder {
    /// Whether a request since the last time is such a one; nothing is taken.
    pub fn peek(&self, mut condition: impl FnMut(&Recorded) -> bool) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().any(|entry| condition(&locked(entry)))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn locked(entry: &Mutex<Recorded>) -> std::sync::MutexGuard<'_, Recorded> {
    entry.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(stream: TcpStream, seen: &Seen) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(head) = read_head(&mut stream).await? {
        let body = body_of(&head);
        let entry = Arc::new(Mutex::new(Recorded {
            is_malformed: body.is_none(),
            head: head.clone(),
            ..Recorded::default()
        }));
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&entry));
        let Some(body) = body else { return Ok(()) };
        if String::from_utf8_lossy(&head).to_ascii_lowercase().contains("100-continue") {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let read = match body {
            Body::Length(length) => read_data(&mut stream, length, &entry).await,
            Body::Chunked => read_chunks(&mut stream, &entry).await,
        };
        if let Err(error) = read {
            locked(&entry).is_malformed = error.kind() == io::ErrorKind::InvalidData;
            return Err(error);
        }
        locked(&entry).is_complete = true;
        if head.starts_with(b"GET /large ") {
            answer_large(&mut stream).await?;
            continue;
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n").await?;
        if !head.starts_with(b"HEAD ") {
            stream.write_all(b"ok").await?;
        }
    }
    Ok(())
}

async fn answer_large(stream: &mut BufReader<TcpStream>) -> io::Result<()> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE_BYTES}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let piece = vec![0; 64 * 1024];
    for _ in 0..LARGE_BYTES / piece.len() {
        stream.write_all(&piece).await?;
    }
    Ok(())
}

async fn read_head(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_BYTES_MAX {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            // what came of a head that has no end is written down as one
            Err(_) if head.is_empty() => return Ok(None),
            Err(_) => break,
        }
    }
    Ok(Some(head))
}

/// How the body ends; nothing when the head is malformed.
fn body_of(head: &[u8]) -> Option<Body> {
    let text = std::str::from_utf8(head)
        .map_or_else(|_| head.iter().map(|byte| char::from(*byte)).collect(), str::to_owned);
    let mut lines = text.strip_suffix("\r\n\r\n")?.split("\r\n");
    let line: Vec<&str> = lines.next()?.split(' ').collect();
    let is_line = matches!(line.as_slice(), [method, _, "HTTP/1.1" | "HTTP/1.0"]
        if method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-'));
    let (mut length, mut is_chunked, mut hosts) = (None, false, 0);
    for field in lines {
        let (name, value) = field.split_once(':')?;
        if name.is_empty()
            || name.contains(char::is_whitespace)
            || field.contains(['\r', '\n', '\0'])
        {
            return None;
        }
        match name.to_ascii_lowercase().as_str() {
            "host" => hosts += 1,
            "content-length" if length.is_some() => return None,
            "content-length" => length = Some(value.trim().parse::<usize>().ok()?),
            "transfer-encoding" if is_chunked || !value.trim().eq_ignore_ascii_case("chunked") => {
                return None;
            }
            "transfer-encoding" => is_chunked = true,
            _ => {}
        }
    }
    match (is_line && hosts <= 1, is_chunked, length) {
        (false, ..) | (true, true, Some(_)) => None,
        (true, true, None) => Some(Body::Chunked),
        (true, false, length) => Some(Body::Length(length.unwrap_or(0))),
    }
}

async fn read_data(
    stream: &mut BufReader<TcpStream>,
    mut left: usize,
    entry: &Mutex<Recorded>,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    while left > 0 {
        let wanted = left.min(buffer.len());
        let got = stream.read(buffer.get_mut(..wanted).unwrap_or_default()).await?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        left -= got;
        locked(entry).body_bytes += got;
    }
    Ok(())
}

async fn read_chunks(stream: &mut BufReader<TcpStream>, entry: &Mutex<Recorded>) -> io::Result<()> {
    loop {
        let line = read_line(stream).await?;
        let digits = line.split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(digits, 16).map_err(|_| malformed())?;
        if size == 0 {
            break;
        }
        read_data(stream, size, entry).await?;
        if !read_line(stream).await?.is_empty() {
            return Err(malformed());
        }
    }
    while !read_line(stream).await?.is_empty() {}
    Ok(())
}

/// A line without its CRLF.
async fn read_line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = Vec::new();
    while line.len() < HEAD_BYTES_MAX {
        match stream.read_u8().await? {
            b'\n' if line.last() == Some(&b'\r') => {
                line.pop();
                return String::from_utf8(line).map_err(|_| malformed());
            }
            b'\n' => return Err(malformed()),
            byte => line.push(byte),
        }
    }
    Err(malformed())
}

fn malformed() -> io::Error {
    io::ErrorKind::InvalidData.into()
}
