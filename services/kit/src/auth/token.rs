//! Where a request carries its token. Cookies win over the header, as in the monolith.

use http::{HeaderMap, header};

const COOKIES: [&str; 2] = ["auth_token", "access_token"];

/// The first token among cookie `auth_token`, cookie `access_token`, `Authorization: Bearer`.
pub(super) fn find(headers: &HeaderMap) -> Option<&str> {
    COOKIES.iter().find_map(|name| cookie(headers, name)).or_else(|| bearer(headers))
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, value)| *key == name && !value.is_empty())
        .map(|(_, value)| value.trim_matches('"'))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
