//! A headless Chromium that is told what to do over its DevTools pipe: messages of JSON, each ended by a
//! NUL byte, on its descriptors 3 and 4. What goes wrong in a page on the way is kept.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use base64::Engine as _;
use nix::unistd::Uid;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// Longest a page may take until it shows what it should, on a busy machine.
const SHOWN_WITHIN: Duration = Duration::from_secs(60);

/// Longest one answer of the browser itself may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Between two looks at a page.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Moves the pipes to where Chromium expects them; `$0` is its log.
const ON_PIPES: &str = r#"exec "$@" 3<&0 4>&1 </dev/null >>"$0" 2>&1"#;

/// The page that was to be left is gone, and the next one is complete.
const ARRIVED: &str = "!window.ficusLeft && document.readyState === 'complete'";

/// A running browser with one page. It is killed when this value is dropped.
#[derive(Debug)]
pub(super) struct Chromium {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    /// Of the page.
    session: Option<String>,
    sent: u64,
    /// Answers the page has got.
    pub(super) answers: u64,
    /// Answers of 400 and above, loads that failed, and exceptions that nobody caught.
    pub(super) wrong: Vec<String>,
}

impl Chromium {
    /// Starts it with a profile in `dir`, where downloads go as well.
    pub(super) async fn start(program: &Path, dir: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", ON_PIPES]).arg(dir.join("chromium.log")).arg(program);
        command.args(["--headless", "--remote-debugging-pipe", "--disable-gpu", "--no-first-run"]);
        command.args(["--disable-dev-shm-usage", "--disable-background-networking"]);
        command.args(["--window-size=1280,900"]);
        command.arg(format!("--user-data-dir={}", dir.join("profile").display()));
        if Uid::effective().is_root() {
            // the only pages it sees are our own
            command.arg("--no-sandbox");
        }
        command.env("HOME", dir).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("start Chromium")?;
        let to = child.stdin.take().context("Chromium has no pipe to write to")?;
        let from = child.stdout.take().context("Chromium has no pipe to read from")?;
        let from = BufReader::new(from);
        let (session, wrong) = (None, Vec::new());
        let mut browser = Self { child, to, from, session, sent: 0, answers: 0, wrong };
        let downloads = json!({ "behavior": "allow", "downloadPath": dir });
        browser.call("Browser.setDownloadBehavior", downloads).await?;
        let page = browser.call("Target.createTarget", json!({ "url": "about:blank" })).await?;
        let page = json!({ "targetId": page.get("targetId"), "flatten": true });
        let attached = browser.call("Target.attachToTarget", page).await?;
        browser.session = attached.get("sessionId").and_then(Value::as_str).map(str::to_owned);
        for events in ["Page.enable", "Network.enable", "Runtime.enable", "DOM.enable"] {
            browser.call(events, json!({})).await?;
        }
        Ok(browser)
    }

    /// Ends it and waits for that.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        self.session = None;
        self.call("Browser.close", json!({})).await?;
        let ended = timeout(ANSWER_WITHIN, self.child.wait()).await;
        ended.context("Chromium does not end")?.context("wait for Chromium")?;
        Ok(())
    }

    /// Goes to this address and waits until `shown`, a condition in JavaScript, holds there.
    pub(super) async fn open(&mut self, url: &str, shown: &str) -> anyhow::Result<()> {
        self.leave(&format!("location.href = {}", quoted(url)), shown).await
    }

    /// Clicks on what leads to another page, and waits until `shown` holds there.
    pub(super) async fn follow(&mut self, selector: &str, shown: &str) -> anyhow::Result<()> {
        self.leave(&format!("document.querySelector({}).click()", quoted(selector)), shown).await
    }

    /// Does what leads to another page, and waits until `shown` holds there.
    pub(super) async fn leave(&mut self, by: &str, shown: &str) -> anyhow::Result<()> {
        self.run(&format!("window.ficusLeft = true; {by}; true")).await?;
        self.until(&format!("{ARRIVED} && ({shown})")).await
    }

    /// Writes into a field as if somebody had typed.
    pub(super) async fn fill(&mut self, selector: &str, text: &str) -> anyhow::Result<()> {
        let script = format!(
            "{{ const field = document.querySelector({}); field.value = {}; \
             field.dispatchEvent(new Event('change', {{ bubbles: true }})); true }}",
            quoted(selector),
            quoted(text)
        );
        self.run(&script).await.map(drop)
    }

    /// Chooses a file in a field for files.
    pub(super) async fn choose(&mut self, selector: &str, file: &Path) -> anyhow::Result<()> {
        let expression = format!("document.querySelector({})", quoted(selector));
        let field = self.call("Runtime.evaluate", json!({ "expression": expression })).await?;
        let field = field.pointer("/result/objectId");
        let field = field.with_context(|| format!("the page has no {selector}"))?;
        let chosen = json!({ "files": [file], "objectId": field });
        self.call("DOM.setFileInputFiles", chosen).await.map(drop)
    }

    /// Waits until this condition holds.
    pub(super) async fn until(&mut self, condition: &str) -> anyhow::Result<()> {
        let looked = format!("!!({condition})");
        let met = timeout(SHOWN_WITHIN, async {
            loop {
                // in a page that is just being left nothing can be evaluated
                if self.run(&looked).await.is_ok_and(|value| value == Value::Bool(true)) {
                    return;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        if met.await.is_ok() {
            return Ok(());
        }
        let seen = "location.href + ': ' + document.body.innerText.slice(0, 500)";
        let seen = self.run(seen).await.unwrap_or_default();
        bail!("the page does not come to show {condition}; it is {seen}")
    }

    /// The value of an expression in the page.
    pub(super) async fn run(&mut self, expression: &str) -> anyhow::Result<Value> {
        let wanted =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let answer = self.call("Runtime.evaluate", wanted).await?;
        if let Some(thrown) = answer.get("exceptionDetails") {
            bail!("{expression} threw {thrown}");
        }
        Ok(answer.pointer("/result/value").cloned().unwrap_or_default())
    }

    /// What the page looks like, as PNG.
    pub(super) async fn picture(&mut self) -> anyhow::Result<Vec<u8>> {
        let picture = self.call("Page.captureScreenshot", json!({ "format": "png" })).await?;
        let data = picture.get("data").and_then(Value::as_str).context("no picture")?;
        base64::engine::general_purpose::STANDARD.decode(data).context("read the picture")
    }

    async fn call(&mut self, method: &str, parameters: Value) -> anyhow::Result<Value> {
        self.sent += 1;
        let mut message = json!({ "id": self.sent, "method": method, "params": parameters });
        if let (Some(session), Some(members)) = (&self.session, message.as_object_mut()) {
            members.insert("sessionId".to_owned(), json!(session));
        }
        let mut bytes = serde_json::to_vec(&message)?;
        bytes.push(0);
        let exchange = async {
            self.to.write_all(&bytes).await.context("write to Chromium")?;
            self.answer_to(self.sent).await
        };
        let answer = timeout(ANSWER_WITHIN, exchange).await;
        let answer = answer.with_context(|| format!("Chromium does not answer {method}"))??;
        if let Some(error) = answer.get("error") {
            bail!("Chromium refuses {method}: {error}");
        }
        Ok(answer.get("result").cloned().unwrap_or_default())
    }

    async fn answer_to(&mut self, number: u64) -> anyhow::Result<Value> {
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            self.from.read_until(0, &mut bytes).await.context("read from Chromium")?;
            ensure!(bytes.pop() == Some(0), "Chromium ended; its log says why");
            let message: Value = serde_json::from_slice(&bytes).context("a message no JSON")?;
            if message.get("id").and_then(Value::as_u64) == Some(number) {
                return Ok(message);
            }
            self.notice(&message);
        }
    }

    fn notice(&mut self, event: &Value) {
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
        match text("/method") {
            Some("Network.responseReceived") => {
                self.answers += 1;
                let status = event.pointer("/params/response/status").and_then(Value::as_u64);
                if let Some(status @ 400..) = status {
                    let url = text("/params/response/url").unwrap_or_default();
                    self.wrong.push(format!("{url} answered {status}"));
                }
            }
            // a page that is left cancels what it still loads, and a download replaces no page
            Some("Network.loadingFailed")
                if event.pointer("/params/canceled") != Some(&Value::Bool(true)) =>
            {
                self.wrong.push(format!("a load failed: {event}"));
            }
            Some("Runtime.exceptionThrown") => {
                self.wrong.push(format!("a script threw: {event}"));
            }
            _ => {}
        }
    }
}

/// A text as JavaScript writes it.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
