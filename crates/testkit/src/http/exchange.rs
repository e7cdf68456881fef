//! A downstream that sends bytes and reads whatever is answered.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A server that says nothing for so long waits for more.
const QUIET: Duration = Duration::from_secs(4);

/// Most bytes of answers that are kept.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// What came back on one connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// Of every final answer, in order; 0 for bytes that are no HTTP.
    pub statuses: Vec<u16>,
    /// The server ended the connection.
    pub is_closed: bool,
    /// As they came.
    pub bytes: Vec<u8>,
}

/// Opens a connection, sends the bytes, and reads until the server closes or says nothing more.
///
/// # Errors
/// When no connection can be opened.
pub async fn exchange(address: SocketAddr, bytes: &[u8]) -> std::io::Result<Answers> {
    Ok(exchange_over(TcpStream::connect(address).await?, bytes).await)
}

/// Sends the bytes on an open connection, and reads until the server closes or says nothing more.
pub async fn exchange_over<S>(stream: S, bytes: &[u8]) -> Answers
where
    S: AsyncRead + AsyncWrite,
{
    let (answer, is_closed) = talk(stream, bytes, |_| false).await;
    Answers { statuses: statuses(&answer), is_closed, bytes: answer }
}

/// As [`exchange`], for what is no HTTP/1; ends as soon as what was read is enough.
pub(super) async fn exchange_raw(
    address: SocketAddr,
    bytes: &[u8],
    is_enough: impl Fn(&[u8]) -> bool,
) -> std::io::Result<(Vec<u8>, bool)> {
    Ok(talk(TcpStream::connect(address).await?, bytes, is_enough).await)
}

/// Sends and reads at the same time; what was read, and whether the server closed.
async fn talk<S>(stream: S, bytes: &[u8], is_enough: impl Fn(&[u8]) -> bool) -> (Vec<u8>, bool)
where
    S: AsyncRead + AsyncWrite,
{
    let (mut reader, mut writer) = tokio::io::split(stream);
    let write = async {
        // a server that has refused does not read on
        let sent = writer.write_all(bytes).await;
        if sent.is_ok() { writer.flush().await } else { sent }
    };
    let read = async {
        let (mut answer, mut is_closed) = (Vec::new(), false);
        while answer.len() < ANSWER_BYTES_MAX && !is_enough(&answer) {
            match timeout(QUIET, reader.read_buf(&mut answer)).await {
                Ok(Ok(0) | Err(_)) => {
                    is_closed = true;
                    break;
                }
                Ok(Ok(_)) => {}
                Err(_) => break,
            }
        }
        (answer, is_closed)
    };
    tokio::pin!(write, read);
    let mut is_written = false;
    loop {
        tokio::select! {
            done = &mut read => return done,
            // how writing ended is seen by what is read
            _ = &mut write, if !is_written => is_written = true,
        }
    }
}

/// The statuses of the final answers in a row of them.
fn statuses(mut bytes: &[u8]) -> Vec<u16> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let Some((head, rest)) = split_head(bytes) else {
            found.push(0);
            break;
        };
        let status = status_of(head);
        if status == 101 || !(100..200).contains(&status) {
            found.push(status);
        }
        bytes = without_body(head, rest, status);
    }
    found
}

fn split_head(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    bytes.split_at_checked(end + 4).filter(|(head, _)| head.starts_with(b"HTTP/1."))
}

fn status_of(head: &[u8]) -> u16 {
    let digits = head.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

fn without_body<'b>(head: &[u8], rest: &'b [u8], status: u16) -> &'b [u8] {
    // an answer to HEAD has a length and no body
    if rest.starts_with(b"HTTP/1.") || (100..200).contains(&status) {
        return rest;
    }
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    match length {
        Some(length) => rest.get(length..).unwrap_or_default(),
        None if text.contains("transfer-encoding:") => {
            let end = rest.windows(5).position(|window| window == b"0\r\n\r\n");
            end.and_then(|end| rest.get(end + 5..)).unwrap_or_default()
        }
        None => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_in_a_row_are_told_apart() {
        let row = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\
            HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nHTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n\
            1\r\nx\r\n0\r\n\r\nHTTP/1.1 404 No\r\nConnection: close\r\n\r\nrest";
        assert_eq!(statuses(row), [200, 200, 400, 404]);
        assert_eq!(statuses(b""), Vec::<u16>::new());
        assert_eq!(statuses(b"<html>"), [0]);
    }
}
