//! Times as they appear in JSON: the database's UTC times without zone, in RFC 3339 with `Z`.

use chrono::NaiveDateTime;
use serde::{Serialize, Serializer};

/// A UTC time that is shown with microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(transparent)]
pub(crate) struct Micros(pub(crate) NaiveDateTime);

/// A UTC time that is shown in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(transparent)]
pub(crate) struct Seconds(pub(crate) NaiveDateTime);

impl Serialize for Micros {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.format("%Y-%m-%dT%H:%M:%S%.6fZ"))
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.format("%Y-%m-%dT%H:%M:%SZ"))
    }
}
