//! The repository's own rules, as a check: `cargo xtask tidy`, and a test of this crate.
//!
//! Each rule is a function from what it looks at to a list of violations, so that the tests can
//! show it something wrong.

mod figures;
mod layers;
mod sources;

use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::steps::root;

/// Checks every rule and prints every violation.
pub(crate) fn run() -> anyhow::Result<()> {
    let violations = violations(&root())?;
    for violation in &violations {
        eprintln!("{violation}");
    }
    anyhow::ensure!(violations.is_empty(), "{} violations of the rules", violations.len());
    Ok(())
}

/// All violations in the repository at `root`, in a stable order.
fn violations(root: &Path) -> anyhow::Result<Vec<String>> {
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .exec()
        .context("read cargo metadata")?;
    let mut found = layers::violations(&metadata)?;
    for package in metadata.workspace_packages() {
        let manifest = fs::read_to_string(&package.manifest_path)
            .with_context(|| format!("read {}", package.manifest_path))?;
        found.extend(manifest_violation(&package.name, &manifest));
    }
    for file in sources::files(root)? {
        let text =
            fs::read(root.join(&file)).with_context(|| format!("read {}", file.display()))?;
        found.extend(sources::violations(&file, &String::from_utf8_lossy(&text)));
    }
    found.extend(figures::violations(root)?);
    found.sort();
    Ok(found)
}

/// Every package obeys the workspace's lints.
fn manifest_violation(package: &str, manifest: &str) -> Option<String> {
    let mut lines = manifest.lines().map(str::trim).skip_while(|line| *line != "[lints]").skip(1);
    let obeys = lines
        .by_ref()
        .take_while(|line| !line.starts_with('['))
        .any(|line| line.replace(' ', "") == "workspace=true");
    (!obeys).then(|| format!("{package}: Cargo.toml lacks `[lints] workspace = true`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_obeys_its_own_rules() {
        let violations = violations(&root()).expect("the repository can be read");
        assert!(violations.is_empty(), "violations:\n{}", violations.join("\n"));
    }

    #[test]
    fn a_manifest_without_the_lints_of_the_workspace_is_found() {
        let good = "[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n\n[dependencies]\n";
        assert_eq!(manifest_violation("a", good), None);
        let bad = "[package]\nname = \"a\"\n\n[lints]\n\n[dependencies]\nb.workspace = true\n";
        assert!(manifest_violation("a", bad).is_some());
        assert!(manifest_violation("a", "[dependencies]\nworkspace = true\n").is_some());
    }
}
