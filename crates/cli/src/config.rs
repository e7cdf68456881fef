//! Reads routes.toml from disk.

use std::path::Path;

use routes::Config;

use crate::exit::Failure;

/// The compiled configuration.
///
/// # Errors
/// All problems at once, as a usage failure.
pub(crate) fn load(path: &Path) -> anyhow::Result<Config> {
    parse(path, &read(path)?).map_err(|problems| explain(&problems))
}

/// The same for whoever opens no database: secrets stay unread, their variables need not be set.
///
/// # Errors
/// All problems at once, as a usage failure.
pub(crate) fn load_without_secrets(path: &Path) -> anyhow::Result<Config> {
    let name = path.display().to_string();
    Config::parse_without_secrets(&name, &read(path)?, &|name| std::env::var(name).ok())
        .map_err(|problems| explain(&problems))
}

/// The same for a proxy: it reads the secrets it uses itself, and none of databases.
///
/// # Errors
/// All problems at once, as a usage failure.
pub(crate) fn load_for_proxy(path: &Path) -> anyhow::Result<Config> {
    let (name, env) = (path.display().to_string(), |name: &str| std::env::var(name).ok());
    Config::parse_for_proxy(&name, &read(path)?, &env, &|file| std::fs::read_to_string(file))
        .map_err(|problems| explain(&problems))
}

/// The file's text.
///
/// # Errors
/// A usage failure that names the file.
pub(crate) fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).map_err(|error| {
        Failure::Usage(format!("{}: {error}; name the file with --config", path.display())).into()
    })
}

fn explain(problems: &[routes::Problem]) -> anyhow::Error {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Failure::Usage(lines.join("\n")).into()
}

/// Compiles a text, with the process's environment and files.
///
/// # Errors
/// All problems at once.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Config, Vec<routes::Problem>> {
    Config::parse(&path.display().to_string(), text, &|name| std::env::var(name).ok(), &|file| {
        std::fs::read_to_string(file)
    })
}
