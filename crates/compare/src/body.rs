//! The walk over two bodies: JSON by path, HTML by element, other text by line, anything else as bytes.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::Serialize;

use crate::{
    Rules,
    hash::{HashKey, ValueHash},
    json::{self, Node},
    markup,
    rules::lookup,
};

mod text;

/// Differences that are kept of one pair of bodies. More say nothing new about the cause.
const DIFFERENCES_MAX: usize = 100;

/// What a comparison found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing differs that the rules do not leave out.
    Equal,
    /// They differ.
    Different {
        /// The first ones, in the order of the expected document; at most 100.
        differences: Vec<Difference>,
        /// How many there are.
        count: usize,
    },
    /// Not every byte is the same, and at least one of the two is no text.
    Bytes,
}

/// One place where two documents differ. Names of members stand in the pointer; values stand nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// JSON pointer; an element of an unordered array has its position in the expected array, or in
    /// the actual one when it is extra. In a page the position and the name of each element
    /// (`/1/html/1/body/0/input[token]/@value`), in other text `/line 7`.
    pub pointer: String,
    /// What is different.
    pub kind: Kind,
    /// Hash of the expected value; none when it is not there.
    pub expected: Option<ValueHash>,
    /// Hash of the actual value; none when it is not there.
    pub actual: Option<ValueHash>,
}

/// How two values differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Expected, and not there.
    Missing,
    /// There, and not expected.
    Extra,
    /// Of another JSON type; another element, or text instead of one.
    Type,
    /// Another value of the same type, another text, another line.
    Value,
    /// An ordered array, an element or a text of another length; the common beginning was compared.
    Length,
}

impl Outcome {
    /// Whether the downstream would have got the same.
    #[must_use]
    pub const fn is_equal(&self) -> bool {
        match self {
            Self::Equal => true,
            Self::Different { .. } | Self::Bytes => false,
        }
    }
}

impl Kind {
    /// Stable name used in metrics and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Type => "type",
            Self::Value => "value",
            Self::Length => "length",
        }
    }
}

impl fmt::Display for Difference {
    /// `/data/0/state: value`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pointer = if self.pointer.is_empty() { "the document" } else { &self.pointer };
        write!(f, "{pointer}: {}", self.kind.as_str())
    }
}

/// Compares two bodies. JSON is compared by type and value: members have no order, arrays have one unless a
/// rule says otherwise, numbers are compared as they are written, and a repeated member as often as it
/// is repeated. Other text is compared element by element when `content_type` says that it is HTML, and
/// else line by line; bytes that are no UTF-8 only as a whole.
#[must_use]
pub fn compare(
    expected: &[u8],
    actual: &[u8],
    content_type: Option<&str>,
    rules: &Rules,
    key: HashKey,
) -> Outcome {
    if expected == actual {
        return Outcome::Equal;
    }
    let mut walk = Walk { rules, key, path: Vec::new(), differences: Vec::new(), count: 0 };
    if let (Some(expected), Some(actual)) = (json::parse(expected), json::parse(actual)) {
        walk.values(&expected, &actual);
    } else if let (Some(expected), Some(actual)) = (as_text(expected), as_text(actual)) {
        if content_type.is_some_and(is_html) {
            walk.pieces(&markup::parse(expected), &markup::parse(actual));
        } else {
            walk.lines(expected, actual);
        }
    } else {
        return Outcome::Bytes;
    }
    match walk.count {
        0 => Outcome::Equal,
        count => Outcome::Different { differences: walk.differences, count },
    }
}

/// Text has no NUL; what has one is another encoding, or none.
fn as_text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

fn is_html(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    ["text/html", "application/xhtml+xml"].iter().any(|html| media_type.eq_ignore_ascii_case(html))
}

struct Walk<'r> {
    rules: &'r Rules,
    key: HashKey,
    path: Vec<String>,
    differences: Vec<Difference>,
    count: usize,
}

impl Walk<'_> {
    fn values(&mut self, expected: &Node<'_>, actual: &Node<'_>) {
        if self.rules.is_ignored(&self.path) {
            return;
        }
        match (expected, actual) {
            (Node::Object(expected), Node::Object(actual)) => self.objects(expected, actual),
            (Node::Array(a), Node::Array(b)) => match self.rules.key_of(&self.path) {
                Some(key) => self.unordered(a, b, key),
                None => self.arrays(expected, actual, a, b),
            },
            (Node::Null, Node::Null) => {}
            (Node::Bool(a), Node::Bool(b)) if a == b => {}
            (Node::Number(a), Node::Number(b)) if a == b => {}
            (Node::String(a), Node::String(b)) if a == b => {}
            (Node::Bool(_), Node::Bool(_))
            | (Node::Number(_), Node::Number(_))
            | (Node::String(_), Node::String(_)) => {
                self.report(Kind::Value, Some(expected), Some(actual));
            }
            (
                Node::Null
                | Node::Bool(_)
                | Node::Number(_)
                | Node::String(_)
                | Node::Array(_)
                | Node::Object(_),
                _,
            ) => self.report(Kind::Type, Some(expected), Some(actual)),
        }
    }

    fn objects(
        &mut self,
        expected: &[(Cow<'_, str>, Node<'_>)],
        actual: &[(Cow<'_, str>, Node<'_>)],
    ) {
        let mut of_key: BTreeMap<&str, (Vec<&Node<'_>>, Vec<&Node<'_>>)> = BTreeMap::new();
        for (key, value) in expected {
            of_key.entry(key).or_default().0.push(value);
        }
        for (key, value) in actual {
            of_key.entry(key).or_default().1.push(value);
        }
        for (key, (expected, actual)) in of_key {
            self.path.push(key.to_owned());
            self.pairs(&expected, &actual);
            self.path.pop();
        }
    }

    /// Values under one name: pair by pair, then what is left of either.
    fn pairs(&mut self, expected: &[&Node<'_>], actual: &[&Node<'_>]) {
        for (expected, actual) in expected.iter().zip(actual) {
            self.values(expected, actual);
        }
        for missing in expected.iter().skip(actual.len()) {
            self.one_sided(Kind::Missing, missing);
        }
        for extra in actual.iter().skip(expected.len()) {
            self.one_sided(Kind::Extra, extra);
        }
    }

    fn arrays(
        &mut self,
        expected: &Node<'_>,
        actual: &Node<'_>,
        expected_elements: &[Node<'_>],
        actual_elements: &[Node<'_>],
    ) {
        if expected_elements.len() != actual_elements.len() {
            self.report(Kind::Length, Some(expected), Some(actual));
        }
        for (index, (expected, actual)) in expected_elements.iter().zip(actual_elements).enumerate()
        {
            self.path.push(index.to_string());
            self.values(expected, actual);
            self.path.pop();
        }
    }

    /// Elements with the same key are compared in the order in which they come.
    fn unordered(&mut self, expected: &[Node<'_>], actual: &[Node<'_>], key: &[String]) {
        let mut of_key: BTreeMap<ValueHash, (Elements<'_, '_>, Elements<'_, '_>)> = BTreeMap::new();
        for (index, element) in expected.iter().enumerate() {
            of_key.entry(self.element_key(element, key)).or_default().0.push((index, element));
        }
        for (index, element) in actual.iter().enumerate() {
            of_key.entry(self.element_key(element, key)).or_default().1.push((index, element));
        }
        let mut groups: Vec<_> = of_key.into_values().collect();
        groups.sort_by_key(|(expected, actual)| {
            let first = |elements: &Elements<'_, '_>| elements.first().map(|(index, _)| *index);
            (first(expected).is_none(), first(expected), first(actual))
        });
        for (expected, actual) in groups {
            let (mut expected, mut actual) = (expected.into_iter(), actual.into_iter());
            loop {
                match (expected.next(), actual.next()) {
                    (Some((index, a)), Some((_, b))) => {
                        self.at(index, |walk| walk.values(a, b));
                    }
                    (Some((index, a)), None) => {
                        self.at(index, |walk| walk.one_sided(Kind::Missing, a));
                    }
                    (None, Some((index, b))) => {
                        self.at(index, |walk| walk.one_sided(Kind::Extra, b));
                    }
                    (None, None) => break,
                }
            }
        }
    }

    /// An element without the key is its own key.
    fn element_key(&self, element: &Node<'_>, key: &[String]) -> ValueHash {
        self.key.of_node(lookup(element, key).unwrap_or(element))
    }

    fn at(&mut self, index: usize, walk: impl FnOnce(&mut Self)) {
        self.inside(index.to_string(), walk);
    }

    fn inside(&mut self, part: String, walk: impl FnOnce(&mut Self)) {
        self.path.push(part);
        walk(self);
        self.path.pop();
    }

    fn one_sided(&mut self, kind: Kind, value: &Node<'_>) {
        if self.rules.is_ignored(&self.path) {
            return;
        }
        match kind {
            Kind::Missing => self.report(kind, Some(value), None),
            Kind::Extra | Kind::Type | Kind::Value | Kind::Length => {
                self.report(kind, None, Some(value));
            }
        }
    }

    fn report(&mut self, kind: Kind, expected: Option<&Node<'_>>, actual: Option<&Node<'_>>) {
        let hash = |node: Option<&Node<'_>>| node.map(|node| self.key.of_node(node));
        let (expected, actual) = (hash(expected), hash(actual));
        self.note(kind, expected, actual);
    }

    /// Counts a difference at this place, and keeps the first ones.
    fn note(&mut self, kind: Kind, expected: Option<ValueHash>, actual: Option<ValueHash>) {
        self.count += 1;
        if self.differences.len() < DIFFERENCES_MAX {
            self.differences.push(Difference { pointer: self.pointer(), kind, expected, actual });
        }
    }

    fn pointer(&self) -> String {
        let escaped = self.path.iter().map(|part| part.replace('~', "~0").replace('/', "~1"));
        escaped.fold(String::new(), |pointer, part| pointer + "/" + &part)
    }
}

/// Elements of one array with their positions.
type Elements<'n, 'a> = Vec<(usize, &'n Node<'a>)>;

#[cfg(test)]
mod tests;
