//! One HTTP/1 connection: reads and judges every head before the library does, and answers what it
//! refuses itself.

use std::{io, net::IpAddr, sync::Arc};

use http_rules::head::{self, Head, HeadFault};
use pingora::protocols::http::ServerSession;
use routes::Limits;
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, timeout, timeout_at},
};

use super::{Connection, inbound, inbound::Inbound, line::Line};
use crate::{answer::Problem, metrics::REFUSED};

/// What every HTTP/2 connection without TLS begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// After a refusal: how much and how long is read of what the downstream still sends, so that it gets
/// to read the answer before its connection is reset.
const LINGER_BYTES_MAX: usize = 256 * 1024;
const LINGER_MAX: std::time::Duration = std::time::Duration::from_secs(1);

/// What came on a connection.
pub(super) enum Arrival {
    /// A request whose head is so long.
    Request(usize, Head),
    /// HTTP/2 without TLS.
    Http2,
    /// Nothing; the downstream left or was silent for too long.
    Nothing,
    /// A head that is not let pass.
    Refused(Problem),
}

/// Waits for the next head: for its first byte as long as a connection may be idle, and then for all
/// of it as long as a head may take.
pub(super) async fn arrival(
    inbound: &mut Inbound,
    connection: &Connection,
    is_first: bool,
) -> Arrival {
    let limits = &connection.limits;
    if inbound.kept.is_empty() {
        let idle = if is_first { limits.head } else { limits.idle };
        let mut stopping = connection.shutdown.clone();
        let came = tokio::select! {
            biased;
            came = timeout(idle, inbound.read_more()) => came,
            _ = stopping.wait_for(|is_stopping| *is_stopping) => return Arrival::Nothing,
        };
        match came {
            Ok(Ok(bytes)) if bytes > 0 => {}
            Ok(Ok(_) | Err(_)) | Err(_) => return Arrival::Nothing,
        }
    }
    match timeout_at(Instant::now() + limits.head, read_head(inbound, is_first)).await {
        Ok(Ok(arrival)) => arrival,
        Ok(Err(_)) => Arrival::Nothing,
        Err(_) => Arrival::Refused(Problem::new(
            408,
            "slow-request",
            "the head of the request took too long",
        )),
    }
}

async fn read_head(inbound: &mut Inbound, is_first: bool) -> io::Result<Arrival> {
    inbound::skip_empty_line(&mut inbound.kept);
    let mut searched = 0;
    loop {
        let kept = &inbound.kept;
        let may_be_http2 = is_first && !inbound.is_tls();
        if may_be_http2
            && !kept.is_empty()
            && PREFACE.starts_with(kept.get(..PREFACE.len()).unwrap_or(kept))
        {
            if kept.len() >= PREFACE.len() {
                return Ok(Arrival::Http2);
            }
        } else {
            match head::find_end(kept, searched) {
                Ok(Some(end)) => return Ok(judge(kept, end)),
                Ok(None) => searched = kept.len(),
                Err(fault) => return Ok(refused(fault)),
            }
        }
        if inbound.read_more().await? == 0 {
            return Ok(Arrival::Nothing);
        }
    }
}

fn judge(kept: &[u8], end: usize) -> Arrival {
    match head::read(kept.get(..end).unwrap_or_default()) {
        Ok(head) => Arrival::Request(end, head),
        Err(fault) => refused(fault),
    }
}

fn refused(fault: HeadFault) -> Arrival {
    Arrival::Refused(Problem::new(fault.status(), "malformed-request", fault.to_string()))
}

/// Serves a connection until it ends. The first head was read before.
pub(super) async fn serve(
    mut inbound: Inbound,
    connection: Arc<Connection>,
    mut first: Option<Arrival>,
) {
    let limits = connection.limits;
    let mut left = limits.requests_per_connection;
    loop {
        let arrival = match first.take() {
            Some(arrival) => arrival,
            None => arrival(&mut inbound, &connection, false).await,
        };
        match arrival {
            Arrival::Request(bytes, head) => {
                left -= 1;
                let is_last = left == 0 || *connection.shutdown.borrow();
                let line = Arc::new(Line::of(connection.client.clone(), is_last));
                inbound.begin(bytes, head, Arc::clone(&line), limits.body_rate);
                let session = session(inbound, &limits, is_last);
                let served = connection.serve(session, line);
                let Some(reused) = served.await else { return };
                let (stream, _) = reused.consume();
                let Ok(same) = stream.into_any().downcast::<Inbound>() else { return };
                inbound = *same;
                if is_last || !inbound.end() {
                    return;
                }
            }
            Arrival::Refused(problem) => return refuse(inbound, connection.peer, &problem).await,
            Arrival::Http2 | Arrival::Nothing => return,
        }
    }
}

fn session(inbound: Inbound, limits: &Limits, is_last: bool) -> ServerSession {
    let mut session = ServerSession::new_http1(Box::new(inbound));
    session.set_keepalive((!is_last).then(|| limits.idle.as_secs().max(1)));
    session.set_read_timeout(Some(limits.body_idle));
    session.set_write_timeout(Some(limits.write));
    session
}

/// Answers, and closes the connection: nobody can say where the next request would begin.
async fn refuse(mut inbound: Inbound, peer: Option<IpAddr>, problem: &Problem) {
    REFUSED.with_label_values(&[problem.kind]).inc();
    let is_head = inbound.kept.starts_with(b"HEAD ");
    let answer = problem.raw(is_head);
    tracing::info!(
        target: "access",
        peer = peer.map(tracing::field::display),
        status = problem.status,
        detail = problem.detail,
        "refused before routing"
    );
    let told = async {
        inbound.wire.write_all(&answer).await?;
        inbound.wire.shutdown().await?;
        let mut drained = 0;
        while drained < LINGER_BYTES_MAX {
            inbound.kept.clear();
            match inbound.read_more().await? {
                0 => break,
                bytes => drained += bytes,
            }
        }
        io::Result::Ok(())
    };
    if let Ok(Err(error)) = timeout(LINGER_MAX, told).await {
        tracing::debug!(%error, "the downstream left before it could be told");
    }
}
