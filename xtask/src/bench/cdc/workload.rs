//! What is copied, written and followed: the workloads, their tables and their sizes at full scale.

use clap::ValueEnum;

use super::contestant::Contestant;

/// Rows of one of the larger transactions.
const BATCH: u32 = 100;

/// One measurement. The names are those of `--only`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Workload {
    /// 2 million rows of about 227 bytes, primary key.
    CopyNarrow,
    /// The same with two secondary indexes.
    CopyIndexed,
    /// 200 thousand rows of 4 kB, stored outside of the row.
    CopyWide,
    /// One transaction that inserts a million rows.
    InsertMillion,
    /// 500 thousand updates in transactions of 100.
    #[value(name = "updates-100")]
    Updates100,
    /// 150 thousand updates, each a transaction.
    OneRow,
    /// 100 thousand updates of wide rows that leave the 4 kB value as it is.
    UnchangedToast,
    /// The time from commit to visible at a fixed rate.
    Latency,
    /// The copy of `copy-narrow` while the table is written to at that rate.
    CopyUnderLoad,
    /// What the source keeps of its log for an idle database beside a busy one.
    Idle,
    /// Memory during one transaction of 10 million rows.
    HugeTransaction,
    /// Memory during the copy of 5 GB.
    HugeCopy,
}

/// A table's columns and indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Nine columns, about 227 bytes a row with its header.
    Narrow,
    Indexed,
    /// A value of 4096 bytes that is stored outside of the row, uncompressed.
    Wide,
}

/// How a workload is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Copy,
    /// The writes wait in the source's log until the clock starts.
    Backlog,
    Latency,
    CopyUnderLoad,
    Idle,
    Huge,
}

impl Workload {
    /// All that a run without `--only` measures: everything that takes neither much disk nor much time.
    pub(super) const ORDINARY: [Self; 9] = [
        Self::CopyNarrow,
        Self::CopyIndexed,
        Self::CopyWide,
        Self::InsertMillion,
        Self::Updates100,
        Self::OneRow,
        Self::UnchangedToast,
        Self::Latency,
        Self::CopyUnderLoad,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::CopyNarrow => "copy-narrow",
            Self::CopyIndexed => "copy-indexed",
            Self::CopyWide => "copy-wide",
            Self::InsertMillion => "insert-million",
            Self::Updates100 => "updates-100",
            Self::OneRow => "one-row",
            Self::UnchangedToast => "unchanged-toast",
            Self::Latency => "latency",
            Self::CopyUnderLoad => "copy-under-load",
            Self::Idle => "idle",
            Self::HugeTransaction => "huge-transaction",
            Self::HugeCopy => "huge-copy",
        }
    }

    pub(super) const fn shape(self) -> Shape {
        match self {
            Self::CopyIndexed => Shape::Indexed,
            Self::CopyWide | Self::UnchangedToast => Shape::Wide,
            Self::CopyNarrow
            | Self::InsertMillion
            | Self::Updates100
            | Self::OneRow
            | Self::Latency
            | Self::CopyUnderLoad
            | Self::Idle
            | Self::HugeTransaction
            | Self::HugeCopy => Shape::Narrow,
        }
    }

    pub(super) const fn method(self) -> Method {
        match self {
            Self::CopyNarrow | Self::CopyIndexed | Self::CopyWide => Method::Copy,
            Self::InsertMillion | Self::Updates100 | Self::OneRow | Self::UnchangedToast => {
                Method::Backlog
            }
            Self::Latency => Method::Latency,
            Self::CopyUnderLoad => Method::CopyUnderLoad,
            Self::Idle => Method::Idle,
            Self::HugeTransaction | Self::HugeCopy => Method::Huge,
        }
    }

    /// Rows of the table before anything is measured.
    pub(super) fn rows(self, scale: f64) -> u32 {
        scaled(
            match self {
                Self::CopyNarrow | Self::CopyIndexed | Self::CopyUnderLoad => 2_000_000,
                Self::CopyWide => 200_000,
                Self::InsertMillion | Self::HugeTransaction => return 0,
                Self::Updates100 | Self::OneRow => 500_000,
                Self::UnchangedToast | Self::Latency => 100_000,
                Self::Idle => 1_000,
                Self::HugeCopy => 22_000_000,
            },
            scale,
        )
    }

    /// Rows that are copied or changed while it is measured; 0 where the time says how many.
    pub(super) fn measured_rows(self, scale: f64) -> u32 {
        match self {
            Self::InsertMillion => scaled(1_000_000, scale),
            Self::OneRow => scaled(150_000, scale),
            Self::HugeTransaction => scaled(10_000_000, scale),
            Self::CopyNarrow
            | Self::CopyIndexed
            | Self::CopyWide
            | Self::CopyUnderLoad
            | Self::HugeCopy
            | Self::Updates100
            | Self::UnchangedToast => self.rows(scale),
            Self::Latency | Self::Idle => 0,
        }
    }

    /// The statement that writes the measured rows; `None` where the copy or a fixed rate is measured.
    pub(super) fn load(self, scale: f64) -> Option<String> {
        let (rows, measured) = (self.rows(scale), self.measured_rows(scale));
        let updates = |set: &str, step: u32, condition: &str| {
            format!(
                "DO $$ BEGIN FOR i IN 0..{measured} - 1 BY {step} LOOP
                     UPDATE bench SET {set} WHERE {condition};
                     COMMIT;
                 END LOOP; END $$"
            )
        };
        let in_order = format!("id > i AND id <= least(i + {BATCH}, {rows})");
        let narrow = "version = version + 1, amount = amount + 1, note = md5(i::text)";
        match self {
            Self::InsertMillion | Self::HugeTransaction => Some(self.shape().fill(1, measured)),
            Self::Updates100 => Some(updates(narrow, BATCH, &in_order)),
            Self::OneRow => {
                Some(updates(narrow, 1, &format!("id = i * 7919::bigint % {rows} + 1")))
            }
            Self::UnchangedToast => {
                let set = "version = version + 1, title = 'Ticket of round ' || i";
                Some(updates(set, BATCH, &in_order))
            }
            Self::CopyNarrow
            | Self::CopyIndexed
            | Self::CopyWide
            | Self::Latency
            | Self::CopyUnderLoad
            | Self::Idle
            | Self::HugeCopy => None,
        }
    }

    /// Who takes part, in the order of the first round.
    pub(super) const fn contestants(self) -> &'static [Contestant] {
        use Contestant::{Ficus, Native, NativeDurable, Pgcopydb, RawCopy, RawCopyIndexesAfter};
        match self {
            Self::CopyNarrow | Self::CopyWide => &[RawCopy, Pgcopydb, Native, Ficus],
            Self::CopyIndexed => &[RawCopy, RawCopyIndexesAfter, Pgcopydb, Native, Ficus],
            Self::InsertMillion | Self::Updates100 | Self::OneRow | Self::UnchangedToast => {
                &[Native, NativeDurable, Ficus]
            }
            Self::Latency => &[Native, NativeDurable, Ficus],
            Self::CopyUnderLoad | Self::Idle | Self::HugeTransaction => &[Native, Ficus],
            Self::HugeCopy => &[Ficus],
        }
    }
}

impl Shape {
    /// The table without its secondary indexes.
    pub(super) const fn table(self) -> &'static str {
        match self {
            Self::Narrow | Self::Indexed => {
                "CREATE TABLE bench (
                     id bigint PRIMARY KEY, queue_id integer NOT NULL, state_id smallint NOT NULL,
                     version integer NOT NULL, amount numeric(12,2) NOT NULL,
                     created_at timestamptz NOT NULL, title varchar(200) NOT NULL, note text, body text)"
            }
            Self::Wide => {
                "CREATE TABLE bench (
                     id bigint PRIMARY KEY, version integer NOT NULL, title varchar(200) NOT NULL,
                     payload text NOT NULL);
                 ALTER TABLE bench ALTER payload SET STORAGE EXTERNAL"
            }
        }
    }

    pub(super) const fn indexes(self) -> &'static [&'static str] {
        match self {
            Self::Indexed => &[
                "CREATE INDEX bench_queue ON bench (queue_id, state_id)",
                "CREATE INDEX bench_created ON bench (created_at)",
            ],
            Self::Narrow | Self::Wide => &[],
        }
    }

    /// Adds the rows from one id to another.
    pub(super) fn fill(self, from: i64, to: u32) -> String {
        let values = match self {
            Self::Narrow | Self::Indexed => {
                "i, abs(i % 50), abs(i % 9), 0, (i % 100000)::numeric / 100,
                 timestamptz '2026-01-01 00:00:00Z' + i * interval '1 second',
                 'Ticket number ' || i, md5(i::text) || md5((i + 1)::text),
                 'Printer on floor ' || i % 40 || ' does not print since the last change'"
            }
            Self::Wide => "i, 0, 'Ticket number ' || i, repeat(md5(i::text), 128)",
        };
        format!("INSERT INTO bench SELECT {values} FROM generate_series({from}, {to}) AS i")
    }
}

fn scaled(rows: u32, scale: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the command line allows a scale from 0.0001 to 10 only"
    )]
    let scaled = (f64::from(rows) * scale).round() as u32;
    // whole transactions, so that every scale has some
    scaled.max(BATCH).next_multiple_of(BATCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_of_the_command_line_and_ficus_always_takes_part() {
        for workload in Workload::value_variants() {
            let typed = workload.to_possible_value().expect("no workload is hidden");
            assert_eq!(typed.get_name(), workload.name());
            assert!(workload.contestants().contains(&Contestant::Ficus), "{workload:?}");
        }
    }

    #[test]
    fn a_small_scale_still_has_whole_transactions() {
        assert_eq!(Workload::Updates100.rows(0.0001), 100);
        assert_eq!(Workload::Updates100.rows(0.001), 500);
        assert_eq!(Workload::InsertMillion.rows(1.0), 0);
    }
}
