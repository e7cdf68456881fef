//! Reads routes.toml from disk.

use std::path::Path;

use routes::Config;

use crate::exit::Failure;

/// The compiled configuration.
///
/// # Errors
/// All problems at once, as a usage failure.
pub(crate) fn load(path: &Path) -> anyhow::Result<Config> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::Usage(format!("{}: {error}; name the file with --config", path.display()))
    })?;
    match parse(path, &text) {
        Ok(config) => Ok(config),
        Err(problems) => {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Err(Failure::Usage(lines.join("\n")).into())
        }
    }
}

/// Compiles a text, with the process's environment and files.
///
/// # Errors
/// All problems at once.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Config, Vec<routes::Problem>> {
    Config::parse(
        &path.display().to_string(),
        text,
        &|name| std::env::var(name).ok(),
        &|file| std::fs::read_to_string(file),
    )
}
