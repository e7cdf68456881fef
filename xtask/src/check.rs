//! `cargo xtask check`: everything that looks at the code without running the product.

use crate::steps::{Steps, cargo, output, run};
use crate::tidy;

/// Check formatting, repository rules, lints, documentation and dependencies.
#[derive(Debug, clap::Args)]
pub(crate) struct Check {}

impl Check {
    /// Runs every check and fails when one of them does.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let done = check_all()?;
        println!("check: {done} of {done} steps passed");
        Ok(())
    }
}

/// Runs every check; the number of checks done.
pub(crate) fn check_all() -> anyhow::Result<usize> {
    let mut steps = Steps::default();
    steps.run("formatting", || run(&mut cargo(&["fmt", "--all", "--check"])));
    steps.run("repository rules", tidy::run);
    steps.run("lints", || {
        let lints = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
        run(&mut cargo(&lints))
    });
    steps.run("documentation", || {
        run(cargo(&["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
    });
    if output(&mut cargo(&["deny", "--version"])).is_ok() {
        steps.run("dependencies", || {
            run(&mut cargo(&[
                "deny",
                "check",
                "--hide-inclusion-graph",
                "bans",
                "licenses",
                "sources",
            ]))
        });
    } else {
        println!(
            "── dependencies: skipped, cargo-deny is not installed \
             (cargo install cargo-deny --locked)"
        );
    }
    steps.finish()
}
