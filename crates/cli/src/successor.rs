//! Starts this program once more, so that it takes over: SIGUSR2.

use std::ffi::{OsStr, OsString};
use std::process::Command;

const UPGRADE: &str = "--upgrade";

/// Starts `ficus proxy --upgrade` with the arguments and the environment of this process, from the file
/// that has its name now. What comes of it is logged, by either of both.
pub(crate) fn start() {
    let mut words = std::env::args_os();
    let Some(program) = words.next() else { return };
    let mut command = Command::new(&program);
    command.args(arguments(words));
    match command.spawn() {
        Ok(child) => {
            tracing::info!(pid = child.id(), "started a process that takes over");
            // it outlives this process unless it fails; then somebody must take note of its end
            std::thread::spawn(move || wait(child));
        }
        Err(error) => {
            let program = program.display();
            tracing::error!(%program, %error, "could not start a process that takes over; this one goes on");
        }
    }
}

fn wait(mut child: std::process::Child) {
    match child.wait() {
        Ok(status) => tracing::error!(%status, "the process that was to take over ended"),
        Err(error) => tracing::warn!(%error, "lost sight of the process that takes over"),
    }
}

/// The words of this command line with `--upgrade`, once.
fn arguments(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = words.filter(|word| word != OsStr::new(UPGRADE)).collect();
    words.push(UPGRADE.into());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_often_it_was_upgraded_the_command_line_stays_the_same() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        let expected = words("--config /etc/ficus.toml proxy --upgrade");
        let first = arguments(words("--config /etc/ficus.toml proxy").into_iter());
        assert_eq!(first, expected);
        assert_eq!(arguments(first.into_iter()), expected);
    }
}
