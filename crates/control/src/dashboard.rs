//! One page for people: rendered here, no build step, nothing loaded from anywhere else. A small script
//! fetches the changing part every second.

mod parts;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::api::{JournalEntry, Status};

const STYLE: &str = include_str!("dashboard/style.css");
const SCRIPT: &str = include_str!("dashboard/refresh.js");
/// Hashes of the two files above, for the content security policy; a test keeps them current.
const STYLE_HASH: &str = "wlBIo/VRRDkt+IuPbzlGmDzvbDAa8SAdb3+v2olyGJQ=";
const SCRIPT_HASH: &str = "Tu6uCcP20bkEbqU+c3MK77Y1d65wZRCtou7aloeI6pQ=";

/// Lines of the journal that are shown.
const JOURNAL_LINES: usize = 30;

/// Only our own style and script, by their hashes; only our own address for the refresh.
pub(crate) fn content_security_policy() -> String {
    format!(
        "default-src 'none'; style-src 'sha256-{STYLE_HASH}'; script-src 'sha256-{SCRIPT_HASH}'; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

/// The whole page.
pub(crate) fn page(status: &Status, journal: &[JournalEntry]) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Ficus" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main id="content" { (fragment(status, journal)) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

/// The part that changes.
pub(crate) fn fragment(status: &Status, journal: &[JournalEntry]) -> Markup {
    let now = status.now_unix_ms;
    let shown = journal.get(..JOURNAL_LINES).unwrap_or(journal);
    html! {
        (parts::heading(status))
        @for capability in &status.capabilities { (parts::capability(capability, now)) }
        (parts::proxies(&status.proxies))
        (parts::journal(shown, now))
    }
}

#[cfg(test)]
mod tests;
