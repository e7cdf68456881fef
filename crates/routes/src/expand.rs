//! `${NAME}`, `${NAME:-default}` and `file:` in the strings of the file. What they stand for is never
//! part of a message: it may be a secret.

use std::{io, path::Path};

/// Reads a whole file.
pub(crate) type ReadFile<'a> = &'a dyn Fn(&Path) -> io::Result<String>;

/// Where values from outside of the file come from.
#[derive(Clone, Copy)]
pub(crate) struct Outside<'a> {
    pub(crate) env: &'a dyn Fn(&str) -> Option<String>,
    /// `None` leaves secrets as they are written.
    pub(crate) read_file: Option<ReadFile<'a>>,
    /// The same for the secrets the gateway itself uses.
    pub(crate) read_gateway_file: Option<ReadFile<'a>>,
}

impl<'a> Outside<'a> {
    /// What the secrets of the gateway come from.
    pub(crate) fn of_gateway(&self) -> Self {
        Self { read_file: self.read_gateway_file, ..*self }
    }

    /// Whether secrets of the gateway are read, and not left as they are written.
    pub(crate) fn reads_gateway(&self) -> bool {
        self.read_gateway_file.is_some()
    }
}

/// Why a string cannot be expanded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ExpandError {
    Unclosed,
    NotAName(String),
    Missing(String),
    /// `written` is the text of the file, not the path it stands for.
    Unreadable {
        written: String,
        reason: String,
    },
}

impl ExpandError {
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Unclosed => "has a ${ without its }".to_owned(),
            Self::NotAName(name) => format!("{name:?} is not the name of an environment variable"),
            Self::Missing(name) => format!("the environment variable {name} is not set"),
            Self::Unreadable { written, reason } => {
                format!("the file named by {written:?} cannot be read: {reason}")
            }
        }
    }

    pub(crate) fn remedy(&self) -> String {
        match self {
            Self::Unclosed => "write ${NAME}, or $${ for the characters themselves".to_owned(),
            Self::NotAName(_) => "write ${NAME} with letters, digits and _ only".to_owned(),
            Self::Missing(name) => format!("set {name}, or write a default as ${{{name}:-value}}"),
            Self::Unreadable { .. } => {
                "make the file readable for this process, or name another one".to_owned()
            }
        }
    }
}

/// Replaces every `${NAME}`; `$${` stands for `${`.
pub(crate) fn expand(
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<String, ExpandError> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            expanded.push_str(before);
            expanded.push_str("${");
            rest = after;
            continue;
        }
        let (inner, after) = after.split_once('}').ok_or(ExpandError::Unclosed)?;
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        if !is_variable(name) {
            return Err(ExpandError::NotAName(name.to_owned()));
        }
        let value = match (env(name), default) {
            (Some(value), Some(default)) if value.is_empty() => default.to_owned(),
            (Some(value), _) => value,
            (None, Some(default)) => default.to_owned(),
            (None, None) => return Err(ExpandError::Missing(name.to_owned())),
        };
        expanded.push_str(before);
        expanded.push_str(&value);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// The value of a secret: expanded, and read from its file when it names one.
pub(crate) fn secret(text: &str, outside: &Outside<'_>) -> Result<String, ExpandError> {
    let Some(read_file) = outside.read_file else {
        return Ok(text.to_owned());
    };
    let expanded = expand(text, outside.env)?;
    let Some(path) = expanded.strip_prefix("file:") else {
        return Ok(expanded);
    };
    let unreadable = |error: io::Error| ExpandError::Unreadable {
        written: text.to_owned(),
        reason: error.kind().to_string(),
    };
    let content = read_file(Path::new(path)).map_err(unreadable)?;
    Ok(content.trim_end_matches(['\n', '\r']).to_owned())
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("db".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn variables_defaults_and_escapes_are_replaced() {
        let cases = [
            ("plain", "plain"),
            ("", ""),
            ("a${HOST}b${HOST}", "adbbdb"),
            ("${NONE:-127.0.0.1:3000}", "127.0.0.1:3000"),
            ("${HOST:-other}", "db"),
            ("${EMPTY:-other}", "other"),
            ("${EMPTY}", ""),
            ("${NONE:-}", ""),
            ("$${HOST} costs $5", "${HOST} costs $5"),
        ];
        for (text, expected) in cases {
            assert_eq!(expand(text, &env).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_replaced_is_an_error() {
        assert_eq!(expand("${NONE}", &env), Err(ExpandError::Missing("NONE".to_owned())));
        assert_eq!(expand("${HOST", &env), Err(ExpandError::Unclosed));
        assert_eq!(expand("${}", &env), Err(ExpandError::NotAName(String::new())));
        assert_eq!(expand("${1A}", &env), Err(ExpandError::NotAName("1A".to_owned())));
    }

    #[test]
    fn a_replaced_value_is_not_expanded_again() {
        let env = |_: &str| Some("${HOST}".to_owned());
        assert_eq!(expand("${X}", &env).as_deref(), Ok("${HOST}"));
    }

    #[test]
    fn a_secret_may_come_from_a_file_without_its_last_line_break() {
        let read = |path: &Path| match path.to_str() {
            Some("/run/db") => Ok("postgres://a:b@c/d\n".to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        let outside = Outside { env: &env, read_file: Some(&read), read_gateway_file: None };
        assert_eq!(secret("file:/run/${HOST}", &outside).as_deref(), Ok("postgres://a:b@c/d"));
        let error = secret("file:/none", &outside).unwrap_err();
        assert_eq!(
            error.message(),
            "the file named by \"file:/none\" cannot be read: entity not found"
        );
    }

    #[test]
    fn secrets_stay_as_written_when_nothing_may_be_read() {
        let outside = Outside { env: &env, read_file: None, read_gateway_file: None };
        assert_eq!(secret("${NONE}", &outside).as_deref(), Ok("${NONE}"));
    }
}
