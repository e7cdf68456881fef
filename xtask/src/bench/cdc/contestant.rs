//! Who is measured.

/// A program, or one way of running it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Contestant {
    /// `psql COPY TO STDOUT | psql COPY FROM STDIN`, binary, one pair for each stream.
    RawCopy,
    /// The same into a table that gets its secondary indexes and `ANALYZE` afterwards.
    RawCopyIndexesAfter,
    Pgcopydb,
    /// A subscription as it is created by default: its commits are not flushed one by one.
    Native,
    /// A subscription that flushes each commit, as Ficus does.
    NativeDurable,
    Ficus,
}

impl Contestant {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::RawCopy => "raw_copy",
            Self::RawCopyIndexesAfter => "raw_copy_indexes_after",
            Self::Pgcopydb => "pgcopydb",
            Self::Native => "native",
            Self::NativeDurable => "native_durable",
            Self::Ficus => "ficus",
        }
    }
}
