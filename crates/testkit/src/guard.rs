//! Cleaning up after ourselves even when we are killed.
//!
//! A tiny shell waits on a pipe that only this process holds open. When the process ends, in
//! whatever way, the kernel closes the pipe and the shell does what it was told to do. Dropping
//! the [`Guard`] does the same, and waits for it.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use anyhow::Context;

/// A shell script that runs when this value is dropped or this process is gone.
#[derive(Debug)]
pub(crate) struct Guard {
    shell: Child,
}

impl Guard {
    /// Starts the waiting shell. `command` is a `sh` command under the right account; `script` runs
    /// once, with `arguments` as `$1`, `$2` and so on.
    pub(crate) fn new(
        mut command: Command,
        script: &str,
        arguments: &[&std::ffi::OsStr],
    ) -> anyhow::Result<Self> {
        let shell = command
            .arg("-c")
            .arg(format!("read -r _\n{script}"))
            .arg("ficus-guard")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // An interrupt from the terminal goes to our process group; the guard must outlive it.
            .process_group(0)
            .spawn()
            .context("start the shell that cleans up")?;
        Ok(Self { shell })
    }

    /// Ends the shell without running the script.
    pub(crate) fn disarm(mut self) {
        // The only way this fails is that the shell has ended already.
        drop(self.shell.kill());
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // Nothing can be done about a shell that cannot be waited for; the caller looks at results.
        drop(self.shell.wait());
    }
}
