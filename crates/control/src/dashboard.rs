//! One page for people: rendered here, no build step, nothing loaded from anywhere else. A small script
//! renews the changing part every second; without scripts the browser reloads the page.

mod capability;
mod lists;
mod mismatches;
mod streams;
mod transfer;
mod words;

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::api::{JournalEntry, MismatchGroup, Status};

const STYLE: &str = include_str!("dashboard/style.css");
const SCRIPT: &str = include_str!("dashboard/renew.js");
/// Hashes of the two files above, for the content security policy; a test keeps them current.
const STYLE_HASH: &str = "fGHHqCZoOaa78zTeC536bsjKwCtYmS7A65RwLDVttQc=";
const SCRIPT_HASH: &str = "hDMESYmQ/obAn1/Gy9JzgBdiHhiDSHghXu0+290bMw8=";

/// Lines of the journal that are shown.
const JOURNAL_LINES: usize = 30;

/// Only our own style and script, by their hashes; only our own address for the renewal.
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
                noscript { meta http-equiv="refresh" content="5"; }
                title { "Ficus" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#content" { "Skip to the capabilities" }
                p #alarm role="alert" hidden {
                    strong { "Control does not answer. " }
                    "What you see is " span #age aria-hidden="true" { "old" } "; asking again every second."
                }
                main #content { (fragment(status, journal)) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

/// The page of mismatches; it changes only when it is loaded again.
pub(crate) fn mismatches_page(groups: &[MismatchGroup], now_unix_ms: u64) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Ficus: mismatches" }
                style { (PreEscaped(STYLE)) }
            }
            body { main #content { (mismatches::routes(groups, now_unix_ms)) } }
        }
    }
}

/// The part that changes. Its children have ids, so that the script replaces only what is different.
pub(crate) fn fragment(status: &Status, journal: &[JournalEntry]) -> Markup {
    let now = status.now_unix_ms;
    let shown = journal.get(..JOURNAL_LINES).unwrap_or(journal);
    html! {
        (lists::masthead(status))
        @if status.capabilities.is_empty() {
            section #nothing .card {
                h2 { "Nothing to move yet" }
                p { "routes.toml names no capability. Add one, then run " code { "ficus check" } "." }
            }
        }
        @for one in &status.capabilities { (capability::card(one, status, now)) }
        (lists::proxies(status))
        (lists::journal(shown, shown.len() < journal.len(), now))
    }
}
