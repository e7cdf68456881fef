//! Where answers differed, grouped by route, place and kind, and which of these places are noise: there
//! the monolith differs from itself about as often as the service does from it. Values stand nowhere,
//! only hashes of them. Bounded: so many places, so many samples of each.

mod noise;

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rpc::v1;
use serde::Serialize;

use super::capture::Difference;
use noise::{is_masked, is_noise, pattern};

/// Places kept; the one that was not seen for longest is forgotten.
const PLACES_MAX: usize = 500;

/// Samples kept of each place; older ones are forgotten.
const SAMPLES_MAX: usize = 5;

/// All places of a process.
#[derive(Debug, Default)]
pub(crate) struct Mismatches(Mutex<Found>);

#[derive(Debug, Default)]
struct Found {
    places: BTreeMap<Key, Place>,
    /// Rounds of each capability and route.
    rounds: BTreeMap<(String, String), u64>,
    version: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    capability: String,
    route: String,
    path: String,
    kind: &'static str,
}

#[derive(Debug)]
struct Place {
    raw: u64,
    noise: u64,
    first_unix_ms: u64,
    last_unix_ms: u64,
    samples: Vec<Sample>,
}

/// One difference that was seen.
#[derive(Clone, Debug, Serialize)]
struct Sample {
    at_unix_ms: u64,
    #[serde(flatten)]
    difference: Difference,
}

/// One place as it is served.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Mismatch {
    capability: String,
    route: String,
    /// JSON pointer with `*` for the numbers of elements, or what differs beside the body.
    path: String,
    kind: &'static str,
    /// Rounds in which the service differed from the monolith.
    raw: u64,
    /// Rounds in which the monolith differed from itself.
    noise: u64,
    /// Rounds of the route.
    rounds: u64,
    /// Learned as noise: not counted as a mismatch.
    noisy: bool,
    first_unix_ms: u64,
    last_unix_ms: u64,
    samples: Vec<Sample>,
}

/// One comparison in which both were asked again, the monolith twice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round<'a> {
    pub(crate) capability: &'a str,
    pub(crate) route: &'a str,
    /// The service from the monolith.
    pub(crate) raw: &'a [Difference],
    /// The monolith from itself.
    pub(crate) noise: &'a [Difference],
    pub(crate) at_unix_ms: u64,
}

impl Mismatches {
    fn lock(&self) -> MutexGuard<'_, Found> {
        // every change below is complete before the lock is released
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Learns from a round. Returns the differences that are mismatches: neither did the monolith differ
    /// from itself there this time, nor is the place known as noise.
    pub(crate) fn learn(&self, round: Round<'_>) -> Vec<Difference> {
        let mut found = self.lock();
        found.version += 1;
        let of_route = (round.capability.to_owned(), round.route.to_owned());
        let rounds = found.rounds.entry(of_route).or_default();
        *rounds += 1;
        let rounds = *rounds;
        // several elements of one array are one place, and count once
        let unique = |differences: &[Difference]| -> BTreeMap<(String, &'static str), Difference> {
            let placed = differences.iter().map(|one| ((pattern(&one.pointer), one.kind), one));
            placed.map(|(key, one)| (key, one.clone())).collect()
        };
        for (path, kind) in unique(round.noise).into_keys() {
            found.place(&round, path, kind).noise += 1;
        }
        let mut mismatches = Vec::new();
        for ((path, kind), difference) in unique(round.raw) {
            let place = found.place(&round, path, kind);
            place.raw += 1;
            if is_masked(&difference, round.noise) || is_noise(place.raw, place.noise, rounds) {
                continue;
            }
            place
                .samples
                .push(Sample { at_unix_ms: round.at_unix_ms, difference: difference.clone() });
            let surplus = place.samples.len().saturating_sub(SAMPLES_MAX);
            place.samples.drain(..surplus);
            mismatches.push(difference);
        }
        mismatches
    }

    /// Grows whenever something was learned.
    pub(crate) fn version(&self) -> u64 {
        self.lock().version
    }

    /// Every place, those seen last first.
    pub(crate) fn places(&self) -> Vec<Mismatch> {
        let found = self.lock();
        let mut places: Vec<Mismatch> =
            found.places.iter().map(|(key, place)| found.served(key, place)).collect();
        places.sort_by_key(|place| std::cmp::Reverse(place.last_unix_ms));
        places
    }

    /// Every place, for control.
    pub(crate) fn report(&self) -> v1::Mismatches {
        v1::Mismatches { groups: self.places().into_iter().map(reported).collect() }
    }
}

impl Found {
    fn place(&mut self, round: &Round<'_>, path: String, kind: &'static str) -> &mut Place {
        let (capability, route) = (round.capability.to_owned(), round.route.to_owned());
        let key = Key { capability, route, path, kind };
        if self.places.len() >= PLACES_MAX && !self.places.contains_key(&key) {
            let oldest = self.places.iter().min_by_key(|(_, place)| place.last_unix_ms);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.places.remove(&oldest);
            }
        }
        let place = self.places.entry(key).or_insert_with(|| Place {
            raw: 0,
            noise: 0,
            first_unix_ms: round.at_unix_ms,
            last_unix_ms: 0,
            samples: Vec::new(),
        });
        place.last_unix_ms = round.at_unix_ms;
        place
    }

    fn served(&self, key: &Key, place: &Place) -> Mismatch {
        let of_route = (key.capability.clone(), key.route.clone());
        let rounds = self.rounds.get(&of_route).copied().unwrap_or(0);
        Mismatch {
            capability: key.capability.clone(),
            route: key.route.clone(),
            path: key.path.clone(),
            kind: key.kind,
            raw: place.raw,
            noise: place.noise,
            rounds,
            noisy: is_noise(place.raw, place.noise, rounds),
            first_unix_ms: place.first_unix_ms,
            last_unix_ms: place.last_unix_ms,
            samples: place.samples.iter().rev().cloned().collect(),
        }
    }
}

fn reported(place: Mismatch) -> v1::MismatchGroup {
    let sample = |sample: Sample| v1::MismatchSample {
        at_unix_ms: sample.at_unix_ms,
        pointer: sample.difference.pointer,
        expected: sample.difference.expected,
        actual: sample.difference.actual,
    };
    v1::MismatchGroup {
        capability: place.capability,
        route: place.route,
        path: place.path,
        kind: place.kind.to_owned(),
        raw: place.raw,
        noise: place.noise,
        rounds: place.rounds,
        noisy: place.noisy,
        first_unix_ms: place.first_unix_ms,
        last_unix_ms: place.last_unix_ms,
        samples: place.samples.into_iter().map(sample).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(pointer: &str, kind: &'static str) -> Difference {
        let hash = String::new;
        Difference { pointer: pointer.to_owned(), kind, expected: hash(), actual: hash() }
    }

    fn round<'a>(raw: &'a [Difference], noise: &'a [Difference], at_unix_ms: u64) -> Round<'a> {
        Round { capability: "tickets", route: "GET /t", raw, noise, at_unix_ms }
    }

    #[test]
    fn what_the_monolith_does_not_repeat_is_no_mismatch_and_the_rest_of_the_answer_counts() {
        let mismatches = Mismatches::default();
        let raw = [at("/at", "value"), at("/title", "value")];
        let left = mismatches.learn(round(&raw, &[at("/at", "value")], 1));
        assert_eq!(left, [at("/title", "value")]);
        let left = mismatches.learn(round(&[at("/at", "type")], &[at("/at", "value")], 2));
        assert_eq!(left, [at("/at", "type")], "another type is no noise of a value");
    }

    #[test]
    fn a_place_that_differs_from_itself_as_often_is_learned() {
        let mismatches = Mismatches::default();
        let place = [at("/coin", "value")];
        for number in 0..10 {
            mismatches.learn(round(&place, if number % 5 == 0 { &[] } else { &place }, number));
        }
        assert_eq!(mismatches.learn(round(&place, &[], 11)), [], "learned");
        assert!(mismatches.places()[0].noisy);
    }

    #[test]
    fn a_place_that_is_wrong_beyond_its_noise_stays_a_mismatch() {
        let mismatches = Mismatches::default();
        let place = [at("/wrong", "value")];
        for number in 0..10 {
            mismatches.learn(round(&place, if number < 5 { &place } else { &[] }, number));
        }
        assert_eq!(mismatches.learn(round(&place, &[], 11)), place);
        assert!(!mismatches.places()[0].noisy);
    }

    #[test]
    fn elements_of_an_array_are_one_place_and_the_newest_samples_are_kept() {
        let mismatches = Mismatches::default();
        for number in 0..20 {
            let raw = [at("/data/3/state", "value"), at(&format!("/data/{number}/state"), "value")];
            mismatches.learn(round(&raw, &[], number));
        }
        let places = mismatches.places();
        let [one] = places.as_slice() else { panic!("{places:?}") };
        assert_eq!((one.path.as_str(), one.raw, one.rounds), ("/data/*/state", 20, 20));
        let kept: Vec<u64> = one.samples.iter().map(|sample| sample.at_unix_ms).collect();
        assert_eq!(kept, [19, 18, 17, 16, 15]);
    }

    #[test]
    fn only_so_many_places_are_kept_those_seen_last() {
        let mismatches = Mismatches::default();
        for number in 0..u64::try_from(PLACES_MAX).expect("small") + 10 {
            mismatches.learn(round(&[at(&format!("/p{number}"), "value")], &[], number));
        }
        let places = mismatches.places();
        assert_eq!((places.len(), places[0].path.as_str()), (PLACES_MAX, "/p509"));
    }
}
