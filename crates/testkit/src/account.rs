//! The account a server runs under. PostgreSQL refuses to run as root, so under root every server
//! process is started as `postgres`, or as `nobody` where that account does not exist.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use nix::unistd::{Uid, User};

/// An account to start processes under; `None` inside means "the one we run under".
#[derive(Debug, Clone)]
pub(crate) struct Account(Option<User>);

impl Account {
    /// The account for a PostgreSQL server started by this process.
    pub(crate) fn for_servers() -> anyhow::Result<Self> {
        if !Uid::effective().is_root() {
            return Ok(Self(None));
        }
        for name in ["postgres", "nobody"] {
            if let Some(user) = User::from_name(name).context("look up the server's account")? {
                return Ok(Self(Some(user)));
            }
        }
        anyhow::bail!(
            "PostgreSQL does not run as root and there is no account `postgres` or `nobody`; \
             create one: useradd --system postgres"
        )
    }

    /// A command that runs under this account, without PG* settings of the caller's environment.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        command.env("LC_ALL", "C").env("TZ", "UTC").current_dir("/");
        if let Some(user) = &self.0 {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
    }

    /// Gives a file or directory to the account.
    pub(crate) fn own(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(user) = &self.0 {
            chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
                .with_context(|| format!("give {} to {}", path.display(), user.name))?;
        }
        Ok(())
    }

    /// The first temporary directory the account can get to: `$TMPDIR` may lie in a directory that
    /// only root may enter.
    pub(crate) fn temporary_dir(&self) -> PathBuf {
        let preferred = std::env::temp_dir();
        if self.0.is_none() || can_be_entered_by_all(&preferred) {
            return preferred;
        }
        PathBuf::from("/tmp")
    }

    /// Whether the account can start a program that lies there.
    pub(crate) fn can_enter(&self, dir: &Path) -> bool {
        self.0.is_none() || can_be_entered_by_all(dir)
    }
}

fn can_be_entered_by_all(dir: &Path) -> bool {
    dir.ancestors().all(|each| {
        each.as_os_str().is_empty()
            || fs::metadata(each).is_ok_and(|found| found.permissions().mode() & 0o001 != 0)
    })
}
