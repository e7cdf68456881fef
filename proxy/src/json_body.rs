//! Changes of a JSON document by pointers. What no pointer touches is copied byte by byte: numbers keep
//! their digits, and members their order.

use std::{collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// The changes, in the order in which they are made: `unwrap`, then all that pointers say, then `wrap`.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    unwrap: Vec<String>,
    root: Step,
    wrap: Option<String>,
}

/// What happens at one place of a document and below.
#[derive(Debug, Default)]
struct Step {
    below: Vec<(String, Self)>,
    action: Option<Action>,
}

#[derive(Debug)]
enum Action {
    Remove,
    /// The member gets another name.
    Rename(String),
    /// The value becomes this JSON text, whether or not the member is there.
    Set(Box<RawValue>),
}

/// A document cannot be changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error("the body is not JSON")]
    NotJson(#[source] serde_json::Error),
    /// Whoever reads it next may take the other one.
    #[error("an object has two members of one name")]
    Twice,
}

/// Members in the order of the text, doubles included.
struct Members<'t>(Vec<(String, &'t RawValue)>);

impl Changes {
    /// Drops what the pointer names; `*` stands for every element or member.
    pub(crate) fn remove(&mut self, pointer: &str) {
        self.root.at(pointer).action = Some(Action::Remove);
    }

    /// Gives the member the pointer names another name, in the same object.
    pub(crate) fn rename(&mut self, pointer: &str, name: &str) {
        self.root.at(pointer).action = Some(Action::Rename(name.to_owned()));
    }

    /// Writes a JSON text where the pointer says, if the object around it is there.
    ///
    /// # Errors
    /// When the text is not JSON.
    pub(crate) fn set(&mut self, pointer: &str, json: &str) -> Result<(), serde_json::Error> {
        let value = RawValue::from_string(json.to_owned())?;
        self.root.at(pointer).action = Some(Action::Set(value));
        Ok(())
    }

    /// Takes what the pointer names for the whole document; nothing there becomes `null`.
    pub(crate) fn unwrap(&mut self, pointer: &str) {
        self.unwrap = segments(pointer).collect();
    }

    /// Puts the document into an object, as the member of this name.
    pub(crate) fn wrap(&mut self, name: &str) {
        self.wrap = Some(name.to_owned());
    }

    /// The changed document.
    ///
    /// # Errors
    /// When it is not JSON, or an object that is looked into names a member twice.
    pub(crate) fn apply(&self, document: &[u8]) -> Result<Vec<u8>, ChangeError> {
        let mut document: &RawValue = parse(document)?;
        for segment in &self.unwrap {
            document = member(document, segment)?.unwrap_or(RawValue::NULL);
        }
        let mut out = Vec::with_capacity(document.get().len() + 64);
        if let Some(name) = &self.wrap {
            out.push(b'{');
            write_text(name, &mut out);
            out.push(b':');
        }
        self.root.write(document, &mut out)?;
        if self.wrap.is_some() {
            out.push(b'}');
        }
        Ok(out)
    }
}

impl Step {
    fn at(&mut self, pointer: &str) -> &mut Self {
        segments(pointer).fold(self, |step, segment| {
            let known = step.below.iter().position(|(name, _)| *name == segment);
            let index = known.unwrap_or_else(|| {
                step.below.push((segment, Self::default()));
                step.below.len() - 1
            });
            let (_, below) = step.below.get_mut(index).expect("it was found or pushed");
            below
        })
    }

    /// The step for a member or element; a name wins over `*`.
    fn below(&self, name: &str) -> Option<&Self> {
        let find = |wanted: &str| self.below.iter().find(|(name, _)| name == wanted);
        find(name).or_else(|| find("*")).map(|(_, step)| step)
    }

    fn write(&self, value: &RawValue, out: &mut Vec<u8>) -> Result<(), ChangeError> {
        let text = value.get();
        match text.as_bytes().first() {
            _ if self.below.is_empty() => out.extend_from_slice(text.as_bytes()),
            Some(b'{') => self.write_object(text, out)?,
            Some(b'[') => self.write_array(text, out)?,
            _ => out.extend_from_slice(text.as_bytes()),
        }
        Ok(())
    }

    fn write_object(&self, text: &str, out: &mut Vec<u8>) -> Result<(), ChangeError> {
        let Members(members) = serde_json::from_str(text).map_err(ChangeError::NotJson)?;
        let mut written = HashSet::with_capacity(members.len() + 1);
        out.push(b'{');
        for (name, value) in &members {
            let step = self.below(name);
            let name = match step.and_then(|step| step.action.as_ref()) {
                Some(Action::Remove) => continue,
                Some(Action::Rename(name)) => name,
                Some(Action::Set(_)) | None => name,
            };
            write_name(name, &mut written, out)?;
            match step {
                Some(step) => step.write_value(value, out)?,
                None => out.extend_from_slice(value.get().as_bytes()),
            }
        }
        for (name, step) in &self.below {
            let is_there = members.iter().any(|(member, _)| member == name);
            if let (Some(Action::Set(value)), false) = (&step.action, is_there || name == "*") {
                write_name(name, &mut written, out)?;
                out.extend_from_slice(value.get().as_bytes());
            }
        }
        out.push(b'}');
        Ok(())
    }

    fn write_array(&self, text: &str, out: &mut Vec<u8>) -> Result<(), ChangeError> {
        let elements: Vec<&RawValue> = serde_json::from_str(text).map_err(ChangeError::NotJson)?;
        out.push(b'[');
        let mut is_first = true;
        for (index, value) in elements.into_iter().enumerate() {
            let step = self.below(&index.to_string());
            if matches!(step.and_then(|step| step.action.as_ref()), Some(Action::Remove)) {
                continue;
            }
            if !std::mem::take(&mut is_first) {
                out.push(b',');
            }
            match step {
                Some(step) => step.write_value(value, out)?,
                None => out.extend_from_slice(value.get().as_bytes()),
            }
        }
        out.push(b']');
        Ok(())
    }

    fn write_value(&self, value: &RawValue, out: &mut Vec<u8>) -> Result<(), ChangeError> {
        match &self.action {
            Some(Action::Set(value)) => {
                out.extend_from_slice(value.get().as_bytes());
                Ok(())
            }
            Some(Action::Remove | Action::Rename(_)) | None => self.write(value, out),
        }
    }
}

fn parse(document: &[u8]) -> Result<&RawValue, ChangeError> {
    serde_json::from_slice(document).map_err(ChangeError::NotJson)
}

fn member<'t>(value: &'t RawValue, name: &str) -> Result<Option<&'t RawValue>, ChangeError> {
    if !value.get().starts_with('{') {
        return Ok(None);
    }
    let Members(members) = serde_json::from_str(value.get()).map_err(ChangeError::NotJson)?;
    let mut found = members.into_iter().filter(|(member, _)| member == name);
    match (found.next(), found.next()) {
        (_, Some(_)) => Err(ChangeError::Twice),
        (found, None) => Ok(found.map(|(_, value)| value)),
    }
}

fn write_name<'n>(
    name: &'n str,
    written: &mut HashSet<&'n str>,
    out: &mut Vec<u8>,
) -> Result<(), ChangeError> {
    if !written.insert(name) {
        return Err(ChangeError::Twice);
    }
    if written.len() > 1 {
        out.push(b',');
    }
    write_text(name, out);
    out.push(b':');
    Ok(())
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a text can be written into memory");
}

/// The parts of an RFC 6901 pointer.
fn segments(pointer: &str) -> impl Iterator<Item = String> {
    pointer.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~"))
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(make: impl FnOnce(&mut Changes), document: &str, expected: &str) {
        let mut changes = Changes::default();
        make(&mut changes);
        let changed = changes.apply(document.as_bytes()).expect("it can be changed");
        assert_eq!(String::from_utf8(changed).expect("text"), expected);
    }

    #[test]
    fn what_no_pointer_touches_keeps_every_byte() {
        let document =
            r#"{"b":1.10,"big":123456789012345678901234567890,"a":{"x":"é\u0041"},"e":1E2}"#;
        check(|_| (), document, document);
        check(|changes| changes.remove("/nothing/here"), document, document);
    }

    #[test]
    fn members_and_elements_are_removed() {
        check(|c| c.remove("/a"), r#"{"a":1,"b":2}"#, r#"{"b":2}"#);
        check(|c| c.remove("/a"), r#"{"a":1}"#, "{}");
        check(|c| c.remove("/a/b"), r#"{"a":{"b":1,"c":2}}"#, r#"{"a":{"c":2}}"#);
        check(|c| c.remove("/a/*/b"), r#"{"a":[{"b":1},{"c":2},3]}"#, r#"{"a":[{},{"c":2},3]}"#);
        check(|c| c.remove("/0"), "[1,2,3]", "[2,3]");
        check(|c| c.remove("/*"), "[1,2,3]", "[]");
        check(|c| c.remove("/a~1b"), r#"{"a/b":1,"a":2}"#, r#"{"a":2}"#);
    }

    #[test]
    fn members_are_renamed_where_they_stand() {
        check(|c| c.rename("/a", "z"), r#"{"a":1.0,"b":2}"#, r#"{"z":1.0,"b":2}"#);
        check(
            |c| c.rename("/d/*/t", "u"),
            r#"{"d":[{"t":1},{"t":2}]}"#,
            r#"{"d":[{"u":1},{"u":2}]}"#,
        );
        check(|c| c.rename("/a", "q\"q"), r#"{"a":1}"#, r#"{"q\"q":1}"#);
    }

    #[test]
    fn values_are_set_whether_or_not_they_were_there() {
        let set = |pointer: &'static str, json: &'static str| {
            move |changes: &mut Changes| changes.set(pointer, json).expect("JSON")
        };
        check(set("/a", "\"x\""), r#"{"a":1}"#, r#"{"a":"x"}"#);
        check(set("/a", "[1]"), r#"{"b":1}"#, r#"{"b":1,"a":[1]}"#);
        check(set("/a", "1"), "{}", r#"{"a":1}"#);
        check(set("/a/b", "1"), r#"{"a":{}}"#, r#"{"a":{"b":1}}"#);
        check(set("/a/b", "1"), r#"{"c":{}}"#, r#"{"c":{}}"#);
        check(set("/*/b", "true"), r#"[{},{"b":1}]"#, r#"[{"b":true},{"b":true}]"#);
        assert!(Changes::default().set("/a", "x").is_err());
    }

    #[test]
    fn a_document_is_wrapped_and_unwrapped() {
        check(|c| c.wrap("data"), "[1]", r#"{"data":[1]}"#);
        check(|c| c.unwrap("/data/items"), r#"{"data":{"items":[1.50]}}"#, "[1.50]");
        check(|c| c.unwrap("/data"), r#"{"other":1}"#, "null");
        let both = |c: &mut Changes| {
            c.wrap("ticket");
            c.unwrap("/data");
            c.remove("/secret");
        };
        check(both, r#"{"data":{"secret":1,"id":7}}"#, r#"{"ticket":{"id":7}}"#);
    }

    #[test]
    fn what_two_readers_could_read_in_two_ways_is_refused() {
        let mut changes = Changes::default();
        changes.remove("/a");
        changes.rename("/b", "c");
        let refused = |document: &str| changes.apply(document.as_bytes()).is_err();
        assert!(refused(r#"{"x":1,"x":2}"#));
        assert!(refused(r#"{"b":1,"c":2}"#));
        for document in ["", "{", "{} {}", "nope", "{\"a\":1,}", "\u{feff}{}"] {
            assert!(refused(document), "{document}");
        }
        assert!(!refused(r#"{"y":{"x":1,"x":2}}"#), "nobody looked there");
    }

    #[test]
    fn a_removed_double_never_hides_its_twin() {
        let mut changes = Changes::default();
        changes.remove("/role");
        let changed = changes.apply(br#"{"role":"a","ro\u006ce":"b"}"#).expect("both are removed");
        assert_eq!(changed, b"{}");
    }
}
