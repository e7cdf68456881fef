//! Where a command's words go: with `--json` one object on standard output and the talk on standard
//! error, else the talk on standard output.

use std::io::Write;

use serde::Serialize;

/// How this process talks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) json: bool,
}

impl Output {
    /// One line for a person.
    pub(crate) fn line(&self, text: &str) -> anyhow::Result<()> {
        if self.json {
            writeln!(std::io::stderr().lock(), "{text}")?;
        } else {
            writeln!(std::io::stdout().lock(), "{text}")?;
        }
        Ok(())
    }

    /// The object for a program; nothing without `--json`.
    pub(crate) fn object(&self, object: &impl Serialize) -> anyhow::Result<()> {
        if self.json {
            let mut stdout = std::io::stdout().lock();
            serde_json::to_writer(&mut stdout, object)?;
            writeln!(stdout)?;
        }
        Ok(())
    }
}
