//! Header fields and the path, changed on their way.

use http::{HeaderName, HeaderValue, Uri, uri::PathAndQuery};
use pingora::http::{RequestHeader, ResponseHeader};
use routes::{HeaderRules, PathRule};

/// Changes of header fields, ready to be made.
#[derive(Debug)]
pub(super) struct FieldRules {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
}

impl FieldRules {
    /// `None` when a text is no header field.
    pub(super) fn new(config: &HeaderRules) -> Option<Self> {
        let name = |text: &str| HeaderName::from_bytes(text.as_bytes()).ok();
        let field = |(text, value): (&String, &String)| {
            Some((name(text)?, HeaderValue::from_str(value).ok()?))
        };
        Some(Self {
            remove: config.remove.iter().map(|text| name(text)).collect::<Option<_>>()?,
            set: config.set.iter().map(field).collect::<Option<_>>()?,
            add: config.add.iter().map(field).collect::<Option<_>>()?,
        })
    }

    pub(super) fn on_request(&self, head: &mut RequestHeader) -> pingora::Result<()> {
        for name in &self.remove {
            head.remove_header(name);
        }
        for (name, value) in &self.set {
            head.insert_header(name.clone(), value.clone())?;
        }
        for (name, value) in &self.add {
            head.append_header(name.clone(), value.clone())?;
        }
        Ok(())
    }

    pub(super) fn on_response(&self, head: &mut ResponseHeader) -> pingora::Result<()> {
        for name in &self.remove {
            head.remove_header(name);
        }
        for (name, value) in &self.set {
            head.insert_header(name.clone(), value.clone())?;
        }
        for (name, value) in &self.add {
            head.append_header(name.clone(), value.clone())?;
        }
        Ok(())
    }
}

/// The address as the upstream gets it; `None` when it stays.
pub(super) fn rewritten(rule: &PathRule, uri: &Uri) -> Option<Uri> {
    if rule.strip.is_none() && rule.prefix.is_none() {
        return None;
    }
    let path = uri.path();
    let stripped = rule.strip.as_deref().and_then(|strip| path.strip_prefix(strip));
    // Only whole segments: `/shop` is not the front of `/shopping`.
    let stripped = stripped.filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let rest = stripped.unwrap_or(path);
    let rest = if rest.is_empty() { "/" } else { rest };
    let prefix = rule.prefix.as_deref().unwrap_or_default();
    let query = uri.query().map_or_else(String::new, |query| format!("?{query}"));
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(format!("{prefix}{rest}{query}").parse::<PathAndQuery>().ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(strip: Option<&str>, prefix: Option<&str>, from: &str, to: Option<&str>) {
        let rule = PathRule { strip: strip.map(Into::into), prefix: prefix.map(Into::into) };
        let uri = rewritten(&rule, &from.parse().expect("an address"));
        assert_eq!(uri.map(|uri| uri.to_string()).as_deref(), to, "{from}");
    }

    #[test]
    fn whole_segments_are_stripped_and_a_prefix_is_put_in_front() {
        check(None, None, "/a", None);
        check(Some("/shop"), None, "/shop/a?b=%20c", Some("/a?b=%20c"));
        check(Some("/shop"), None, "/shop", Some("/"));
        check(Some("/shop"), None, "/shopping", Some("/shopping"));
        check(None, Some("/v2"), "/a/", Some("/v2/a/"));
        check(Some("/api/v1"), Some("/v2"), "/api/v1/t/7", Some("/v2/t/7"));
        check(Some("/shop"), None, "http://shop.example/shop/a", Some("http://shop.example/a"));
    }
}
