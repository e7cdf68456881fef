//! API clients and browsers: four reads for each write, reading back what they wrote.

use rand::Rng;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::session::{Answer, Client, Session};
use crate::ledger::{Outcome, Written};

/// One write in so many requests.
const WRITE_EVERY: u32 = 5;

/// Tickets a client keeps working on.
const OWN_MAX: usize = 20;

pub(super) async fn run_api(client: Client) {
    let counts = std::sync::Arc::clone(&client.counts);
    match client.login_api().await {
        Ok(session) => drive(session, false).await,
        Err(error) => counts.failure(format!("login: {error:?}")),
    }
}

pub(super) async fn run_browser(client: Client) {
    let counts = std::sync::Arc::clone(&client.counts);
    match client.login_browser().await {
        Ok(session) => drive(session, true).await,
        Err(error) => counts.failure(format!("login page: {error:?}")),
    }
}

async fn drive(mut session: Session, browser: bool) {
    let mut next = Instant::now();
    while session.pace(&mut next).await {
        let write = session.random.random_ratio(1, WRITE_EVERY);
        match (browser, write) {
            (false, true) => write_api(&mut session).await,
            (false, false) => read_api(&mut session).await,
            (true, true) => note_page(&mut session).await,
            (true, false) => read_page(&mut session).await,
        }
    }
}

async fn read_api(session: &mut Session) {
    let path = match session.random.random_range(0..10) {
        0 => "/api/v1/tickets?per_page=20&sort=created&order=desc".to_owned(),
        1 => format!("/api/v1/tickets?page={}", session.random.random_range(1..50)),
        2 => "/api/v1/queues".to_owned(),
        3 => "/api/v1/states".to_owned(),
        4 | 5 => format!("/api/v1/tickets/{}/articles", session.old_ticket()),
        6 if !session.own.is_empty() => return read_own(session).await,
        _ => format!("/api/v1/tickets/{}", session.old_ticket()),
    };
    let answer = session.send(Method::GET, &path, None).await;
    session.judge_read(&format!("GET {path}"), &answer);
}

/// A client never sees an older state than the one its own last write made.
async fn read_own(session: &mut Session) {
    let index = session.random.random_range(0..session.own.len());
    let Some((id, title)) = session.own.get(index).cloned() else { return };
    let path = format!("/api/v1/tickets/{id}");
    let answer = session.send(Method::GET, &path, None).await;
    if !session.judge_read(&format!("GET own {path}"), &answer) {
        return;
    }
    let found = answer.ok().and_then(|answer| text(&answer, "/data/title"));
    if found.as_deref() != Some(title.as_str()) {
        session.fail(format!("GET own {path}: title {found:?}, wrote {title:?}"));
    }
}

async fn write_api(session: &mut Session) {
    match session.random.random_range(0..10) {
        _ if session.own.is_empty() => create(session).await,
        0..=2 => create(session).await,
        3..=6 => add_article(session).await,
        7 | 8 => retitle(session).await,
        _ => close_and_reopen(session).await,
    }
    if !session.own.is_empty() && session.random.random_ratio(1, 2) {
        read_own(session).await;
    }
}

async fn create(session: &mut Session) {
    let marker = session.marker();
    let body = json!({ "title": marker, "queue_id": 1, "body": words(session) });
    let sent = Instant::now();
    let answer = session.send(Method::POST, "/api/v1/tickets", Some(&body)).await;
    let outcome = session.judge_write("POST /api/v1/tickets", &answer);
    session.record(Written::Ticket(marker.clone()), outcome, sent);
    let id = answer.ok().and_then(|answer| answer.body.pointer("/data/id").and_then(Value::as_u64));
    if let (Outcome::Acknowledged, Some(id)) = (outcome, id) {
        if session.own.len() >= OWN_MAX {
            session.own.remove(0);
        }
        session.own.push((id, marker));
    }
}

async fn add_article(session: &mut Session) {
    let marker = session.marker();
    let Some((id, _)) = session.own.last().cloned() else { return };
    let path = format!("/api/v1/tickets/{id}/articles");
    let body = json!({ "subject": marker, "body": words(session), "is_visible": true });
    let sent = Instant::now();
    let answer = session.send(Method::POST, &path, Some(&body)).await;
    let outcome = session.judge_write(&format!("POST {path}"), &answer);
    session.record(Written::Article(marker), outcome, sent);
}

async fn retitle(session: &mut Session) {
    let marker = session.marker();
    let index = session.random.random_range(0..session.own.len());
    let Some((id, old)) = session.own.get(index).cloned() else { return };
    let first = old.split(" of ").nth(1).unwrap_or(&old).to_owned();
    let title = format!("retitled {marker} of {first}");
    let path = format!("/api/v1/tickets/{id}");
    let sent = Instant::now();
    let answer = session.send(Method::PUT, &path, Some(&json!({ "title": title }))).await;
    let outcome = session.judge_write(&format!("PUT {path}"), &answer);
    session.client.ledger.retitle(id, title.clone(), outcome, sent);
    match outcome {
        Outcome::Acknowledged => {
            if let Some(own) = session.own.get_mut(index) {
                own.1 = title;
            }
        }
        Outcome::Unknown => {
            session.own.remove(index);
        }
        Outcome::Refused => {}
    }
}

async fn close_and_reopen(session: &mut Session) {
    let Some((id, _)) = session.own.first().cloned() else { return };
    let path = format!("/api/v1/tickets/{id}/close");
    let body = json!({ "reason": "done" });
    let answer = session.send(Method::POST, &path, Some(&body)).await;
    if session.judge_write(&format!("POST {path}"), &answer) != Outcome::Acknowledged {
        session.own.remove(0);
        return;
    }
    let path = format!("/api/v1/tickets/{id}/reopen");
    let body = json!({ "reason": "not done after all" });
    let answer = session.send(Method::POST, &path, Some(&body)).await;
    if session.judge_write(&format!("POST {path}"), &answer) != Outcome::Acknowledged {
        session.own.remove(0);
    }
}

async fn read_page(session: &mut Session) {
    let path = if session.random.random_ratio(1, 3) {
        format!("/tickets?page={}", session.random.random_range(1..20))
    } else {
        format!("/tickets/{}", session.old_ticket())
    };
    let answer = session.send(Method::GET, &path, None).await;
    session.judge_read(&format!("GET {path}"), &answer);
}

async fn note_page(session: &mut Session) {
    let marker = session.marker();
    let ticket = session.old_ticket();
    let path = format!("/agent/tickets/{ticket}/note");
    let form = [("subject", marker.clone()), ("body", words(session))];
    let (name, value) = &session.credentials;
    let sent = Instant::now();
    session.client.counts.request();
    let response = session
        .http
        .post(format!("{}{path}", session.client.load.url))
        .header(name, value)
        .form(&form)
        .send()
        .await;
    let answer = response.map(|response| Answer { status: response.status(), body: Value::Null });
    let outcome = session.judge_write(&format!("POST {path}"), &answer);
    session.record(Written::Article(marker), outcome, sent);
}

fn text(answer: &Answer, pointer: &str) -> Option<String> {
    answer.body.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
}

/// Texts from a line to a few kilobytes.
fn words(session: &mut Session) -> String {
    let lines =
        if session.random.random_ratio(1, 20) { 80 } else { session.random.random_range(1..8) };
    "The printer on the third floor answers again, but the queue is still paused. ".repeat(lines)
}
