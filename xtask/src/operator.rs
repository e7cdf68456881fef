//! Types the commands an operator would type, and reads their answers.

use anyhow::{Context, bail};
use serde_json::Value;

use crate::world::World;

/// Runs `ficus … --json` and answers its last object.
pub(crate) async fn ficus(world: &World, arguments: &[&str]) -> anyhow::Result<Value> {
    let output = world.ficus(arguments).arg("--json").output().await?;
    if !output.status.success() {
        bail!(
            "ficus {} ended with {}:\n{}{}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr),
            String::from_utf8_lossy(&output.stdout),
        );
    }
    last_object(&output.stdout)
}

/// The last line of a command's standard output.
pub(crate) fn last_object(stdout: &[u8]) -> anyhow::Result<Value> {
    let text = String::from_utf8_lossy(stdout);
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    let line = line.context("the command printed nothing on standard output")?;
    serde_json::from_str(line).with_context(|| format!("not a JSON object: {line}"))
}

/// A number of the object; 0 when it is not there.
pub(crate) fn number(object: &Value, key: &str) -> u64 {
    object.get(key).and_then(Value::as_u64).unwrap_or(0)
}

/// Progress goes to standard error, so that standard output is the result alone.
pub(crate) fn talk(text: &str) {
    eprintln!("{text}");
}
