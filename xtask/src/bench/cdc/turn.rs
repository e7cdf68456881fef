//! One contestant does one workload once, in databases of its own.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::sleep;

use super::contestant::Contestant;
use super::cost::{Figures, Meter};
use super::idle;
use super::lag::{self, Load, Pace};
use super::pair::Pair;
use super::replicator::{Ficus, Native, Replicator, Start};
use super::workload::{Method, Workload};
use super::{CdcBench, pgcopydb, raw};

/// What the mark is set to; far from what a load makes of a version.
const MARK: i32 = 500_000_000;

/// The load runs this long before a copy under load begins.
const LOADED_FOR: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug)]
pub(super) struct Turn<'a> {
    pub(super) bench: &'a CdcBench,
    pub(super) pair: &'a Pair,
    pub(super) ficus: &'a Path,
    /// For configuration and logs of this turn.
    pub(super) dir: &'a Path,
    pub(super) workload: Workload,
    pub(super) contestant: Contestant,
    /// Slots and origins belong to the whole cluster: every turn has a name of its own.
    pub(super) database: &'a str,
}

impl Turn<'_> {
    /// Lays out the table, measures, and proves that both sides are equal.
    ///
    /// # Errors
    /// [`super::pair::Different`], or that something did not work.
    pub(super) async fn take(&self) -> anyhow::Result<Figures> {
        let (pair, database, scale) = (self.pair, self.database, self.bench.scale);
        let shape = self.workload.shape();
        pair.lay_out(database, shape, self.workload.rows(scale)).await?;
        let figures = match self.workload.method() {
            Method::Copy => self.copy().await?,
            Method::Backlog => self.backlog().await?,
            Method::Latency => self.latency().await?,
            Method::CopyUnderLoad => self.copy_under_load().await?,
            Method::Idle => self.idle().await?,
            Method::Huge => self.huge().await?,
        };
        pair.ensure_equal(database).await?;
        Ok(figures)
    }

    async fn copy(&self) -> anyhow::Result<Figures> {
        let Self { pair, database, bench, .. } = *self;
        let shape = self.workload.shape();
        match self.contestant {
            Contestant::RawCopy => {}
            Contestant::RawCopyIndexesAfter => {
                let drop = "DROP INDEX bench_queue, bench_created";
                pair.target.execute(database, drop).await?;
            }
            Contestant::Pgcopydb => pair.target.execute(database, "DROP TABLE bench").await?,
            Contestant::Native | Contestant::NativeDurable | Contestant::Ficus => {
                let replicator = self.replicator().await?;
                let figures = self.started(&replicator).await?;
                return self.with_peak(figures, replicator).await;
            }
        }
        let meter = Meter::begin(pair, Vec::new())?;
        match self.contestant {
            Contestant::RawCopyIndexesAfter => {
                raw::copy_then_index(pair, database, bench.streams, shape.indexes()).await?;
            }
            Contestant::Pgcopydb => {
                pgcopydb::clone(pair, database, bench.streams, self.dir).await?;
            }
            Contestant::RawCopy
            | Contestant::Native
            | Contestant::NativeDurable
            | Contestant::Ficus => raw::copy(pair, database, bench.streams).await?,
        }
        Ok(meter.end()?.figures(self.measured_rows()))
    }

    /// The writes wait in the source's log; the clock runs from letting go until the target has the last.
    async fn backlog(&self) -> anyhow::Result<Figures> {
        let Self { pair, database, .. } = *self;
        let replicator = self.follow().await?;
        replicator.pause(pair).await?;
        pair.write(database, &self.load()?, MARK).await?;
        pair.checkpoint().await?;
        let target = pair.target.connect(database).await?;
        let meter = Meter::begin(pair, replicator.processes())?;
        replicator.resume(pair).await?;
        pair.until_marked(&target, MARK).await?;
        let figures = meter.end()?.figures(self.measured_rows());
        self.with_peak(figures, replicator).await
    }

    async fn latency(&self) -> anyhow::Result<Figures> {
        let replicator = self.follow().await?;
        let duration = Duration::from_secs(self.bench.lag_seconds.into());
        let processes = replicator.processes();
        let pace = (self.pace(), duration);
        let figures = lag::measure(self.pair, self.database, pace, processes).await?;
        self.with_peak(figures, replicator).await
    }

    async fn copy_under_load(&self) -> anyhow::Result<Figures> {
        let Self { pair, database, .. } = *self;
        let replicator = self.replicator().await?;
        let load = Load::begin(pair, database, self.pace()).await?;
        sleep(LOADED_FOR).await;
        let mut figures = self.started(&replicator).await?;
        let written = load.end().await?;
        let meter = Meter::begin(pair, Vec::new())?;
        written.until_seen(pair, database).await?;
        figures.extend([("caught_up_s", meter.end()?.seconds), ("rate", written.rate())]);
        self.with_peak(figures, replicator).await
    }

    async fn idle(&self) -> anyhow::Result<Figures> {
        let replicator = self.follow().await?;
        let duration = Duration::from_secs_f64(self.bench.idle_minutes * 60.0);
        let figures = idle::measure(self.pair, self.database, duration).await?;
        self.with_peak(figures, replicator).await
    }

    /// Nobody is paused: what is measured is what is held at once.
    async fn huge(&self) -> anyhow::Result<Figures> {
        let Self { pair, database, .. } = *self;
        let replicator = self.replicator().await?;
        let copied = self.started(&replicator).await?;
        let figures = match self.workload.load(self.bench.scale) {
            None => copied,
            Some(load) => {
                let target = pair.target.connect(database).await?;
                let meter = Meter::begin(pair, replicator.processes())?;
                pair.write(database, &load, MARK).await?;
                pair.until_marked(&target, MARK).await?;
                meter.end()?.figures(self.measured_rows())
            }
        };
        self.with_peak(figures, replicator).await
    }

    /// One that has copied the table, and a target that knows the table's size, whoever copied it.
    async fn follow(&self) -> anyhow::Result<Replicator> {
        let replicator = self.replicator().await?;
        replicator.start(self.pair).await?;
        self.pair.target.execute(self.database, "VACUUM (ANALYZE) bench").await?;
        self.pair.checkpoint().await?;
        Ok(replicator)
    }

    /// One that has not begun.
    async fn replicator(&self) -> anyhow::Result<Replicator> {
        let start = Start { program: self.ficus, dir: self.dir, streams: self.bench.streams };
        match self.contestant {
            Contestant::Native => Ok(Replicator::Native(Native::new(self.database, "off"))),
            Contestant::NativeDurable => Ok(Replicator::Native(Native::new(self.database, "on"))),
            Contestant::Ficus => {
                let ficus = Ficus::prepare(self.pair, self.database, start).await?;
                Ok(Replicator::Ficus(Box::new(ficus)))
            }
            Contestant::RawCopy | Contestant::RawCopyIndexesAfter | Contestant::Pgcopydb => {
                bail!("{} copies and does not follow", self.contestant.name())
            }
        }
    }

    async fn started(&self, replicator: &Replicator) -> anyhow::Result<Figures> {
        let meter = Meter::begin(self.pair, replicator.processes())?;
        replicator.start(self.pair).await?;
        Ok(meter.end()?.figures(self.workload.rows(self.bench.scale)))
    }

    async fn with_peak(
        &self,
        mut figures: Figures,
        replicator: Replicator,
    ) -> anyhow::Result<Figures> {
        let peak = replicator.stop(self.pair).await?;
        figures.extend(peak.map(|mb| ("peak_rss_mb", mb)));
        Ok(figures)
    }

    fn pace(&self) -> Pace {
        Pace { rate: self.bench.rate, rows: self.workload.rows(self.bench.scale) }
    }

    fn measured_rows(&self) -> u32 {
        self.workload.measured_rows(self.bench.scale)
    }

    fn load(&self) -> anyhow::Result<String> {
        self.workload.load(self.bench.scale).context("a backlog has a load")
    }
}
