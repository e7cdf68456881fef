//! Waiting between attempts to reach another part of Ficus.

use std::time::Duration;

/// Doubles from the first to the last, a quarter of it random so that proxies do not come together.
const FIRST: Duration = Duration::from_millis(50);
const LAST: Duration = Duration::from_secs(2);

/// Grows with every wait until reset.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Backoff {
    pub(crate) const fn new() -> Self {
        Self(FIRST)
    }

    /// The other part answered: the next wait is short again.
    pub(crate) const fn reset(&mut self) {
        self.0 = FIRST;
    }

    pub(crate) async fn wait(&mut self) {
        let wait = self.0.mul_f64(rand::random_range(0.75..1.0));
        self.0 = (self.0 * 2).min(LAST);
        tokio::time::sleep(wait).await;
    }
}
