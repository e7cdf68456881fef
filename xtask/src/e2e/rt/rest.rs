//! What programs do over REST2: tickets and their attachments, people, assets, custom fields.

use anyhow::{Context, ensure};
use rand::Rng;
use reqwest::Method;
use serde_json::{Value, json};

use super::page::Session;

/// A program that uses REST2, with what it made.
#[derive(Debug)]
pub(super) struct Program {
    session: Session,
    tickets: Vec<u64>,
    /// Name of the custom field it made.
    field: Option<String>,
}

impl Program {
    pub(super) fn new(session: Session) -> Self {
        Self { session, tickets: Vec::new(), field: None }
    }

    pub(super) async fn log_in(&mut self) -> anyhow::Result<()> {
        self.session.log_in().await
    }

    /// Does one thing.
    pub(super) async fn act(&mut self) -> anyhow::Result<()> {
        let Some(ticket) = self.any_ticket() else { return self.create_ticket().await };
        if self.field.is_none() {
            return self.create_field().await;
        }
        match self.session.random.random_range(0..14) {
            0..=3 => self.create_ticket().await,
            4..=6 => self.update_ticket(ticket).await,
            7 | 8 => self.comment(ticket).await,
            9 => self.search().await,
            10 => self.create_user().await,
            11 => self.create_asset().await,
            12 => self.link(ticket).await,
            _ => self.read_ticket(ticket).await,
        }
    }

    async fn create_ticket(&mut self) -> anyhow::Result<()> {
        let marker = self.session.marker();
        let mut body = json!({
            "Queue": "General", "Subject": marker, "Requestor": format!("{marker}@example.com"),
            "Content": "sent by a program", "ContentType": "text/plain",
        });
        if let (Some(field), Some(object)) = (&self.field, body.as_object_mut()) {
            object.insert("CustomFields".to_owned(), json!({ field: format!("value {marker}") }));
        }
        let answer = self.session.rest(Method::POST, "ticket", Some(&body)).await?;
        let id = answer.get("id").and_then(Value::as_str).and_then(|id| id.parse().ok());
        self.tickets.push(id.context("a new ticket without id")?);
        Ok(())
    }

    /// Priority and status change in one request, and each leaves a transaction behind.
    async fn update_ticket(&mut self, ticket: u64) -> anyhow::Result<()> {
        let priority = self.session.random.random_range(1..100);
        let status = if priority % 2 == 0 { "open" } else { "stalled" };
        let mut body = json!({ "Priority": priority, "Status": status });
        if let (Some(field), Some(object)) = (&self.field, body.as_object_mut()) {
            object.insert("CustomFields".to_owned(), json!({ field: format!("p{priority}") }));
        }
        self.session.rest(Method::PUT, &format!("ticket/{ticket}"), Some(&body)).await.map(drop)
    }

    async fn comment(&mut self, ticket: u64) -> anyhow::Result<()> {
        let body = json!({ "Content": "seen", "ContentType": "text/plain", "TimeTaken": "5" });
        let verb = if self.session.random.random() { "comment" } else { "correspond" };
        let path = format!("ticket/{ticket}/{verb}");
        self.session.rest(Method::POST, &path, Some(&body)).await.map(drop)
    }

    async fn search(&mut self) -> anyhow::Result<()> {
        let path = "tickets?query=Queue%20%3D%20%27General%27&per_page=20&fields=Subject,Status";
        let found = self.session.rest(Method::GET, path, None).await?;
        let items = found.get("items").and_then(Value::as_array).map_or(0, Vec::len);
        ensure!(items > 0, "the search finds no tickets");
        Ok(())
    }

    async fn create_user(&mut self) -> anyhow::Result<()> {
        let name = self.session.marker();
        let body = json!({
            "Name": name, "EmailAddress": format!("{name}@example.org"), "Privileged": 1,
            "RealName": "Jos\u{e9} \u{41f}\u{435}\u{442}\u{440}\u{43e}\u{432}",
        });
        self.session.rest(Method::POST, "user", Some(&body)).await.map(drop)
    }

    async fn create_asset(&mut self) -> anyhow::Result<()> {
        let body = json!({ "Name": self.session.marker(), "Catalog": "General assets" });
        self.session.rest(Method::POST, "asset", Some(&body)).await.map(drop)
    }

    /// A custom field for tickets of all queues.
    async fn create_field(&mut self) -> anyhow::Result<()> {
        let name = self.session.marker();
        let body = json!({
            "Name": name, "Type": "FreeformSingle", "MaxValues": 1,
            "LookupType": "RT::Queue-RT::Ticket",
        });
        let made = self.session.rest(Method::POST, "customfield", Some(&body)).await?;
        let id = made.get("id").and_then(Value::as_str).context("a new custom field without id")?;
        let fields = [("id", id), (&format!("AddCustomField-{id}"), "0"), ("UpdateObjs", "Submit")];
        self.session.apply("/Admin/CustomFields/Objects.html", &fields).await?;
        self.field = Some(name);
        Ok(())
    }

    async fn link(&mut self, ticket: u64) -> anyhow::Result<()> {
        let Some(other) = self.any_ticket().filter(|other| *other != ticket) else {
            return Ok(());
        };
        let body = json!({ "AddRefersTo": other.to_string() });
        self.session.rest(Method::PUT, &format!("ticket/{ticket}"), Some(&body)).await.map(drop)
    }

    async fn read_ticket(&mut self, ticket: u64) -> anyhow::Result<()> {
        let read = self.session.rest(Method::GET, &format!("ticket/{ticket}"), None).await?;
        ensure!(read.get("Subject").is_some(), "ticket {ticket} has no subject");
        self.session.rest(Method::GET, &format!("ticket/{ticket}/history"), None).await.map(drop)
    }

    fn any_ticket(&mut self) -> Option<u64> {
        let index = self.session.random.random_range(0..self.tickets.len().max(1));
        self.tickets.get(index).copied()
    }
}
