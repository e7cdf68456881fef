//! A world whose proxy has one policy for every request.

use anyhow::Context;

use crate::world::{Setup, World};

/// Starts a world and puts `[policies.standard]` with these keys into force, and further sections.
pub(crate) async fn start(setup: Setup, keys: &str, sections: &str) -> anyhow::Result<World> {
    let world = World::start(setup).await?;
    let text = world.text().replacen("subject = ", "policy = \"standard\"\nsubject = ", 1);
    let text = format!("{text}\n[policies.standard]\n{keys}\n{sections}");
    crate::world::parse(&text).context("the policy is valid")?;
    std::fs::write(world.path(), text)?;
    let outcome = world.proxy.reload.reload().await?;
    // Unchanged: the proxy saw the new file by itself before it was asked.
    anyhow::ensure!(matches!(outcome.as_str(), "applied" | "unchanged"), "{outcome:?}");
    Ok(world)
}

/// A world without control.
pub(crate) async fn plain(keys: &str) -> anyhow::Result<World> {
    start(Setup { has_control: false, ..Setup::default() }, keys, "").await
}
