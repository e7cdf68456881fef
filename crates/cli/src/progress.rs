//! Progress bars for long work; invisible when standard error is no terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// Rows of the initial copy.
pub(crate) fn copy_bar() -> ProgressBar {
    bar("copying   {bar:30} {human_pos}/{human_len} rows {msg}")
}

/// Changes applied after a table waited.
pub(crate) fn replay_bar() -> ProgressBar {
    bar("replaying {spinner} {msg}")
}

/// Rows compared.
pub(crate) fn verify_bar() -> ProgressBar {
    bar("verifying {bar:30} {human_pos}/{human_len} rows {per_sec} {eta} left {msg}")
}

fn bar(template: &str) -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
