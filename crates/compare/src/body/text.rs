//! The walk over two bodies that are no JSON: pages by element, other text by line.

use super::{Kind, Walk};
use crate::{
    ValueHash,
    markup::{Element, Piece},
};

/// A longer id of an element is no name.
const ID_MAX: usize = 64;

impl Walk<'_> {
    /// Compares line by line; a text of one line is one value.
    pub(super) fn lines(&mut self, expected: &str, actual: &str) {
        if self.rules.is_ignored(&self.path) {
            return;
        }
        let (a, b): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), actual.lines().collect());
        if a.len() <= 1 && b.len() <= 1 {
            if a != b {
                self.note(Kind::Value, Some(self.of(expected)), Some(self.of(actual)));
            }
            return;
        }
        if a.len() != b.len() {
            self.note(Kind::Length, Some(self.of(expected)), Some(self.of(actual)));
        }
        for (index, (a, b)) in a.iter().zip(&b).enumerate() {
            if a != b {
                self.inside(format!("line {}", index + 1), |walk| walk.value(a, b));
            }
        }
    }

    /// Compares what stands next to each other, in its order; of two lists the common beginning.
    pub(super) fn pieces(&mut self, expected: &[Piece], actual: &[Piece]) {
        if expected.len() != actual.len() {
            let size = |pieces: &[Piece]| Some(self.of(&pieces.len().to_string()));
            let (expected, actual) = (size(expected), size(actual));
            self.note(Kind::Length, expected, actual);
        }
        for (index, (expected, actual)) in expected.iter().zip(actual).enumerate() {
            if expected != actual {
                self.inside(index.to_string(), |walk| walk.piece(expected, actual));
            }
        }
    }

    fn piece(&mut self, expected: &Piece, actual: &Piece) {
        match (expected, actual) {
            (Piece::Element(a), Piece::Element(b)) if a.name == b.name => {
                self.inside(label(a, b), |walk| walk.elements(a, b));
            }
            (Piece::Text(a), Piece::Text(b)) => self.value(a, b),
            (Piece::Verbatim(a), Piece::Verbatim(b)) => self.lines(a, b),
            (Piece::Element(_) | Piece::Text(_) | Piece::Verbatim(_), _) => {
                if !self.rules.is_ignored(&self.path) {
                    let kind = |piece: &Piece| match piece {
                        Piece::Element(element) => Some(self.of(&element.name)),
                        Piece::Text(text) | Piece::Verbatim(text) => Some(self.of(text)),
                    };
                    let (expected, actual) = (kind(expected), kind(actual));
                    self.note(Kind::Type, expected, actual);
                }
            }
        }
    }

    fn elements(&mut self, expected: &Element, actual: &Element) {
        if self.rules.is_ignored(&self.path) {
            return;
        }
        for (name, value) in &expected.attributes {
            self.attribute(name, Some(value), actual.attribute(name));
        }
        for (name, value) in &actual.attributes {
            if expected.attribute(name).is_none() {
                self.attribute(name, None, Some(value));
            }
        }
        self.pieces(&expected.children, &actual.children);
    }

    fn attribute(&mut self, name: &str, expected: Option<&str>, actual: Option<&str>) {
        let kind = match (expected, actual) {
            (Some(_), None) => Kind::Missing,
            (None, Some(_)) => Kind::Extra,
            (Some(a), Some(b)) if a != b => Kind::Value,
            (Some(_), Some(_)) | (None, None) => return,
        };
        self.inside(format!("@{name}"), |walk| {
            if !walk.rules.is_ignored(&walk.path) {
                let (expected, actual) = (expected.map(|v| walk.of(v)), actual.map(|v| walk.of(v)));
                walk.note(kind, expected, actual);
            }
        });
    }

    fn value(&mut self, expected: &str, actual: &str) {
        if expected != actual && !self.rules.is_ignored(&self.path) {
            self.note(Kind::Value, Some(self.of(expected)), Some(self.of(actual)));
        }
    }

    fn of(&self, text: &str) -> ValueHash {
        self.key.of_bytes(text.as_bytes())
    }
}

/// How an element is called in a pointer: with the id or name that both have, digits left out, because
/// it is a name there and not a value.
fn label(a: &Element, b: &Element) -> String {
    let shared = |attribute: &str| {
        let of = |element: &Element| element.attribute(attribute).map(without_digits);
        of(a).filter(|id| !id.is_empty() && id.len() <= ID_MAX && of(b).as_ref() == Some(id))
    };
    if let Some(id) = shared("id") {
        return format!("{}#{id}", a.name);
    }
    shared("name").map_or_else(|| a.name.clone(), |name| format!("{}[{name}]", a.name))
}

/// `row-17` → `row-*`
fn without_digits(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    for character in text.chars() {
        if !character.is_ascii_digit() {
            masked.push(character);
        } else if !masked.ends_with('*') {
            masked.push('*');
        }
    }
    masked
}
