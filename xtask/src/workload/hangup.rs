//! Clients that send a write and leave before its answer: the write must happen once or not at all.

use std::time::Duration;

use anyhow::Context;
use rand::Rng;
use reqwest::header;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::session::{Client, Session};
use crate::ledger::{Outcome, Written};

pub(super) async fn run(client: Client) {
    let counts = std::sync::Arc::clone(&client.counts);
    let mut session = match client.login_api().await {
        Ok(session) => session,
        Err(error) => return counts.failure(format!("login: {error:?}")),
    };
    let mut next = Instant::now();
    while session.pace(&mut next).await {
        // an attempt that fails is one that hung up a little earlier
        if let Err(error) = send_and_leave(&mut session).await
            && !session.client.tolerant
        {
            session.fail(format!("hang-up client could not send: {error:?}"));
        }
    }
}

async fn send_and_leave(session: &mut Session) -> anyhow::Result<()> {
    let marker = session.marker();
    let ticket = session.old_ticket();
    let body = json!({ "subject": marker, "body": "gone before the answer" }).to_string();
    let host = session.client.load.url.strip_prefix("http://").context("the proxy speaks http")?;
    let (name, value) = &session.credentials;
    let authorization = if *name == header::AUTHORIZATION { value.as_str() } else { "" };
    let request = format!(
        "POST /api/v1/tickets/{ticket}/articles HTTP/1.1\r\nhost: {host}\r\nauthorization: {authorization}\r\n\
         content-type: application/json\r\naccept: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let sent = Instant::now();
    let mut stream = TcpStream::connect(host).await?;
    session.record(Written::Article(marker), Outcome::Unknown, sent);
    session.client.counts.request();
    stream.write_all(request.as_bytes()).await?;
    let stay = session.random.random_range(0..6);
    tokio::time::sleep(Duration::from_millis(stay)).await;
    Ok(())
}
