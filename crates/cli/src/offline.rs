//! `ficus check`, `plan`, `schema`, `completions`: nothing of Ficus needs to run.

use std::io::Write;
use std::path::Path;

use clap::CommandFactory;
use serde_json::json;

use crate::args::{Arguments, Check, Plan, Schema};
use crate::config;
use crate::exit::Failure;
use crate::output::Output;

/// Everything that is wrong with the file and, with `--connect`, with the databases.
pub(crate) async fn check(path: &Path, check: &Check, out: &Output) -> anyhow::Result<()> {
    let text = config::read(path)?;
    let config = match config::parse(path, &text) {
        Ok(config) => config,
        Err(problems) => {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            out.object(&json!({ "ok": false, "problems": lines, "findings": [] }))?;
            return Err(Failure::Usage(lines.join("\n")).into());
        }
    };
    let findings = if check.connect { control::check_connect(&config).await } else { Vec::new() };
    let errors = findings.iter().filter(|finding| finding.is_error()).count();
    out.object(
        &json!({ "ok": errors == 0, "problems": [], "findings": findings, "config": config }),
    )?;
    for finding in &findings {
        out.line(&finding.to_string())?;
    }
    if errors > 0 {
        return Err(Failure::Refused(format!(
            "{errors} of {} findings must be mended first",
            findings.len()
        ))
        .into());
    }
    out.line(&format!(
        "{}: {} capabilities, {} routes, {} tables{}",
        path.display(),
        config.capabilities.len(),
        config.capabilities.values().map(|each| each.routes.len()).sum::<usize>(),
        config.capabilities.values().map(|each| each.tables.len()).sum::<usize>(),
        if check.connect { "; the databases are ready" } else { "" },
    ))
}

/// What a new file would change.
pub(crate) fn plan(plan: &Plan, out: &Output) -> anyhow::Result<()> {
    let (old, new) =
        (config::load_without_secrets(&plan.old)?, config::load_without_secrets(&plan.new)?);
    let changes = routes::plan(&old, &new);
    out.object(&json!({ "changes": changes }))?;
    if changes.is_empty() {
        return out.line("no change");
    }
    for change in &changes {
        out.line(&change.to_string())?;
    }
    Ok(())
}

/// The JSON Schema, or the page of keys.
pub(crate) fn schema(schema: &Schema) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    if schema.markdown {
        stdout.write_all(routes::markdown().as_bytes())?;
        return Ok(());
    }
    serde_json::to_writer_pretty(&mut stdout, &routes::schema())?;
    writeln!(stdout)?;
    Ok(())
}

/// The shell's completion script.
pub(crate) fn completions(shell: clap_complete::Shell) {
    clap_complete::generate(shell, &mut Arguments::command(), "ficus", &mut std::io::stdout());
}
