//! How a key is declared. A key that lacks its reload behaviour or its example does not compile:
//! only [`Draft::live`] and [`Draft::restart`] make a [`Key`].

use super::{Key, Kind, Presence, Reload};

/// A duration that something waits for in a loop: never zero.
pub(super) const WAIT: Kind = Kind::Duration { zero: false };

/// A key without its reload behaviour and example.
#[derive(Debug)]
pub(super) struct Draft {
    name: &'static str,
    kind: Kind,
    presence: Presence,
    doc: &'static str,
}

/// A key that must be written.
pub(super) const fn required(name: &'static str, kind: Kind, doc: &'static str) -> Draft {
    Draft { name, kind, presence: Presence::Required, doc }
}

/// A key that may be left out; the effect of that is in `doc`.
pub(super) const fn optional(name: &'static str, kind: Kind, doc: &'static str) -> Draft {
    Draft { name, kind, presence: Presence::Optional, doc }
}

/// A key that stands for `value`, as TOML, where it is not written.
pub(super) const fn default(
    name: &'static str,
    kind: Kind,
    value: &'static str,
    doc: &'static str,
) -> Draft {
    Draft { name, kind, presence: Presence::Default(value), doc }
}

impl Draft {
    /// A new value is in force as soon as the file was read again. `example` is a value, as TOML.
    pub(super) const fn live(self, example: &'static str) -> Key {
        self.key(Reload::Live, example)
    }

    /// A new value waits until the processes that use it start again. `example` is a value, as TOML.
    pub(super) const fn restart(self, example: &'static str) -> Key {
        self.key(Reload::Restart, example)
    }

    const fn key(self, reload: Reload, example: &'static str) -> Key {
        let Self { name, kind, presence, doc } = self;
        Key { name, kind, presence, doc, reload, example, unit: None }
    }
}

impl Key {
    /// What a bare number counts; the other kinds carry their unit themselves.
    pub(super) const fn counting(mut self, unit: &'static str) -> Self {
        self.unit = Some(unit);
        self
    }
}
