//! What people do in the web interface: create, answer, comment, attach, download, search, merge, resolve.

use anyhow::{Context, ensure};
use rand::Rng;

use super::page::{Session, Upload, number_after};

/// Tickets a browser keeps working on.
const OWN_MAX: usize = 12;

/// A browser and the tickets it made: number and the marker in its subject.
#[derive(Debug)]
pub(super) struct Browser {
    session: Session,
    own: Vec<(u64, String)>,
}

/// A change to a ticket through its update page.
#[derive(Clone, Copy, Debug)]
struct Update<'a> {
    /// `response` goes to the requestor, `private` is a comment.
    kind: &'a str,
    status: &'a str,
    upload: Option<&'a Upload>,
}

impl Browser {
    pub(super) fn new(session: Session) -> Self {
        Self { session, own: Vec::new() }
    }

    pub(super) async fn log_in(&mut self) -> anyhow::Result<()> {
        self.session.log_in().await
    }

    /// Does one thing, of several requests.
    pub(super) async fn act(&mut self) -> anyhow::Result<()> {
        let what = self.session.random.random_range(0..20);
        match what {
            _ if self.own.len() < 2 => self.create().await,
            0..=3 => self.create().await,
            4..=6 => self.update("response").await,
            7..=9 => self.update("private").await,
            10..=13 => self.attach_and_download().await,
            14 | 15 => self.search().await,
            16 => self.merge().await,
            17 | 18 => self.resolve().await,
            _ => self.session.log_in_again().await,
        }
    }

    async fn create(&mut self) -> anyhow::Result<()> {
        let marker = self.session.marker();
        let form = self.session.page("/Ticket/Create.html?Queue=1").await?;
        ensure!(form.contains("name=\"SubmitTicket\""), "the page for a new ticket has no form");
        let requestor = format!("{marker}@example.com");
        let fields = [
            ("id", "new"),
            ("Queue", "1"),
            ("Status", "new"),
            ("Requestors", &requestor),
            ("Subject", &marker),
            ("Content", "<p>Nothing works &amp; nobody answers: \u{2713} \u{1f4a5}</p>"),
            ("ContentType", "text/html"),
            ("SubmitTicket", "Create"),
        ];
        let location = self.session.submit("/Ticket/Create.html", &fields, None).await?;
        let id = number_after(&location, "?id=").context("a new ticket without number")?;
        let shown = self.session.page(&format!("/Ticket/Display.html?id={id}")).await?;
        ensure!(shown.contains(&marker), "ticket {id} does not show its subject");
        if self.own.len() >= OWN_MAX {
            self.own.remove(0);
        }
        self.own.push((id, marker));
        Ok(())
    }

    async fn update(&mut self, kind: &str) -> anyhow::Result<()> {
        let Some((id, _)) = self.any_own() else { return Ok(()) };
        let action = if kind == "private" { "Comment" } else { "Respond" };
        let form = format!("/Ticket/Update.html?Action={action}&id={id}");
        let form = self.session.page(&form).await?;
        ensure!(form.contains("name=\"UpdateContent\""), "the update page has no form");
        let update = Update { kind, status: "open", upload: None };
        self.send(id, update).await
    }

    async fn attach_and_download(&mut self) -> anyhow::Result<()> {
        let Some((id, _)) = self.any_own() else { return Ok(()) };
        let upload = self.session.upload();
        let update = Update { kind: "response", status: "open", upload: Some(&upload) };
        self.send(id, update).await?;
        let path = format!("/Ticket/Display.html?id={id}&ForceShowHistory=1");
        let shown = self.session.page(&path).await?;
        let link = attachment_link(&shown, &upload.name);
        let link = link.with_context(|| format!("ticket {id} does not show its new file"))?;
        let content = self.session.bytes(&link).await?;
        ensure!(content == upload.content, "{link} is not the file that was sent");
        Ok(())
    }

    async fn search(&mut self) -> anyhow::Result<()> {
        let Some((id, marker)) = self.any_own() else { return Ok(()) };
        let query = format!("Subject%20LIKE%20%27{marker}%27%20AND%20Queue%20%3D%20%27General%27");
        let found = self.session.page(&format!("/Search/Results.html?Query={query}")).await?;
        ensure!(found.contains(&marker), "the search does not find ticket {id}");
        Ok(())
    }

    async fn merge(&mut self) -> anyhow::Result<()> {
        if self.own.len() < 2 {
            return Ok(());
        }
        let (from, _) = self.own.remove(0);
        let Some((into, _)) = self.any_own() else { return Ok(()) };
        let (id, into) = (from.to_string(), into.to_string());
        let field = format!("{from}-MergeInto");
        let fields = [("id", id.as_str()), (&field, &into), ("SubmitTicket", "Save Changes")];
        self.session.submit("/Ticket/ModifyLinks.html", &fields, None).await?;
        let shown = self.session.page(&format!("/Ticket/Display.html?id={from}")).await?;
        ensure!(shown.contains(&format!("#{into}:")), "ticket {from} was not merged into {into}");
        Ok(())
    }

    async fn resolve(&mut self) -> anyhow::Result<()> {
        if self.own.is_empty() {
            return Ok(());
        }
        let (id, _) = self.own.remove(0);
        self.send(id, Update { kind: "private", status: "resolved", upload: None }).await
    }

    async fn send(&mut self, id: u64, update: Update<'_>) -> anyhow::Result<()> {
        let (number, subject) = (id.to_string(), self.session.marker());
        let fields = [
            ("id", number.as_str()),
            ("UpdateType", update.kind),
            ("Status", update.status),
            ("UpdateSubject", &subject),
            ("UpdateContent", "<p>We look into it.</p>"),
            ("UpdateContentType", "text/html"),
            ("SubmitTicket", "Update Ticket"),
        ];
        self.session.submit("/Ticket/Update.html", &fields, update.upload).await.map(drop)
    }

    fn any_own(&mut self) -> Option<(u64, String)> {
        let index = self.session.random.random_range(0..self.own.len().max(1));
        self.own.get(index).cloned()
    }
}

/// The path of the attachment with this name.
fn attachment_link(page: &str, name: &str) -> Option<String> {
    let end = page.find(&format!("/{name}\""))? + 1 + name.len();
    let before = page.get(..end)?;
    let start = before.rfind("/Ticket/Attachment/")?;
    Some(before.get(start..)?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::attachment_link;

    #[test]
    fn the_link_of_an_attachment_is_the_one_with_its_name() {
        let page = r#"<a href="/Ticket/Attachment/3/4/other">x</a> <a href="/Ticket/Attachment/33/5/mine">y</a>"#;
        assert_eq!(attachment_link(page, "mine").as_deref(), Some("/Ticket/Attachment/33/5/mine"));
        assert_eq!(attachment_link(page, "nothing"), None);
    }
}
