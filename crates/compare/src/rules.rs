//! What is not compared, and where order does not matter.

use crate::json::Node;

/// The rules of one route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    ignored: Vec<Pattern>,
    unordered: Vec<(Pattern, Vec<String>)>,
}

/// A text is not a JSON pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesError {
    /// The text.
    pub pointer: String,
}

/// A JSON pointer whose `*` stands for every element of an array and every member of an object, and whose
/// `**` for any number of them on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Any,
    AnyMany,
    Name(String),
}

impl std::fmt::Display for RulesError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} is not a JSON pointer, write for example \"/data/*/id\"", self.pointer)
    }
}

impl std::error::Error for RulesError {}

impl Rules {
    /// The rules from texts: pointers whose values are not compared, and pairs of an array and the
    /// pointer of the key within an element; an empty key stands for the element itself.
    ///
    /// # Errors
    ///
    /// When a text is neither empty nor begins with `/`.
    pub fn new(ignore: &[String], unordered: &[(String, String)]) -> Result<Self, RulesError> {
        let ignored = ignore.iter().map(|text| pattern(text)).collect::<Result<_, _>>()?;
        let unordered = unordered
            .iter()
            .map(|(array, key)| Ok((pattern(array)?, parts(key)?)))
            .collect::<Result<_, _>>()?;
        Ok(Self { ignored, unordered })
    }

    pub(crate) fn is_ignored(&self, path: &[String]) -> bool {
        self.ignored.iter().any(|pattern| pattern.matches(path))
    }

    /// The key of an array's elements, if its order does not matter.
    pub(crate) fn key_of(&self, path: &[String]) -> Option<&[String]> {
        let found = self.unordered.iter().find(|(pattern, _)| pattern.matches(path));
        found.map(|(_, key)| key.as_slice())
    }
}

impl Pattern {
    fn matches(&self, path: &[String]) -> bool {
        matches(&self.0, path)
    }
}

/// Without backing up further than the last `**`, so that no pattern takes long.
fn matches(parts: &[Part], path: &[String]) -> bool {
    let (mut parts, mut path) = (parts, path);
    let mut last: Option<(&[Part], &[String])> = None;
    loop {
        let is_met = match (parts.split_first(), path.split_first()) {
            (None, None) => return true,
            (Some((Part::AnyMany, rest)), _) => {
                last = Some((rest, path));
                parts = rest;
                continue;
            }
            (Some((Part::Any, _)), Some(_)) => true,
            (Some((Part::Name(expected), _)), Some((name, _))) => expected == name,
            (Some((Part::Any | Part::Name(_), _)), None) | (None, Some(_)) => false,
        };
        if is_met {
            parts = parts.get(1..).unwrap_or_default();
            path = path.get(1..).unwrap_or_default();
            continue;
        }
        // one more part for the last `**`
        let Some((after, from)) = last else { return false };
        let Some((_, shorter)) = from.split_first() else { return false };
        last = Some((after, shorter));
        (parts, path) = (after, shorter);
    }
}

/// The value at a pointer within a node.
pub(crate) fn lookup<'n, 'a>(node: &'n Node<'a>, pointer: &[String]) -> Option<&'n Node<'a>> {
    pointer.iter().try_fold(node, |node, name| match node {
        Node::Object(members) => {
            members.iter().find(|(key, _)| key == name).map(|(_, value)| value)
        }
        Node::Array(elements) => elements.get(name.parse::<usize>().ok()?),
        Node::Null | Node::Bool(_) | Node::Number(_) | Node::String(_) => None,
    })
}

fn pattern(text: &str) -> Result<Pattern, RulesError> {
    let part = |name: String| match name.as_str() {
        "*" => Part::Any,
        "**" => Part::AnyMany,
        _ => Part::Name(name),
    };
    Ok(Pattern(parts(text)?.into_iter().map(part).collect()))
}

fn parts(text: &str) -> Result<Vec<String>, RulesError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let parts = text.strip_prefix('/').ok_or_else(|| RulesError { pointer: text.to_owned() })?;
    Ok(parts.split('/').map(|part| part.replace("~1", "/").replace("~0", "~")).collect())
}
