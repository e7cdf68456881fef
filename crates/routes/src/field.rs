//! One value of the document: its type, its range, its text expanded.

#[cfg(test)]
mod check;

use std::time::Duration;

use toml::de::DeValue;

use crate::{
    Secret,
    expand::{self, ExpandError},
    reader::{At, Located, Reader},
    scalar,
    shape::Kind,
};

#[cfg(test)]
pub(crate) use check::check;

/// A value to be read as its kind.
pub(crate) struct Field<'r> {
    reader: &'r Reader<'r>,
    at: At,
    kind: &'static Kind,
    value: &'r DeValue<'r>,
    /// The default of its key, for messages.
    default: Option<&'static str>,
    /// The value is that default: offsets within it are not offsets of the document.
    is_default: bool,
}

impl<'r> Field<'r> {
    pub(crate) fn new(
        reader: &'r Reader<'r>,
        at: At,
        kind: &'static Kind,
        value: &'r DeValue<'r>,
    ) -> Self {
        Self { reader, at, kind, value, default: None, is_default: false }
    }

    /// The value of a key that has a default.
    pub(crate) fn with_default(self, default: &'static str, is_default: bool) -> Self {
        let is_telling = !matches!(default, "[]" | "{}");
        Self { default: is_telling.then_some(default), is_default, ..self }
    }

    /// A text that means something: `parse` returns `None` when it does not.
    pub(crate) fn parsed<T>(&self, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        self.parsed_or(|text| parse(text).ok_or_else(|| format!("is not {}", self.kind.noun())))
    }

    /// A text that means something, or why it does not (`"is not …"`).
    pub(crate) fn parsed_or<T>(&self, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let DeValue::String(written) = self.value else { return self.mismatch() };
        let expanded = self.expanded(expand::expand(written, self.reader.outside.env))?;
        match parse(&expanded) {
            Ok(value) => Some(value),
            Err(why) if expanded == *written => self.report(&format!("{written:?} {why}")),
            Err(why) => self.report(&format!("what {written:?} stands for {why}")),
        }
    }

    /// A duration, above zero unless its kind allows that.
    pub(crate) fn duration(&self) -> Option<Duration> {
        let may_be_zero = matches!(self.kind, Kind::Duration { zero: true });
        self.parsed_or(|text| match scalar::duration(text) {
            None => Err(format!("is not {}", self.kind.noun())),
            Some(Duration::ZERO) if !may_be_zero => Err("is no time at all".to_owned()),
            Some(duration) => Ok(duration),
        })
    }

    /// `true` or `false`.
    pub(crate) fn switch(&self) -> Option<bool> {
        match self.value {
            DeValue::Boolean(value) => Some(*value),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => self.mismatch(),
        }
    }

    /// A text with at least one character.
    pub(crate) fn text(&self) -> Option<String> {
        self.parsed_or(|text| match text.trim() {
            "" => Err("is empty".to_owned()),
            _ => Ok(text.to_owned()),
        })
    }

    /// A secret; empty when what it stands for is empty.
    pub(crate) fn secret(&self) -> Option<Secret> {
        let DeValue::String(written) = self.value else { return self.mismatch() };
        self.expanded(expand::secret(written, &self.reader.outside)).map(Secret)
    }

    /// A secret the gateway itself uses.
    pub(crate) fn gateway_secret(&self) -> Option<Secret> {
        let DeValue::String(written) = self.value else { return self.mismatch() };
        self.expanded(expand::secret(written, &self.reader.outside.of_gateway())).map(Secret)
    }

    /// An integer within the bounds of its kind.
    pub(crate) fn count(&self) -> Option<u32> {
        let (DeValue::Integer(integer), Kind::Count { min, max }) = (self.value, self.kind) else {
            return self.mismatch();
        };
        let number = u32::from_str_radix(integer.as_str(), integer.radix()).ok();
        match number.filter(|number| (min..=max).contains(&number)) {
            Some(number) => Some(number),
            None => self.report(&format!("{integer} is out of range")),
        }
    }

    /// A number between two bounds.
    pub(crate) fn number(&self, min: f64, max: f64) -> Option<f64> {
        let (text, number): (String, Option<f64>) = match self.value {
            DeValue::Float(float) => (float.to_string(), float.as_str().parse().ok()),
            DeValue::Integer(integer) => (integer.to_string(), integer.to_string().parse().ok()),
            DeValue::String(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => return self.mismatch(),
        };
        match number.filter(|number| (min..=max).contains(number)) {
            Some(number) => Some(number),
            None => self.report(&format!("{text} is not {}", self.kind.noun())),
        }
    }

    /// A list of values, with the position of each.
    pub(crate) fn list<T>(&self, read: impl Fn(&Self) -> Option<T>) -> Option<Vec<Located<T>>> {
        let (DeValue::Array(array), Kind::List { of, min }) = (self.value, self.kind) else {
            return self.mismatch();
        };
        if array.len() < *min {
            return self.report("is empty");
        }
        let elements: Vec<Option<Located<T>>> = array
            .iter()
            .enumerate()
            .map(|(index, element)| {
                let key = format!("{}[{index}]", self.at.key);
                let at = At { offset: self.offset(element.span().start), key };
                let field = Field::new(self.reader, at.clone(), of, element.get_ref());
                read(&field).map(|value| Located { value, at })
            })
            .collect();
        elements.into_iter().collect()
    }

    /// Column and text, with the position of each.
    pub(crate) fn columns(&self) -> Option<Vec<Located<(String, String)>>> {
        let DeValue::Table(table) = self.value else { return self.mismatch() };
        let columns: Vec<Option<Located<(String, String)>>> = table
            .iter()
            .map(|(column, value)| {
                let at = self.at.child(column.get_ref(), self.offset(column.span().start));
                let field = Field::new(self.reader, at.clone(), &Kind::Text, value.get_ref());
                if column.get_ref().is_empty() {
                    self.reader.report(&at, "a column has no name", "write column = \"text\"");
                }
                field.text().map(|text| Located { value: (column.get_ref().to_string(), text), at })
            })
            .collect();
        columns.into_iter().collect()
    }

    fn mismatch<T>(&self) -> Option<T> {
        self.report_mismatch();
        None
    }

    /// Reports that the value has the wrong type.
    pub(crate) fn report_mismatch(&self) {
        let found = match self.value {
            _ if matches!(self.kind, Kind::Secret) => "this value".to_owned(),
            DeValue::Integer(integer) => integer.to_string(),
            DeValue::Float(float) => float.to_string(),
            DeValue::Boolean(boolean) => boolean.to_string(),
            DeValue::Datetime(datetime) => datetime.to_string(),
            // Its content may be a secret.
            DeValue::String(_) => "a string".to_owned(),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        };
        let message = format!("{found} is not {}", self.kind.noun());
        self.reader.report(&self.at, message, self.kind.remedy(self.default));
    }

    fn report<T>(&self, message: &str) -> Option<T> {
        self.reader.report(&self.at, message, self.kind.remedy(self.default));
        None
    }

    fn expanded(&self, result: Result<String, ExpandError>) -> Option<String> {
        match result {
            Ok(text) => Some(text),
            Err(error) => {
                self.reader.report(&self.at, error.message(), error.remedy());
                None
            }
        }
    }

    fn offset(&self, of_element: usize) -> usize {
        if self.is_default { self.at.offset } else { of_element }
    }
}
