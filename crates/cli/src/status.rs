//! `ficus status` and `ficus watch`: where each capability stands, on one screen.

mod text;
mod words;

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use control::api::Status;

use crate::exit::Failure;
use crate::online::Online;

const RENEW_EVERY: Duration = Duration::from_secs(1);

/// Cursor to the upper left corner; each line then clears what it does not cover, so nothing flickers.
const HOME: &str = "\x1b[H";
const CLEAR_REST_OF_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// A terminal's second screen, so that what stood on the first comes back at the end.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// Everything, or one capability.
pub(crate) async fn status(online: &Online, wanted: Option<&str>) -> anyhow::Result<()> {
    let mut status = ask(online).await?;
    if let Some(wanted) = wanted {
        let known: Vec<_> = status.capabilities.iter().map(|one| one.name.clone()).collect();
        status.capabilities.retain(|one| one.name == wanted);
        if status.capabilities.is_empty() {
            let known = known.join(", ");
            return Err(Failure::Usage(format!(
                "there is no capability {wanted:?}; one of: {known}"
            ))
            .into());
        }
    }
    if online.out.json {
        return online.out.object(&status);
    }
    online.out.line(text::screen(&status, is_coloured()).trim_end())
}

/// Colours are for terminals whose owner did not refuse them.
fn is_coloured() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// Everything, again and again until Ctrl-C; on a terminal in place. A control that does not answer is
/// said and asked again.
pub(crate) async fn watch(online: &Online) -> anyhow::Result<()> {
    let in_place = std::io::stdout().is_terminal() && !online.out.json;
    if in_place {
        write(ENTER)?;
    }
    let ended = tokio::select! {
        ended = renew(online, in_place) => ended,
        signal = tokio::signal::ctrl_c() => signal.map_err(Into::into),
    };
    if in_place {
        write(LEAVE)?;
    }
    ended
}

async fn renew(online: &Online, in_place: bool) -> anyhow::Result<()> {
    let mut last = String::new();
    loop {
        let rows = if in_place { rows().await } else { None };
        match ask(online).await {
            Ok(status) if online.out.json => online.out.object(&status)?,
            Ok(status) => {
                last = text::screen(&status, in_place && is_coloured());
                show(&last, in_place, rows)?;
            }
            Err(error) if in_place => {
                let text = format!("{error:#}\nAsking again every second. Last seen:\n\n{last}");
                show(&text, true, rows)?;
            }
            Err(error) => online.out.line(&format!("{error:#}"))?,
        }
        tokio::time::sleep(RENEW_EVERY).await;
    }
}

async fn ask(online: &Online) -> anyhow::Result<Status> {
    online.control.get("/api/v1/status").await
}

fn show(screen: &str, in_place: bool, rows: Option<usize>) -> anyhow::Result<()> {
    if !in_place {
        return write(&format!("{screen}\n"));
    }
    let screen = rows.map_or_else(|| screen.to_owned(), |rows| text::cut(screen, rows));
    let line_end = format!("{CLEAR_REST_OF_LINE}\n");
    write(&format!("{HOME}{}{CLEAR_BELOW}", screen.replace('\n', &line_end)))
}

/// Height of the terminal. Asked of `stty`, because std does not know; without it nothing is cut.
async fn rows() -> Option<usize> {
    let mut stty = tokio::process::Command::new("stty");
    let asked = stty.arg("size").stdin(std::process::Stdio::inherit()).kill_on_drop(true).output();
    let answer = tokio::time::timeout(RENEW_EVERY, asked).await.ok()?.ok()?;
    String::from_utf8(answer.stdout).ok()?.split_whitespace().next()?.parse().ok()
}

fn write(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}
