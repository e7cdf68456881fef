//! Keyed hashes: they tell whether two values differ without keeping the values.

use std::{fmt, hash::Hasher};

use serde::{Serialize, Serializer};
use siphasher::sip::SipHasher13;

use crate::json::Node;

/// Secret of one process; hashes of another one mean nothing.
#[derive(Clone, Copy)]
pub struct HashKey(pub [u8; 16]);

/// Hash of a value. Equal values have equal hashes under one key; without the key nothing about the
/// value can be told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueHash(pub u64);

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl fmt::Display for ValueHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for ValueHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for ValueHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl HashKey {
    pub(crate) fn of_node(self, node: &Node<'_>) -> ValueHash {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        write_node(node, &mut hasher);
        ValueHash(hasher.finish())
    }

    /// Hash of bytes that are no JSON, for example of a whole body.
    #[must_use]
    pub fn of_bytes(self, bytes: &[u8]) -> ValueHash {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        hasher.write(bytes);
        ValueHash(hasher.finish())
    }
}

/// Each value begins with its type and each list with its length, so that no two documents write the
/// same bytes. Members are written in the order of their keys.
fn write_node(node: &Node<'_>, hasher: &mut SipHasher13) {
    match node {
        Node::Null => hasher.write_u8(b'0'),
        Node::Bool(value) => hasher.write(if *value { b"bt" } else { b"bf" }),
        Node::Number(text) => write_text(b'n', text, hasher),
        Node::String(text) => write_text(b's', text, hasher),
        Node::Array(elements) => {
            hasher.write_u8(b'a');
            hasher.write_usize(elements.len());
            for element in elements {
                write_node(element, hasher);
            }
        }
        Node::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|(a, _), (b, _)| a.cmp(b));
            hasher.write_u8(b'o');
            hasher.write_usize(members.len());
            for (key, value) in members {
                write_text(b'k', key, hasher);
                write_node(value, hasher);
            }
        }
    }
}

fn write_text(kind: u8, text: &str, hasher: &mut SipHasher13) {
    hasher.write_u8(kind);
    hasher.write_usize(text.len());
    hasher.write(text.as_bytes());
}
