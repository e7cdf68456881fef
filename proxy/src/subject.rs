//! Who a request comes from, for stickiness and causal reads only: nothing here is verified, so nothing
//! may be granted because of it.

use std::net::IpAddr;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, header};
use routes::SubjectSource;

/// Cookies that may carry the token, as the reference monolith names them.
const TOKEN_COOKIES: [&str; 2] = ["auth_token", "access_token"];

/// The first source that is present; the peer's address when none is.
pub(crate) fn of(sources: &[SubjectSource], headers: &HeaderMap, peer: Option<IpAddr>) -> Vec<u8> {
    sources.iter().find_map(|source| from(source, headers, peer)).unwrap_or_else(|| address(peer))
}

/// What one source says, if it is present.
pub(crate) fn from(
    source: &SubjectSource,
    headers: &HeaderMap,
    peer: Option<IpAddr>,
) -> Option<Vec<u8>> {
    match source {
        SubjectSource::JwtClaim(claim) => token(headers).and_then(|token| read_claim(token, claim)),
        SubjectSource::Cookie(name) => cookie(headers, name).map(|value| value.as_bytes().to_vec()),
        SubjectSource::Header(name) => headers
            .get(name)
            .map(|value| value.as_bytes().to_vec())
            .filter(|value| !value.is_empty()),
        SubjectSource::Ip => Some(address(peer)),
    }
}

/// The peer's address as a subject.
pub(crate) fn address(peer: Option<IpAddr>) -> Vec<u8> {
    peer.map(|address| address.to_string().into_bytes()).unwrap_or_default()
}

fn token(headers: &HeaderMap) -> Option<&str> {
    TOKEN_COOKIES.iter().find_map(|name| cookie(headers, name)).or_else(|| {
        let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    })
}

/// More than one token: which of them counts would be a guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ambiguous;

/// The bearer token of a request: that of `Authorization`, or else of the first of these cookies.
///
/// # Errors
/// When there is more than one `Authorization` field, or a cookie that is there with two values.
pub(crate) fn bearer<'h>(
    headers: &'h HeaderMap,
    cookies: &[String],
) -> Result<Option<&'h str>, Ambiguous> {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let (first, second) = (fields.next(), fields.next());
    if second.is_some() {
        return Err(Ambiguous);
    }
    let of_field = first.and_then(|value| {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    if of_field.is_some() {
        return Ok(of_field);
    }
    for name in cookies {
        let mut values = http_rules::cookie::find_all(cookies_of(headers), name);
        if let Some(first) = values.next() {
            return if values.all(|other| other == first) {
                Ok(Some(first))
            } else {
                Err(Ambiguous)
            };
        }
    }
    Ok(None)
}

/// The first cookie of this name that is not empty.
pub(crate) fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    http_rules::cookie::find(cookies_of(headers), name)
}

fn cookies_of(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok())
}

fn read_claim(token: &str, claim: &str) -> Option<Vec<u8>> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&payload).ok()?;
    match claims.get(claim)? {
        serde_json::Value::String(text) if !text.is_empty() => Some(text.clone().into_bytes()),
        serde_json::Value::Number(number) => Some(number.to_string().into_bytes()),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::String(_)
        | serde_json::Value::Array(_)
        | serde_json::Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn sources() -> Vec<SubjectSource> {
        vec![
            SubjectSource::JwtClaim("sub".to_owned()),
            SubjectSource::Cookie("session_id".to_owned()),
            SubjectSource::Header("x-api-key".to_owned()),
            SubjectSource::Ip,
        ]
    }

    #[track_caller]
    fn check(fields: &[(&'static str, String)], expected: &str) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).expect("a header value"));
        }
        let peer = Some(IpAddr::from([10, 0, 0, 7]));
        let subject = of(&sources(), &headers, peer);
        assert_eq!(String::from_utf8_lossy(&subject), expected);
    }

    fn jwt(payload: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn the_first_source_that_is_present_wins() {
        let token = jwt(r#"{"sub":"alice"}"#);
        let session = ("cookie", "a=b; session_id=s1".to_owned());
        let key = ("x-api-key", "k1".to_owned());
        check(&[("authorization", format!("Bearer {token}")), session.clone()], "alice");
        check(&[session, key.clone()], "s1");
        check(&[key], "k1");
        check(&[], "10.0.0.7");
    }

    #[test]
    fn a_token_in_a_cookie_counts_as_one_in_the_header() {
        let token = jwt(r#"{"sub":42}"#);
        check(&[("cookie", format!("x=1; access_token={token}"))], "42");
    }

    #[test]
    fn which_of_two_bearer_tokens_counts_is_not_guessed() {
        let names = ["sid".to_owned(), "token".to_owned()];
        let of = |fields: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, HeaderValue::from_static(value));
            }
            bearer(&headers, &names).map(|token| token.map(str::to_owned))
        };
        let found = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(of(&[("authorization", "bearer a"), ("cookie", "sid=b")]), found("a"));
        assert_eq!(of(&[("cookie", "token=c; sid=b")]), found("b"));
        assert_eq!(of(&[("cookie", "sid=b"), ("cookie", "sid=b")]), found("b"));
        assert_eq!(of(&[("cookie", "sid=b; sid=c")]), Err(Ambiguous));
        assert_eq!(of(&[("authorization", "Bearer a"), ("authorization", "x")]), Err(Ambiguous));
        assert_eq!(of(&[("authorization", "Basic a")]), Ok(None));
    }

    #[test]
    fn broken_tokens_and_missing_claims_fall_through() {
        for token in ["", "a", "a.b.c", "e30.!!.x", &jwt("[]"), &jwt(r#"{"sub":null}"#)] {
            check(&[("authorization", format!("Bearer {token}"))], "10.0.0.7");
        }
        check(&[("authorization", "Basic abc".to_owned())], "10.0.0.7");
    }
}
