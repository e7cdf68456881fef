//! One signed-in browser or API client of Request Tracker: cookies, forms, and how an answer is judged.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use rand::distr::Alphanumeric;
use rand::{Rng, SeedableRng, rngs::StdRng};
use reqwest::{Method, RequestBuilder, StatusCode, header};
use serde_json::Value;

use crate::workload::Counts;

/// A slow program on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The administrator that the first data brings.
const LOGIN: [(&str, &str); 3] = [("user", "root"), ("pass", "password"), ("next", "")];

/// What one client needs.
#[derive(Debug)]
pub(super) struct Session {
    /// `http://` address of the proxy.
    pub(super) url: Arc<str>,
    pub(super) counts: Arc<Counts>,
    pub(super) random: StdRng,
    http: reqwest::Client,
    cookies: String,
    number: u64,
    sequence: u64,
}

/// A file of an upload.
#[derive(Clone, Debug)]
pub(super) struct Upload {
    pub(super) name: String,
    /// Its media type.
    pub(super) kind: &'static str,
    pub(super) content: Vec<u8>,
}

impl Session {
    pub(super) fn new(url: Arc<str>, counts: Arc<Counts>, number: u64) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let random = StdRng::seed_from_u64(number);
        Ok(Self { url, counts, random, http, cookies: String::new(), number, sequence: 0 })
    }

    /// Signs in through the login page and keeps the cookie.
    pub(super) async fn log_in(&mut self) -> anyhow::Result<()> {
        self.cookies.clear();
        let request = self.http.post(format!("{}/NoAuth/Login.html", self.url)).form(&LOGIN);
        self.counts.request();
        let answer = request.send().await.context("POST the login page")?;
        let cookies: Vec<String> = answer
            .headers()
            .get_all(header::SET_COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok()?.split(';').next().map(str::to_owned))
            .collect();
        ensure!(!cookies.is_empty(), "the login page answered {} without cookie", answer.status());
        self.cookies = cookies.join("; ");
        let home = self.page("/").await?;
        ensure!(home.contains("/NoAuth/Logout.html"), "signed in, and the home page does not know");
        Ok(())
    }

    /// Signs out, which deletes the session's row, and in again.
    pub(super) async fn log_in_again(&mut self) -> anyhow::Result<()> {
        self.page("/NoAuth/Logout.html").await?;
        self.log_in().await
    }

    /// A page that must be there.
    pub(super) async fn page(&self, path: &str) -> anyhow::Result<String> {
        Ok(String::from_utf8_lossy(&self.bytes(path).await?).into_owned())
    }

    /// A file that must be there.
    pub(super) async fn bytes(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        let answer = self.send(self.request(Method::GET, path)).await?;
        let status = answer.status();
        let bytes = answer.bytes().await.with_context(|| format!("read {path}"))?;
        ensure!(status == StatusCode::OK, "GET {path} answered {status}");
        Ok(bytes.to_vec())
    }

    /// Sends a form of the web interface; answers where it leads afterwards. Only a change that was made
    /// is answered with a redirection.
    pub(super) async fn submit(
        &self,
        path: &str,
        fields: &[(&str, &str)],
        upload: Option<&Upload>,
    ) -> anyhow::Result<String> {
        let answer = self.post(path, fields, upload).await?;
        let status = answer.status();
        ensure!(status == StatusCode::FOUND, "POST {path} answered {status}");
        let location = answer.headers().get(header::LOCATION);
        let location = location.and_then(|value| value.to_str().ok());
        Ok(location.with_context(|| format!("POST {path} leads nowhere"))?.to_owned())
    }

    /// Sends a form of the administrators' pages, which answer with a page in any case.
    pub(super) async fn apply(&self, path: &str, fields: &[(&str, &str)]) -> anyhow::Result<()> {
        let status = self.post(path, fields, None).await?.status();
        ensure!(status == StatusCode::OK, "POST {path} answered {status}");
        Ok(())
    }

    async fn post(
        &self,
        path: &str,
        fields: &[(&str, &str)],
        upload: Option<&Upload>,
    ) -> anyhow::Result<reqwest::Response> {
        let (kind, body) = multipart(fields, upload);
        let request = self.request(Method::POST, path).header(header::CONTENT_TYPE, kind);
        self.send(request.body(body)).await
    }

    /// Calls REST2.
    pub(super) async fn rest(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let path = format!("/REST/2.0/{path}");
        let mut request = self.request(method, &path);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = self.send(request).await?;
        let status = answer.status();
        let text = answer.text().await.with_context(|| format!("read {path}"))?;
        ensure!(status.is_success(), "{path} answered {status}: {text}");
        serde_json::from_str(&text).with_context(|| format!("{path} answered no JSON: {text}"))
    }

    /// A text nobody else writes, without anything that HTML or a query would have to quote.
    pub(super) fn marker(&mut self) -> String {
        self.sequence += 1;
        let word: String = (0..6).map(|_| char::from(self.random.sample(Alphanumeric))).collect();
        format!("case{}x{}x{word}", self.number, self.sequence)
    }

    /// A file of some hundred kilobytes: random bytes, which no compression makes smaller, or text.
    pub(super) fn upload(&mut self) -> Upload {
        let size = self.random.random_range(100_000..500_000);
        let name = self.marker();
        if self.random.random_ratio(2, 3) {
            let mut content = vec![0; size];
            self.random.fill(content.as_mut_slice());
            return Upload { name, kind: "application/octet-stream", content };
        }
        let line = "a line of a log that says much the same as the one before\n";
        let content = line.bytes().cycle().take(size).collect();
        Upload { name, kind: "text/plain", content }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        request.header(header::COOKIE, &self.cookies)
    }

    async fn send(&self, request: RequestBuilder) -> anyhow::Result<reqwest::Response> {
        self.counts.request();
        Ok(request.send().await?)
    }
}

/// A form with an optional file in the field `Attach`.
fn multipart(fields: &[(&str, &str)], upload: Option<&Upload>) -> (String, Vec<u8>) {
    let boundary: String =
        rand::rng().sample_iter(&Alphanumeric).take(40).map(char::from).collect();
    let mut body = Vec::new();
    let begin = |body: &mut Vec<u8>, disposition: &str| {
        let head = format!("--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n");
        body.extend_from_slice(head.as_bytes());
    };
    for (name, value) in fields {
        begin(&mut body, &format!("name=\"{name}\""));
        body.extend_from_slice(format!("\r\n{value}\r\n").as_bytes());
    }
    if let Some(Upload { name, kind, content }) = upload {
        begin(&mut body, &format!("name=\"Attach\"; filename=\"{name}\""));
        body.extend_from_slice(format!("Content-Type: {kind}\r\n\r\n").as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}

/// What stands between `before` and the next character that is no digit.
pub(super) fn number_after(text: &str, before: &str) -> Option<u64> {
    let rest = text.split_once(before)?.1;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_carries_its_fields_and_its_file_byte_by_byte() {
        let (name, kind) = ("a.bin".to_owned(), "image/png");
        let upload = Upload { name, kind, content: vec![0, 13, 10, 255] };
        let (kind, body) = multipart(&[("id", "new"), ("Subject", "x y")], Some(&upload));
        let boundary = kind.split_once("boundary=").expect("a boundary").1;
        let mut expected = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"id\"\r\n\r\nnew\r\n\
             --{boundary}\r\nContent-Disposition: form-data; name=\"Subject\"\r\n\r\nx y\r\n\
             --{boundary}\r\nContent-Disposition: form-data; name=\"Attach\"; filename=\"a.bin\"\r\n\
             Content-Type: image/png\r\n\r\n"
        )
        .into_bytes();
        expected.extend([0, 13, 10, 255]);
        expected.extend(format!("\r\n--{boundary}--\r\n").into_bytes());
        assert_eq!(body, expected);
    }

    #[test]
    fn a_number_is_found_behind_its_mark() {
        assert_eq!(number_after("/Ticket/Display.html?id=17&results=a", "?id="), Some(17));
        assert_eq!(number_after("/Ticket/Display.html?id=", "?id="), None);
        assert_eq!(number_after("nothing", "?id="), None);
    }
}
