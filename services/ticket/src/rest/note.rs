//! The note form of the monolith's ticket page.

use axum::Form;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use kit::{ApiError, Caller, Mode};
use serde::Deserialize;

use super::{App, path};
use crate::tickets::draft::Draft;

#[derive(Debug, Deserialize)]
pub(super) struct NoteForm {
    #[serde(default)]
    subject: String,
    #[serde(default)]
    body: String,
}

/// `POST /agent/tickets/{id}/note`: a browser's form, answered with the way back to the page.
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    mode: Mode,
    Form(form): Form<NoteForm>,
) -> Result<Response, ApiError> {
    let id = path::ticket_id(&id)?;
    let draft = Draft { subject: form.subject, body: form.body, ..Draft::default() };
    app.tickets.add_article(&caller, id, draft, mode).await?;
    Ok((mode, Redirect::to(&format!("/tickets/{id}"))).into_response())
}
