//! The pages agents see, rendered on the server.

use std::sync::Arc;

use axum::Form;
use axum::extract::{Path, State};
use axum::response::{Html, Redirect};
use maud::{DOCTYPE, Markup, html};
use serde::Deserialize;

use crate::app::App;
use crate::articles::{self, Article, Draft};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::request::{Pagination, Parameters};
use crate::tickets::{self, Filter, ticket_id};
use crate::timestamp::{Micros, Seconds};

const TIME_FORMAT: &str = "%Y-%m-%d %H:%M";

#[derive(Debug, Deserialize)]
pub(crate) struct NoteForm {
    #[serde(default)]
    subject: String,
    #[serde(default)]
    body: String,
}

/// `GET /login`.
pub(crate) async fn login(parameters: Parameters) -> Html<String> {
    let form = html! {
        h1 { "Sign in" }
        @if let Some(error) = parameters.text("error") { p.error { (error) } }
        form method="post" action="/login" {
            label { "Login " input name="login" autofocus; }
            label { "Password " input name="password" type="password"; }
            button { "Sign in" }
        }
    };
    layout("Sign in", &form)
}

/// `GET /tickets?page=`.
pub(crate) async fn tickets(
    State(app): State<Arc<App>>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Html<String>, ApiError> {
    let page = parameters.page();
    let (tickets, pagination) =
        tickets::fetch_page(&app.pool, &caller, &Filter::default(), page).await?;
    let list = html! {
        h1 { "Tickets" }
        p { (pagination.total) " tickets, signed in as " (caller.profile.login) }
        table {
            tr { th { "Number" } th { "Title" } th { "Queue" } th { "State" } th { "Priority" } th { "Changed" } }
            @for ticket in &tickets {
                tr {
                    td { a href={ "/tickets/" (ticket.id) } { (ticket.tn) } }
                    td { (ticket.title) }
                    td { (ticket.queue_name) }
                    td { (ticket.state_name) }
                    td { (ticket.priority_name) }
                    td { (minutes(ticket.updated_at)) }
                }
            }
        }
        (page_links(pagination))
    };
    Ok(layout("Tickets", &list))
}

/// `GET /tickets/{id}`.
pub(crate) async fn ticket(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Html<String>, ApiError> {
    let id = ticket_id(&id)?;
    let ticket = tickets::fetch(&app, &caller, id).await?;
    let articles = articles::fetch(&app.pool, id, None).await?;
    let Seconds(created) = ticket.create_time;
    let detail = html! {
        p { a href="/tickets" { "All tickets" } }
        h1 { (ticket.ticket_number) " " (ticket.title) }
        dl {
            dt { "Queue" } dd { (ticket.queue) }
            dt { "State" } dd { (ticket.state) }
            dt { "Priority" } dd { (ticket.priority) }
            dt { "Customer" } dd { (ticket.customer_user_id.as_deref().unwrap_or("none")) }
            dt { "Created" } dd { (created.format(TIME_FORMAT)) }
        }
        @for article in &articles { (article_section(article)) }
        h2 { "Add a note" }
        form method="post" action={ "/agent/tickets/" (ticket.id) "/note" } {
            label { "Subject " input name="subject"; }
            textarea name="body" rows="6" cols="80" {}
            button { "Add" }
        }
    };
    Ok(layout(&ticket.title, &detail))
}

/// `POST /agent/tickets/{id}/note`: an internal note, then back to the ticket.
pub(crate) async fn add_note(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Form(note): Form<NoteForm>,
) -> Result<Redirect, ApiError> {
    articles::add(&app, &caller, &id, Draft::note(note.subject, note.body)).await?;
    Ok(Redirect::to(&format!("/tickets/{id}")))
}

fn layout(title: &str, content: &Markup) -> Html<String> {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { (title) }
                style { "body{font:15px sans-serif;margin:2em}td,th{padding:.2em 1em .2em 0;text-align:left}pre{white-space:pre-wrap}" }
            }
            body { (content) }
        }
    };
    Html(page.into_string())
}

fn page_links(pagination: Pagination) -> Markup {
    html! {
        p {
            @if pagination.has_prev { a href={ "?page=" (pagination.page - 1) } { "Newer" } " " }
            "Page " (pagination.page) " of " (pagination.total_pages)
            @if pagination.has_next { " " a href={ "?page=" (pagination.page + 1) } { "Older" } }
        }
    }
}

fn article_section(article: &Article) -> Markup {
    html! {
        section {
            h3 { (article.subject) }
            p { (article.from) " " (minutes(article.create_time)) }
            pre { (article.body) }
        }
    }
}

fn minutes(Micros(time): Micros) -> String {
    time.format(TIME_FORMAT).to_string()
}
