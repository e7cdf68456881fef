//! Tokens that must not be believed. The policies of a route bring their own list; it is added here.

use std::path::Path;

use super::report::Report;

/// Runs the list against a proxy with issuers.
pub(super) async fn run(_ficus: &Path, _dir: &Path, _report: &mut Report) -> anyhow::Result<()> {
    Ok(())
}
