//! Makes the operations of a failed case fewer while it still fails.

use std::time::Duration;

use tokio::time::Instant;

use crate::{case::Case, lane::Lane};

/// Longest to spend on one case.
const PATIENCE: Duration = Duration::from_secs(30);

/// The failed case in words, with as few operations as were found.
pub(crate) async fn explain(lane: &Lane, seed: u64, error: &anyhow::Error) -> String {
    let mut case = Case::new(seed, lane);
    let all = case.script.steps.len();
    let mut last = None;
    let deadline = Instant::now() + PATIENCE;
    let mut chunk = all;
    while chunk > 0 && Instant::now() < deadline {
        let mut from = 0;
        let mut is_smaller = false;
        while from < case.script.steps.len() && Instant::now() < deadline {
            let mut smaller = case.clone();
            let to = (from + chunk).min(smaller.script.steps.len());
            smaller.script.steps.drain(from..to);
            match lane.run(&smaller).await {
                Err(error) if chunk < all => {
                    last = Some(error);
                    case = smaller;
                    is_smaller = true;
                }
                Ok(_) | Err(_) => from = to,
            }
        }
        if !is_smaller || chunk == all {
            chunk /= 2;
        }
    }
    let now = last.map(|last| format!("with fewer operations: {last:#}\n")).unwrap_or_default();
    let left = case.script.steps.len();
    format!(
        "\nseed {seed}: {error:#}\n{now}{left} of {all} operations:\n{case}\n\
         again: FICUS_PROPERTY_SEED={seed} cargo test -p cdc --test property\n"
    )
}
