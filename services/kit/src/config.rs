//! Configuration from environment variables. All problems are reported at once, not the first one.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// The variables a service reads, and the problems found while reading them.
#[derive(Debug)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    problems: Vec<String>,
}

/// Everything that is wrong with the configuration, one line for each problem.
#[derive(Debug, thiserror::Error)]
#[error("configuration is not usable:\n  {}", problems.join("\n  "))]
pub struct ConfigError {
    problems: Vec<String>,
}

/// A value that never appears in logs or `Debug` output.
#[derive(Clone)]
pub struct Secret(String);

impl Environment {
    /// The variables of this process. Those that are not UTF-8 count as absent.
    #[must_use]
    pub fn from_process() -> Self {
        Self::from_pairs(std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        }))
    }

    /// The given variables, for tests and embedding.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { variables: pairs.into_iter().collect(), problems: Vec::new() }
    }

    /// A variable that must be present, not empty, and good for `parse`. `None` only when a problem
    /// was recorded.
    pub fn required<T, E: fmt::Display>(
        &mut self,
        name: &str,
        parse: impl FnOnce(String) -> Result<T, E>,
    ) -> Option<T> {
        let Some(value) = self.present(name) else {
            self.problems.push(format!("set {name}: it has no default"));
            return None;
        };
        parse(value).map_err(|error| self.problems.push(format!("{name}: {error}"))).ok()
    }

    /// A variable that may be absent; one that is there must be good for `parse`. `None` when it is absent,
    /// or a problem was recorded.
    pub fn optional<T, E: fmt::Display>(
        &mut self,
        name: &str,
        parse: impl FnOnce(String) -> Result<T, E>,
    ) -> Option<T> {
        let value = self.present(name)?;
        parse(value).map_err(|error| self.problems.push(format!("{name}: {error}"))).ok()
    }

    /// A duration such as `10s` or `500ms`, greater than zero.
    pub fn duration(&mut self, name: &str, default: Duration) -> Duration {
        let Some(value) = self.present(name) else { return default };
        match humantime::parse_duration(&value) {
            Ok(duration) if !duration.is_zero() => duration,
            Ok(_) => {
                self.problems.push(format!("{name} must be longer than zero, for example 10s"));
                default
            }
            Err(error) => {
                self.problems.push(format!("{name} is not a duration such as 10s: {error}"));
                default
            }
        }
    }

    /// A whole number in `1..=max`.
    pub fn count(&mut self, name: &str, default: u32, max: u32) -> u32 {
        let Some(value) = self.present(name) else { return default };
        match value.parse() {
            Ok(count) if (1..=max).contains(&count) => count,
            Ok(_) | Err(_) => {
                self.problems.push(format!("{name} must be a whole number from 1 to {max}"));
                default
            }
        }
    }

    /// Ends reading. `required` is what [`Environment::required`] gave, combined.
    ///
    /// # Errors
    /// Every problem recorded so far, together.
    pub fn finish<T>(self, required: Option<T>) -> Result<T, ConfigError> {
        match required {
            Some(value) if self.problems.is_empty() => Ok(value),
            Some(_) | None => Err(ConfigError { problems: self.problems }),
        }
    }

    fn present(&self, name: &str) -> Option<String> {
        self.variables.get(name).filter(|value| !value.trim().is_empty()).cloned()
    }
}

impl Secret {
    /// Wraps a value that must not be printed.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        Environment::from_pairs(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
    }

    #[test]
    fn all_problems_are_reported_together() {
        let mut env = environment(&[
            ("EVERY", "soon"),
            ("POOL", "0"),
            ("KEY", " "),
            ("PORT", "x"),
            ("AGE", "y"),
        ]);
        assert_eq!(env.optional("AGE", |age| age.parse::<u16>()), None);
        let key = env.required("KEY", Ok::<_, ConfigError>);
        let port = env.required("PORT", |port| port.parse::<u16>());
        assert_eq!(env.duration("EVERY", Duration::from_secs(10)), Duration::from_secs(10));
        assert_eq!(env.count("POOL", 5, 50), 5);
        let text = env.finish(key.zip(port)).unwrap_err().to_string();
        for word in ["KEY", "EVERY", "POOL", "PORT", "AGE"] {
            assert!(text.contains(word), "{word} is missing in {text}");
        }
    }

    #[test]
    fn good_values_are_read_and_absent_ones_take_their_default() {
        let mut env = environment(&[("EVERY", "500ms"), ("PORT", "7101")]);
        assert_eq!(env.duration("EVERY", Duration::from_secs(10)), Duration::from_millis(500));
        assert_eq!(env.count("POOL", 5, 50), 5);
        assert_eq!(env.optional("PORT", |port| port.parse::<u16>()), Some(7101));
        assert_eq!(env.optional("HOST", |host| host.parse::<u16>()), None);
        let port = env.required("PORT", |port| port.parse::<u16>());
        assert_eq!(env.finish(port).unwrap(), 7101);
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(redacted)");
    }
}
