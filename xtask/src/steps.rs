//! Running other programs under a heading, and telling at the end which of them failed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

/// Named steps of a verb. All of them run; the failed ones are named at the end.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    failed: Vec<String>,
    done: usize,
}

impl Steps {
    /// Runs one step and remembers its failure.
    pub(crate) fn run(&mut self, name: &str, step: impl FnOnce() -> anyhow::Result<()>) {
        println!("── {name}");
        self.done += 1;
        if let Err(error) = step() {
            eprintln!("{name}: {error:#}");
            self.failed.push(name.to_owned());
        }
    }

    /// The verdict.
    pub(crate) fn finish(self) -> anyhow::Result<usize> {
        anyhow::ensure!(self.failed.is_empty(), "failed: {}", self.failed.join(", "));
        Ok(self.done)
    }
}

/// The repository's root directory.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the repository's root directory")
        .to_owned()
}

/// A cargo command in the repository's root, of the cargo that runs us.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

/// Runs a command to its end, its output going where ours goes.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("start {}", shown(command)))?;
    anyhow::ensure!(status.success(), "{} ended with {status}", shown(command));
    Ok(())
}

/// Runs a command quietly and returns its standard output; the error carries its standard error.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("start {}", shown(command)))?;
    anyhow::ensure!(
        output.status.success(),
        "{} ended with {}: {}",
        shown(command),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    String::from_utf8(output.stdout).with_context(|| format!("read from {}", shown(command)))
}

/// The command as a person would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program =
        Path::new(command.get_program()).file_name().unwrap_or_else(|| command.get_program());
    let mut line = program.to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}
