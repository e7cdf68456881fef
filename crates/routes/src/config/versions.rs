//! Which version of an API a request asks for, by a header field or by a media type.

use serde::Serialize;

/// Longest text of a version, in bytes.
pub(crate) const VERSION_BYTES_MAX: usize = 32;

/// `[api_versions]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApiVersions {
    /// Header field with the version, lower case.
    pub header: Option<String>,
    /// What stands before and after the version in a media type of `Accept`.
    pub media_type: Option<(String, String)>,
    /// Of requests that ask for none; without it those match routes without a version only.
    pub default: Option<String>,
}

/// A request asks for two versions, or for a text that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request does not ask for exactly one version of the API")]
pub struct UnclearVersion;

impl ApiVersions {
    /// The version a request asks for, from the values of the field [`Self::header`] and those of `Accept`.
    /// The field wins; of several media types with a version the one with the highest weight does.
    ///
    /// # Errors
    /// When the field is there twice or holds no version. Media types that name no version are no error.
    pub fn asked<'h>(
        &'h self,
        mut field: impl Iterator<Item = &'h [u8]>,
        accept: impl Iterator<Item = &'h [u8]>,
    ) -> Result<Option<&'h str>, UnclearVersion> {
        match (field.next(), field.next()) {
            (Some(value), None) => return text(value).map(Some).ok_or(UnclearVersion),
            (Some(_), Some(_)) => return Err(UnclearVersion),
            (None, _) => {}
        }
        Ok(self.of_media_types(accept).or(self.default.as_deref()))
    }

    fn of_media_types<'h>(&self, accept: impl Iterator<Item = &'h [u8]>) -> Option<&'h str> {
        let (before, after) = self.media_type.as_ref()?;
        let mut best: Option<(f32, &str)> = None;
        for range in
            accept.filter_map(|value| std::str::from_utf8(value).ok()).flat_map(|v| v.split(','))
        {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let version = strip_ascii_prefix(name, before)
                .and_then(|rest| strip_ascii_suffix(rest, after))
                .and_then(|version| text(version.as_bytes()));
            let weight =
                parts.find_map(|part| part.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
            if let Some(version) = version
                && weight > best.map_or(0.0, |(weight, _)| weight)
            {
                best = Some((weight, version));
            }
        }
        best.map(|(_, version)| version)
    }
}

/// A version as it may be written: letters, digits, `.`, `-` and `_`.
pub(crate) fn text(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let is_version = (1..=VERSION_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_plain);
    is_version.then_some(text)
}

fn strip_ascii_prefix<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn strip_ascii_suffix<'t>(text: &'t str, suffix: &str) -> Option<&'t str> {
    let (rest, end) = text.split_at_checked(text.len().checked_sub(suffix.len())?)?;
    end.eq_ignore_ascii_case(suffix).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(field: &[&str], accept: &[&str]) -> Result<Option<String>, UnclearVersion> {
        let versions = ApiVersions {
            header: Some("accept-version".to_owned()),
            media_type: Some(("application/vnd.shop.v".to_owned(), "+json".to_owned())),
            default: Some("1".to_owned()),
        };
        let field = field.iter().map(|value| value.as_bytes());
        let accept = accept.iter().map(|value| value.as_bytes());
        versions.asked(field, accept).map(|version| version.map(str::to_owned))
    }

    fn version(text: &str) -> Result<Option<String>, UnclearVersion> {
        Ok(Some(text.to_owned()))
    }

    #[test]
    fn the_field_wins_over_the_media_type_and_both_over_the_default() {
        let two = "application/vnd.shop.v2+json";
        assert_eq!(asked(&["3"], &[two]), version("3"));
        assert_eq!(asked(&[], &[two]), version("2"));
        assert_eq!(asked(&[], &["text/html, APPLICATION/VND.Shop.v2+JSON;q=0.5"]), version("2"));
        assert_eq!(asked(&[], &["application/json"]), version("1"));
        assert_eq!(asked(&[], &[]), version("1"));
    }

    #[test]
    fn of_several_media_types_the_weightiest_is_meant() {
        let three = "application/vnd.shop.v2+json;q=0.4, application/vnd.shop.v3+json; q=0.9";
        assert_eq!(asked(&[], &[three]), version("3"));
        let first = ["application/vnd.shop.v2+json", "application/vnd.shop.v3+json"];
        assert_eq!(asked(&[], &first), version("2"));
        assert_eq!(asked(&[], &["application/vnd.shop.v2+json;q=0"]), version("1"));
        assert_eq!(
            asked(&[], &["application/vnd.shop.v+json, application/vnd.shop.v"]),
            version("1")
        );
    }

    #[test]
    fn a_field_that_is_unclear_is_refused() {
        for field in [&["1", "2"][..], &["1", "1"], &["1,2"], &[""], &["a b"], &["\u{e4}"]] {
            assert_eq!(asked(field, &[]), Err(UnclearVersion), "{field:?}");
        }
        assert_eq!(asked(&["x".repeat(33).as_str()], &[]), Err(UnclearVersion));
    }
}
