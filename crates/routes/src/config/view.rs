//! How a configuration is written as JSON: in the words of the file, secrets as `[secret]`.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::{CopyMode, Effect, LastResort, Secret, SubjectSource, scalar};

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("[secret]")
    }
}

impl Serialize for SubjectSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&scalar::subject_text(self))
    }
}

impl Serialize for CopyMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Serialize for Effect {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Serialize for LastResort {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// For `#[serde(serialize_with)]`.
pub(super) fn duration<S: Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&scalar::duration_text(*duration))
}

/// For `#[serde(serialize_with)]`: a share as a percentage.
pub(super) fn percent<S: Serializer>(share: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    // Rounded, because 0.001 * 100.0 is not 0.1.
    let percent = (share * 1e8).round() / 1e6;
    serializer.serialize_str(&format!("{percent}%"))
}

/// For `#[serde(serialize_with)]`: pairs of an array and its key.
pub(super) fn unordered<S: Serializer>(
    pairs: &[(String, String)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(pairs.iter().map(|(array, key)| format!("{array} by {key}")))
}
