//! Waiting for a condition with a bound, in place of sleeping and hoping.

use std::panic::Location;
use std::time::Duration;

use tokio::time::Instant;

/// Pause between two looks: short enough not to be felt, long enough not to load the machine.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Asks `condition` again and again until it answers `Some`, for at most `bound`.
///
/// # Errors
/// The condition's own error, at once; or that the bound has passed, with the caller's place.
#[track_caller]
pub fn wait_until<T, F, Fut>(
    bound: Duration,
    mut condition: F,
) -> impl Future<Output = anyhow::Result<T>>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = anyhow::Result<Option<T>>>,
{
    let place = Location::caller();
    async move {
        let deadline = Instant::now() + bound;
        loop {
            let answer = tokio::time::timeout_at(deadline, condition()).await;
            match answer {
                Ok(Ok(Some(value))) => return Ok(value),
                Ok(Ok(None)) if Instant::now() < deadline => {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                Ok(Err(error)) => return Err(error),
                Ok(Ok(None)) | Err(_) => {
                    anyhow::bail!("the condition awaited at {place} was not met within {bound:?}");
                }
            }
        }
    }
}
