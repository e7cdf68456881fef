//! Finding a PostgreSQL server on this machine, wherever the platform puts it.
//!
//! A client package alone is not enough: a directory counts only when `initdb`, `pg_ctl` and
//! `postgres` are in it, the logical decoding plug-in `pgoutput` is beside it, and the version is
//! new enough.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::Uid;

use crate::account::Account;
use crate::packages::{Need, PackageManager};

/// The oldest PostgreSQL major version the project works with (row filters and column lists of
/// publications came with it).
pub const MAJOR_MIN: u32 = 15;

/// A usable PostgreSQL server installation.
#[derive(Debug, Clone)]
pub struct Binaries {
    bin_dir: PathBuf,
    major: u32,
}

impl Binaries {
    /// Finds a server: `$PG_BIN_DIR` (alone, when it is set), then `pg_config`, the places of the
    /// Linux distributions and Homebrew (newest first), `PATH`, and what `cargo xtask setup`
    /// unpacked.
    ///
    /// # Errors
    /// When there is none; the message names the command that installs one.
    pub fn find() -> anyhow::Result<Self> {
        let account = Account::for_servers()?;
        if let Some(named) = std::env::var_os("PG_BIN_DIR") {
            let named = PathBuf::from(named);
            return Self::accept(&named, &account).map_err(|reason| {
                anyhow::anyhow!("PG_BIN_DIR={} is not usable: {reason}", named.display())
            });
        }
        let mut refused = Vec::new();
        for dir in candidates() {
            match Self::accept(&dir, &account) {
                Ok(found) => return Ok(found),
                Err(reason) => refused.push(format!("  {}: {reason}", dir.display())),
            }
        }
        let install = PackageManager::detect()
            .map(|manager| format!("{}\nor: ", manager.install_line(&[Need::PostgreSql])))
            .unwrap_or_default();
        let refused = if refused.is_empty() {
            String::new()
        } else {
            format!("\nlooked at and refused:\n{}", refused.join("\n"))
        };
        anyhow::bail!(
            "no PostgreSQL server of version {MAJOR_MIN} or newer was found; type\n\
             {install}cargo xtask setup\nor set PG_BIN_DIR to the directory with initdb, pg_ctl \
             and postgres{refused}"
        )
    }

    /// The server whose programs lie in `dir`.
    ///
    /// # Errors
    /// When it is not usable; the message says why.
    pub fn at(dir: &Path) -> anyhow::Result<Self> {
        Self::accept(dir, &Account::for_servers()?)
            .map_err(|reason| anyhow::anyhow!("{} is not usable: {reason}", dir.display()))
    }

    /// The directory with the programs.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.bin_dir
    }

    /// The major version, for example 15.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The path of one program.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin_dir.join(name)
    }

    fn accept(dir: &Path, account: &Account) -> Result<Self, String> {
        let bin_dir = dir.canonicalize().map_err(|_| "there is no such directory".to_owned())?;
        if !account.can_enter(&bin_dir) {
            return Err("the server's account may not enter it".to_owned());
        }
        if let Some(missing) =
            ["initdb", "pg_ctl", "postgres"].into_iter().find(|name| !dir.join(name).is_file())
        {
            return Err(format!("no {missing}"));
        }
        // A symbolic link such as /usr/bin/postgres leads to the real place on some platforms.
        let bin_dir = bin_dir
            .join("postgres")
            .canonicalize()
            .ok()
            .and_then(|real| real.parent().map(Path::to_owned))
            .filter(|real| real.join("initdb").is_file() && real.join("pg_ctl").is_file())
            .unwrap_or(bin_dir);
        let version = output_of(&bin_dir.join("postgres"), "--version")
            .ok_or_else(|| "postgres --version fails".to_owned())?;
        let major = major_of(&version).ok_or_else(|| format!("unknown version: {version}"))?;
        if major < MAJOR_MIN {
            return Err(format!("version {major} is older than {MAJOR_MIN}"));
        }
        if !has_pgoutput(&bin_dir, major) {
            return Err("no pgoutput library".to_owned());
        }
        Ok(Self { bin_dir, major })
    }
}

/// Where `cargo xtask setup` unpacks server binaries when no package manager may be used.
///
/// It is the user's cache directory; for root a system directory, because the account the server
/// runs under may not enter root's home.
#[must_use]
pub fn unpack_dir() -> PathBuf {
    let cache = if Uid::effective().is_root() {
        PathBuf::from("/var/cache")
    } else {
        let home = || std::env::home_dir().unwrap_or_else(std::env::temp_dir).join(".cache");
        std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from)
    };
    cache.join("ficus").join("postgresql")
}

fn candidates() -> Vec<PathBuf> {
    let mut found = Vec::new();
    found.extend(output_of(Path::new("pg_config"), "--bindir").map(PathBuf::from));
    found.extend(newest_first("/usr/lib/postgresql", "", "bin"));
    found.extend(newest_first("/usr", "pgsql-", "bin"));
    found.extend(newest_first("/usr/libexec", "postgresql", ""));
    found.extend(newest_first("/usr/lib", "postgresql", "bin"));
    found.extend(newest_first("/opt/homebrew/opt", "postgresql@", "bin"));
    found.extend(newest_first("/usr/local/opt", "postgresql@", "bin"));
    if let Some(path) = std::env::var_os("PATH") {
        found.extend(std::env::split_paths(&path).filter(|dir| dir.join("postgres").is_file()));
    }
    if let Some(parent) = unpack_dir().to_str() {
        found.extend(newest_first(parent, "", "bin"));
    }
    found
}

/// `parent/<prefix><major>…/<suffix>` for every such directory, highest major version first.
fn newest_first(parent: &str, prefix: &str, suffix: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    let mut dirs: Vec<(u32, PathBuf)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = leading_number(name.strip_prefix(prefix)?)?;
            Some((version, entry.path().join(suffix)))
        })
        .collect();
    dirs.sort_by_key(|(version, _)| Reverse(*version));
    dirs.into_iter().map(|(_, dir)| dir).collect()
}

fn has_pgoutput(bin_dir: &Path, major: u32) -> bool {
    let beside = |relative: &str| bin_dir.join(relative);
    let mut dirs = vec![
        beside("../lib"),
        beside("../lib64"),
        beside("../lib/postgresql"),
        beside("../lib64/postgresql"),
        beside("../lib/pgsql"),
        beside("../lib64/pgsql"),
        beside(&format!("../../lib/postgresql{major}")),
    ];
    dirs.extend(output_of(&bin_dir.join("pg_config"), "--pkglibdir").map(PathBuf::from));
    dirs.iter().any(|dir| {
        ["pgoutput.so", "pgoutput.dylib"].iter().any(|library| dir.join(library).is_file())
    })
}

fn output_of(program: &Path, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    if !output.status.success() {
        return None;
    }
    String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
}

/// The major version in `postgres (PostgreSQL) 15.9 (Debian 15.9-0+deb12u1)` or in `18beta1`.
fn major_of(version: &str) -> Option<u32> {
    version.split_whitespace().find_map(leading_number)
}

fn leading_number(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.get(..end)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_every_form_of_the_version_line() {
        let cases = [
            ("postgres (PostgreSQL) 15.9 (Debian 15.9-0+deb12u1)", Some(15)),
            ("postgres (PostgreSQL) 18beta1", Some(18)),
            ("postgres (PostgreSQL) 17.2", Some(17)),
            ("nothing of the kind", None),
        ];
        for (line, expected) in cases {
            assert_eq!(major_of(line), expected, "{line}");
        }
    }

    #[test]
    fn the_highest_version_is_tried_first() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        for name in ["9.6", "15", "17", "notes"] {
            std::fs::create_dir_all(parent.path().join(name).join("bin")).expect("a directory");
        }
        let found = newest_first(parent.path().to_str().expect("text"), "", "bin");
        let order: Vec<_> =
            found.iter().map(|dir| dir.strip_prefix(parent.path()).expect("inside")).collect();
        assert_eq!(order, [Path::new("17/bin"), Path::new("15/bin"), Path::new("9.6/bin")]);
    }

    #[test]
    fn a_directory_without_a_server_is_refused_with_the_reason() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let account = Account::for_servers().expect("an account");
        std::fs::write(dir.path().join("initdb"), "").expect("write");
        // Enter rights first: a temporary directory is private to its maker.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(dir.path(), mode).expect("set permissions");
        let reason = Binaries::accept(dir.path(), &account).expect_err("not a server");
        assert_eq!(reason, "no pg_ctl");
    }
}
