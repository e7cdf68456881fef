//! Speaks to control's JSON API.

use anyhow::Context;
use futures::StreamExt;
use reqwest::{Method, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::exit::Failure;

/// A connection to control.
#[derive(Debug)]
pub(crate) struct ControlClient {
    http: reqwest::Client,
    url: String,
    actor: String,
}

impl ControlClient {
    /// `url` such as `http://127.0.0.1:9900`; nothing is sent yet.
    pub(crate) fn new(url: String) -> anyhow::Result<Self> {
        let user = std::env::var("USER").unwrap_or_else(|_| "unknown".to_owned());
        let http = reqwest::Client::builder().build().context("set up the HTTP client")?;
        Ok(Self { http, url, actor: format!("{user}@cli") })
    }

    /// GETs a JSON document.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let response = self.send(Method::GET, path, None).await?;
        response.json().await.context("control answered something that is no JSON of this version")
    }

    /// POSTs a command that answers with one document.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let response = self.send(Method::POST, path, Some(body)).await?;
        let bytes = response.bytes().await.context("read control's answer")?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).context("control answered something that is no JSON")
    }

    /// POSTs a command that answers line by line; returns the last line.
    pub(crate) async fn post_lines(
        &self,
        path: &str,
        body: &Value,
        on_line: &mut dyn FnMut(&Value),
    ) -> anyhow::Result<Value> {
        let response = self.send(Method::POST, path, Some(body)).await?;
        let mut stream = response.bytes_stream();
        let (mut buffer, mut last) = (Vec::new(), Value::Null);
        while let Some(chunk) = stream.next().await {
            buffer.extend_from_slice(&chunk.context(
                "lost control in the middle; what was begun goes on or is undone by itself: see ficus status",
            )?);
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                if line.trim_ascii().is_empty() {
                    continue;
                }
                last = serde_json::from_slice(&line).context("control answered a broken line")?;
                on_line(&last);
            }
        }
        if !buffer.trim_ascii().is_empty() {
            last = serde_json::from_slice(&buffer).context("control answered a broken line")?;
            on_line(&last);
        }
        Ok(last)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Response> {
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.url))
            .header("x-ficus-actor", &self.actor);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|source| {
            if source.is_connect() {
                anyhow::Error::new(Failure::Unreachable { url: self.url.clone(), source })
            } else {
                anyhow::Error::new(source).context("ask control")
            }
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refusal(response).await)
    }
}

/// A problem document (RFC 9457) in words.
async fn refusal(response: Response) -> anyhow::Error {
    let status = response.status();
    let problem: Value = response.json().await.unwrap_or_default();
    let mut text = problem
        .get("detail")
        .or_else(|| problem.get("title"))
        .and_then(Value::as_str)
        .map_or_else(|| format!("control answered {status}"), str::to_owned);
    for finding in problem.get("findings").and_then(Value::as_array).into_iter().flatten() {
        text.push_str("\n  ");
        text.push_str(&finding_in_words(finding));
    }
    for remedy in problem.get("remedy").and_then(Value::as_array).into_iter().flatten() {
        text.push_str("\n  → ");
        text.push_str(remedy.as_str().unwrap_or_default());
    }
    match status {
        StatusCode::CONFLICT
        | StatusCode::PRECONDITION_FAILED
        | StatusCode::UNPROCESSABLE_ENTITY => Failure::Refused(text).into(),
        StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST => Failure::Usage(text).into(),
        _ => anyhow::anyhow!(text),
    }
}

/// `check: evidence (do this)`
pub(crate) fn finding_in_words(finding: &Value) -> String {
    let text = |key: &str| finding.get(key).and_then(Value::as_str).unwrap_or_default();
    let remedy = text("remedy");
    let tail = if remedy.is_empty() { String::new() } else { format!("\n    → {remedy}") };
    format!("{}: {}{tail}", text("check"), text("evidence"))
}
