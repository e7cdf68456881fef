//! What a demonstration ends with.

use serde::Serialize;

/// The last object of `cargo xtask demo --json`.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Report {
    /// Requests sent by all clients.
    pub requests: u64,
    /// Requests that went wrong for their user.
    pub failed: u64,
    /// Writes answered with success.
    pub writes_acked: u64,
    /// Acknowledged writes missing in one of the two databases at the end.
    pub writes_lost: u64,
    /// Writes that exist more than once in one of the two databases.
    pub writes_duplicated: u64,
    /// Writes whose client left, found in one database only.
    pub writes_torn: u64,
    /// From the command to the released writes, of the slower of the two cutovers, in ms.
    pub cutover_ms: u64,
    /// Each cutover, in ms.
    pub cutovers_ms: Vec<u64>,
    /// Writes under way during a hold: median and 99th percentile of their time, in ms.
    pub hold_ms_p50: u64,
    /// See above.
    pub hold_ms_p99: u64,
    /// Writes that were under way during a hold.
    pub held_writes: u64,
    /// The rollback, in ms.
    pub rollback_ms: u64,
    /// Rows compared on both sides at the end.
    pub verified_rows: u64,
    /// Of them, rows that differ.
    pub verified_differences: u64,
    /// Shadow reads compared, and of them different.
    pub shadow_compared: u64,
    /// See above.
    pub shadow_mismatched: u64,
    /// The first failures, in words.
    pub examples: Vec<String>,
}

impl Report {
    /// The report for a person.
    pub(crate) fn in_words(&self) -> String {
        let mut text = format!(
            "\n{} requests, {} failed\n\
             {} writes acknowledged: {} lost, {} duplicated, {} torn\n\
             cutovers {:?} ms, rollback {} ms\n\
             {} writes met a hold: p50 {} ms, p99 {} ms\n\
             {} shadow reads compared, {} differed\n\
             {} rows verified on both sides, {} differ",
            self.requests,
            self.failed,
            self.writes_acked,
            self.writes_lost,
            self.writes_duplicated,
            self.writes_torn,
            self.cutovers_ms,
            self.rollback_ms,
            self.held_writes,
            self.hold_ms_p50,
            self.hold_ms_p99,
            self.shadow_compared,
            self.shadow_mismatched,
            self.verified_rows,
            self.verified_differences,
        );
        for example in &self.examples {
            text.push_str("\n  ");
            text.push_str(example);
        }
        text
    }

    /// Whether the promise was kept.
    ///
    /// # Errors
    /// Names what was not.
    pub(crate) fn verdict(&self) -> anyhow::Result<()> {
        let broken = [
            ("failed requests", self.failed),
            ("lost writes", self.writes_lost),
            ("duplicated writes", self.writes_duplicated),
            ("torn writes", self.writes_torn),
            ("different rows", self.verified_differences),
            ("different shadow reads", self.shadow_mismatched),
        ];
        let broken: Vec<String> = broken
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(what, count)| format!("{count} {what}"))
            .collect();
        anyhow::ensure!(broken.is_empty(), "the promise was broken: {}", broken.join(", "));
        Ok(())
    }
}

/// The value below which `share` (0 to 1) of the values lie; 0 without values.
pub(crate) fn quantile(values: &mut [u64], share: f64) -> u64 {
    values.sort_unstable();
    let last = values.len().saturating_sub(1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rank among far fewer than 2^52 values"
    )]
    let rank = (last as f64 * share).ceil() as usize;
    values.get(rank).copied().unwrap_or(0)
}
