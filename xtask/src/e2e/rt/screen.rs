//! What one person does with Request Tracker in Chromium, every step through the pages themselves: sign
//! in, create a ticket, answer with a file, see both, search, download, sign out.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use rand::Rng;
use testkit::wait_until;

use super::chromium::{Chromium, quoted};
use super::page::number_after;
use crate::operator::talk;

/// Bytes of the file that goes up and comes down again.
const FILE_BYTES: usize = 200_000;

/// Longest a download may take.
const DOWNLOADED_WITHIN: Duration = Duration::from_secs(60);

/// The editors of the page can be written into.
const EDITORS_READY: &str = "!window.CKEDITOR || Object.keys(CKEDITOR.instances).length > 0 && \
     Object.values(CKEDITOR.instances).every(each => each.status === 'ready')";

/// A browser in front of Request Tracker.
#[derive(Debug)]
pub(super) struct Screen {
    browser: Chromium,
    /// `http://` address of the proxy.
    url: String,
    dir: PathBuf,
    /// A text nobody else writes.
    marker: String,
    /// Steps done so far.
    pub(super) steps: u64,
}

impl Screen {
    pub(super) async fn start(program: &Path, url: &str, dir: &Path) -> anyhow::Result<Self> {
        let (url, dir) = (url.to_owned(), dir.to_owned());
        let browser = Chromium::start(program, &dir).await?;
        Ok(Self { browser, url, dir, marker: String::new(), steps: 0 })
    }

    /// One person's visit; `picture` gets what the ticket looks like. Fails when a step does, and when
    /// anything went wrong in a page.
    pub(super) async fn visit(
        &mut self,
        marker: &str,
        picture: Option<&Path>,
    ) -> anyhow::Result<()> {
        marker.clone_into(&mut self.marker);
        let mut content = vec![0; FILE_BYTES];
        rand::rng().fill(content.as_mut_slice());
        let file = self.dir.join(format!("{marker}-up.bin"));
        std::fs::write(&file, &content).context("write the file to send")?;
        self.log_in().await.context("sign in with Chromium")?;
        let ticket = self.create().await.context("create a ticket with Chromium")?;
        self.reply(ticket, &file).await.context("answer with Chromium")?;
        self.look(ticket, picture).await.context("look at the ticket with Chromium")?;
        self.search(ticket).await.context("search with Chromium")?;
        self.download(ticket, &content).await.context("download with Chromium")?;
        self.log_out().await.context("sign out with Chromium")?;
        ensure!(self.browser.wrong.is_empty(), "in the pages: {:#?}", self.browser.wrong);
        Ok(())
    }

    /// Answers the browser has got.
    pub(super) const fn answers(&self) -> u64 {
        self.browser.answers
    }

    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.browser.stop().await
    }

    fn step(&mut self, what: &str) {
        self.steps += 1;
        talk(&format!("  Chromium: {what}"));
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    async fn log_in(&mut self) -> anyhow::Result<()> {
        self.step("sign in");
        self.browser.open(&self.at("/"), "document.forms.login").await?;
        self.browser.fill("form#login input[name=user]", "root").await?;
        self.browser.fill("form#login input[name=pass]", "password").await?;
        let home = "document.querySelector('#simple-search')";
        self.browser.follow("form#login input[type=submit]", home).await
    }

    async fn create(&mut self) -> anyhow::Result<u64> {
        self.step("create a ticket");
        let marker = self.marker.clone();
        self.browser.open(&self.at("/Ticket/Create.html?Queue=1"), EDITORS_READY).await?;
        self.browser.fill("input[name=Subject]", &marker).await?;
        self.browser.fill("input[name=Requestors]", &format!("{marker}@example.com")).await?;
        self.write("Content", &format!("<p>{marker} does not work</p>")).await?;
        let created = format!("document.title.includes({})", quoted(&marker));
        self.browser.follow("input[name=SubmitTicket]", &created).await?;
        let place = self.browser.run("location.href").await?;
        let place = place.as_str().unwrap_or_default();
        number_after(place, "?id=").with_context(|| format!("{place} names no ticket"))
    }

    async fn reply(&mut self, ticket: u64, file: &Path) -> anyhow::Result<()> {
        self.step("answer it and attach a file");
        let form = self.at(&format!("/Ticket/Update.html?Action=Respond&id={ticket}"));
        self.browser.open(&form, EDITORS_READY).await?;
        self.write("UpdateContent", &format!("<p>{} is looked into</p>", self.marker)).await?;
        self.browser.choose("input.dz-hidden-input", file).await?;
        self.browser.until("document.querySelector('.dz-preview.dz-success')").await?;
        let shown = "document.querySelector('.transaction')";
        self.browser.follow("input[name=SubmitTicket]", shown).await
    }

    async fn look(&mut self, ticket: u64, picture: Option<&Path>) -> anyhow::Result<()> {
        self.step("see both in its history");
        let said = |text: &str| {
            let text = quoted(&format!("{} {text}", self.marker));
            format!("document.body.innerText.includes({text})")
        };
        let shown = format!("{} && {}", said("does not work"), said("is looked into"));
        self.browser.open(&self.history(ticket), &shown).await?;
        if let Some(file) = picture {
            let picture = self.browser.picture().await?;
            std::fs::write(file, picture).with_context(|| format!("write {}", file.display()))?;
        }
        Ok(())
    }

    async fn search(&mut self, ticket: u64) -> anyhow::Result<()> {
        self.step("find it by its subject");
        let field = "#simple-search input[name=q]";
        let ready = format!("document.querySelector({})", quoted(field));
        self.browser.open(&self.at("/Search/Build.html"), &ready).await?;
        self.browser.fill(field, &format!("subject:{}", self.marker)).await?;
        let link = format!("a[href*=\"/Ticket/Display.html?id={ticket}\"]");
        let found = format!(
            "[...document.querySelectorAll({})].some(each => each.innerText.includes({}))",
            quoted(&link),
            quoted(&self.marker)
        );
        self.browser.leave("document.querySelector('#simple-search').submit()", &found).await
    }

    async fn download(&mut self, ticket: u64, content: &[u8]) -> anyhow::Result<()> {
        self.step("download the file");
        let name = format!("{}-up.bin", self.marker);
        let link = format!("a[href*=\"/Ticket/Attachment/\"][href$=\"{name}\"]");
        let link = format!("document.querySelector({})", quoted(&link));
        // what was sent lies where the download goes
        std::fs::remove_file(self.dir.join(&name)).context("remove the file that was sent")?;
        self.browser.open(&self.history(ticket), &link).await?;
        self.browser.run(&format!("{link}.click()")).await?;
        let downloaded = self.dir.join(&name);
        let is_there = || async {
            let is_whole = std::fs::read(&downloaded).is_ok_and(|bytes| bytes == content);
            Ok(is_whole.then_some(()))
        };
        wait_until(DOWNLOADED_WITHIN, is_there).await.context("the file is not the one sent")
    }

    async fn log_out(&mut self) -> anyhow::Result<()> {
        self.step("sign out");
        let gone = "location.pathname.startsWith('/NoAuth/')";
        self.browser.follow("a[href*=\"/NoAuth/Logout.html\"]", gone).await?;
        self.browser.open(&self.at("/"), "document.forms.login").await
    }

    /// Writes into an editor, or into the plain field where there is none.
    async fn write(&mut self, field: &str, text: &str) -> anyhow::Result<()> {
        let (field, text) = (quoted(field), quoted(text));
        let script = format!(
            "(async () => {{ const editor = window.CKEDITOR && CKEDITOR.instances[{field}]; \
             if (editor) await new Promise(done => editor.setData({text}, done)); \
             else document.getElementsByName({field})[0].value = {text} }})()"
        );
        self.browser.run(&script).await.map(drop)
    }

    fn history(&self, ticket: u64) -> String {
        self.at(&format!("/Ticket/Display.html?id={ticket}&ForceShowHistory=1"))
    }
}
