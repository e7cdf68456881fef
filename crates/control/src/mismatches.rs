//! Puts together what several proxies found: the same place of the same route is one group. Pure.

use std::collections::BTreeMap;

use rpc::v1;

use crate::api::{MismatchGroup, MismatchSample};

/// Samples kept of each group.
const SAMPLES_MAX: usize = 5;

/// One group for each place, most differences first. A place is noise when every proxy that saw it
/// learned it as noise.
pub(crate) fn merged(reported: Vec<v1::MismatchGroup>) -> Vec<MismatchGroup> {
    let mut merged: BTreeMap<[String; 4], MismatchGroup> = BTreeMap::new();
    for group in reported {
        let key = [&group.capability, &group.route, &group.path, &group.kind].map(Clone::clone);
        match merged.get_mut(&key) {
            Some(known) => add(known, group),
            None => {
                merged.insert(key, from_proxy(group));
            }
        }
    }
    let mut groups: Vec<MismatchGroup> = merged.into_values().collect();
    for group in &mut groups {
        group.samples.sort_by_key(|sample| std::cmp::Reverse(sample.at_unix_ms));
        group.samples.truncate(SAMPLES_MAX);
    }
    groups.sort_by_key(|group| (group.noisy, std::cmp::Reverse(group.raw)));
    groups
}

fn add(known: &mut MismatchGroup, more: v1::MismatchGroup) {
    let more = from_proxy(more);
    known.raw += more.raw;
    known.noise += more.noise;
    known.rounds += more.rounds;
    known.noisy &= more.noisy;
    known.first_unix_ms = known.first_unix_ms.min(more.first_unix_ms);
    known.last_unix_ms = known.last_unix_ms.max(more.last_unix_ms);
    known.samples.extend(more.samples);
}

fn from_proxy(group: v1::MismatchGroup) -> MismatchGroup {
    let sample = |sample: v1::MismatchSample| MismatchSample {
        at_unix_ms: sample.at_unix_ms,
        pointer: sample.pointer,
        expected: sample.expected,
        actual: sample.actual,
    };
    MismatchGroup {
        capability: group.capability,
        route: group.route,
        path: group.path,
        kind: group.kind,
        raw: group.raw,
        noise: group.noise,
        rounds: group.rounds,
        noisy: group.noisy,
        first_unix_ms: group.first_unix_ms,
        last_unix_ms: group.last_unix_ms,
        samples: group.samples.into_iter().map(sample).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(path: &str, raw: u64, noisy: bool, at: u64) -> v1::MismatchGroup {
        let sample = v1::MismatchSample { at_unix_ms: at, ..v1::MismatchSample::default() };
        v1::MismatchGroup {
            capability: "tickets".to_owned(),
            route: "GET /t".to_owned(),
            path: path.to_owned(),
            kind: "value".to_owned(),
            raw,
            noisy,
            first_unix_ms: at,
            last_unix_ms: at,
            samples: vec![sample; 4],
            ..v1::MismatchGroup::default()
        }
    }

    #[test]
    fn the_same_place_seen_by_two_proxies_is_one_group() {
        let groups = merged(vec![group("/a", 3, true, 10), group("/a", 4, false, 20)]);
        let [one] = groups.as_slice() else { panic!("{groups:?}") };
        assert_eq!((one.raw, one.noisy, one.first_unix_ms, one.last_unix_ms), (7, false, 10, 20));
        let at: Vec<u64> = one.samples.iter().map(|sample| sample.at_unix_ms).collect();
        assert_eq!(at, [20, 20, 20, 20, 10], "the newest are kept");
    }

    #[test]
    fn what_differs_most_often_comes_first_and_noise_last() {
        let groups = merged(vec![
            group("/n", 90, true, 1),
            group("/a", 1, false, 1),
            group("/b", 5, false, 1),
        ]);
        let paths: Vec<&str> = groups.iter().map(|group| group.path.as_str()).collect();
        assert_eq!(paths, ["/b", "/a", "/n"]);
    }
}
