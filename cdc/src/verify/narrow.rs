//! From a range that differs to the rows that may: it is cut into parts, and only parts that differ are
//! read row by row.

use cutover::Side;

use super::{
    VerifyError,
    pass::Pass,
    table::{Digest, KeyRange, VerifiedTable},
};
use crate::{change::Key, dirty::LeadRange};

/// Parts of a cut.
const PARTS: u64 = 16;
/// A range with fewer rows than this is read row by row.
const LIST_ROWS: u64 = 512;
/// Neighbouring parts that differ are read row by row together up to this many rows.
const LIST_ROWS_MAX: u64 = 5_000;

impl Pass<'_> {
    /// The keys of the rows of a range that do not look the same on both sides. `source` and `target`
    /// are the digests of the range.
    pub(super) async fn narrow(
        &mut self,
        table: &VerifiedTable,
        range: KeyRange,
        (source, target): (Digest, Digest),
    ) -> Result<Vec<Key>, VerifyError> {
        let mut suspects = Vec::new();
        let mut open = vec![(range, source, target)];
        while let Some((range, source, target)) = open.pop() {
            let rows = source.rows.max(target.rows);
            if rows <= LIST_ROWS {
                self.list(table, &range, rows, &mut suspects).await?;
                continue;
            }
            let longer = if source.rows >= target.rows { Side::Source } else { Side::Target };
            let parts = self.cut(table, &range, longer, rows).await?;
            for (range, source, target) in together(parts) {
                let rows = source.rows.max(target.rows);
                if rows <= LIST_ROWS_MAX {
                    self.list(table, &range, rows, &mut suspects).await?;
                } else {
                    open.push((range, source, target));
                }
            }
        }
        suspects.sort_unstable();
        suspects.dedup();
        Ok(suspects)
    }

    /// The parts of a range that differ.
    async fn cut(
        &mut self,
        table: &VerifiedTable,
        range: &KeyRange,
        longer: Side,
        rows: u64,
    ) -> Result<Vec<(usize, KeyRange, Digest, Digest)>, VerifyError> {
        let every = rows.div_ceil(PARTS).max(1);
        let bounds = table.boundaries(self.client(longer), longer, range, every).await?;
        let ranges = parts_of(range, bounds);
        let (source, target) = tokio::join!(
            table.digests(self.source, Side::Source, &ranges),
            table.digests(self.target, Side::Target, &ranges)
        );
        let (source, target) = (source?, target?);
        self.rest_after(rows).await;
        let digests = source.into_iter().zip(target);
        Ok(ranges
            .into_iter()
            .zip(digests)
            .enumerate()
            .filter(|(_, (_, (source, target)))| source != target)
            .map(|(place, (range, (source, target)))| (place, range, source, target))
            .collect())
    }

    async fn list(
        &mut self,
        table: &VerifiedTable,
        range: &KeyRange,
        rows: u64,
        suspects: &mut Vec<Key>,
    ) -> Result<(), VerifyError> {
        // Rows may have come meanwhile; those beyond the limit were touched and are known to be.
        let limit = u32::try_from(rows.saturating_mul(2)).unwrap_or(u32::MAX);
        let (source, target) = tokio::join!(
            table.list(self.source, Side::Source, range, limit),
            table.list(self.target, Side::Target, range, limit)
        );
        let (source, target) = (source?, target?);
        let differs = |(key, hash): &(&Key, &i64)| target.get(*key) != Some(*hash);
        suspects.extend(source.iter().filter(differs).map(|(key, _)| key.clone()));
        suspects.extend(target.keys().filter(|key| !source.contains_key(*key)).cloned());
        self.rest_after(rows).await;
        Ok(())
    }

    /// The ranges among these that differ, found by cutting the list of them.
    pub(super) async fn ranges_that_differ(
        &mut self,
        table: &VerifiedTable,
        ranges: &[LeadRange],
    ) -> Result<Vec<LeadRange>, VerifyError> {
        let mut differing = Vec::new();
        let mut open = vec![ranges];
        while let Some(ranges) = open.pop() {
            let (source, target) = tokio::join!(
                table.digest_of_ranges(self.source, Side::Source, ranges),
                table.digest_of_ranges(self.target, Side::Target, ranges)
            );
            let (source, target) = (source?, target?);
            self.rest_after(source.rows.max(target.rows)).await;
            if source == target {
                self.count_rows(source.rows);
                continue;
            }
            match ranges {
                [one] => differing.push(one.clone()),
                _ => {
                    let (left, right) = ranges.split_at(ranges.len() / 2);
                    open.extend([right, left]);
                }
            }
        }
        Ok(differing)
    }
}

/// The range cut at the keys.
fn parts_of(range: &KeyRange, bounds: Vec<Key>) -> Vec<KeyRange> {
    let mut after = range.after.clone();
    let mut parts = Vec::new();
    for bound in bounds {
        let up_to = Some(bound.clone());
        parts.push(KeyRange { after, up_to, within: range.within.clone() });
        after = Some(bound);
    }
    if after != range.up_to || after.is_none() {
        parts.push(KeyRange { after, up_to: range.up_to.clone(), within: range.within.clone() });
    }
    parts
}

/// Puts neighbours together while they are few enough rows to read.
fn together(parts: Vec<(usize, KeyRange, Digest, Digest)>) -> Vec<(KeyRange, Digest, Digest)> {
    let mut merged: Vec<(usize, KeyRange, Digest, Digest)> = Vec::new();
    for (place, range, source, target) in parts {
        if let Some((last, before, its_source, its_target)) = merged.last_mut()
            && *last + 1 == place
            && its_source.rows + source.rows <= LIST_ROWS_MAX
            && its_target.rows + target.rows <= LIST_ROWS_MAX
        {
            *last = place;
            before.up_to = range.up_to;
            its_source.add(&source);
            its_target.add(&target);
        } else {
            merged.push((place, range, source, target));
        }
    }
    merged.into_iter().map(|(_, range, source, target)| (range, source, target)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key(vec![text.to_owned().into()])
    }

    fn range(after: Option<&str>, up_to: Option<&str>) -> KeyRange {
        KeyRange { after: after.map(key), up_to: up_to.map(key), within: None }
    }

    #[test]
    fn the_parts_of_a_range_cover_it_without_gaps_to_its_open_end() {
        let bounds = |range: &KeyRange| {
            let text = |key: &Option<Key>| key.as_ref().map(ToString::to_string);
            (text(&range.after), text(&range.up_to))
        };
        let some = |text: &str| Some(format!("({text})"));
        let parts = parts_of(&range(None, None), vec![key("3"), key("7")]);
        let parts: Vec<_> = parts.iter().map(bounds).collect();
        assert_eq!(parts, [(None, some("3")), (some("3"), some("7")), (some("7"), None)]);
        let parts = parts_of(&range(Some("1"), Some("7")), vec![key("3"), key("7")]);
        let parts: Vec<_> = parts.iter().map(bounds).collect();
        assert_eq!(parts, [(some("1"), some("3")), (some("3"), some("7"))]);
        assert_eq!(parts_of(&range(None, None), Vec::new()).len(), 1);
    }

    #[test]
    fn neighbours_are_read_together_only_while_they_are_few() {
        let part = |place: usize, rows: u64| {
            (place, KeyRange::default(), Digest::of_rows(rows), Digest::of_rows(rows))
        };
        let rows = |parts| together(parts).iter().map(|(_, s, _)| s.rows).collect::<Vec<_>>();
        assert_eq!(rows(vec![part(0, 300), part(1, 300), part(3, 300)]), [600, 300]);
        assert_eq!(rows(vec![part(0, 3_000), part(1, 3_000), part(2, 10)]), [3_000, 3_010]);
    }
}
