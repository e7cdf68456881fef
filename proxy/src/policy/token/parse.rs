//! Takes a compact token (RFC 7515) apart, strictly: what two readers could take for two things, and what
//! would let a token choose its own key, is refused before any signature is looked at.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use routes::TokenAlgorithm;
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

/// Parameters that name a key or an extension: a token does not choose how it is verified.
const REFUSED: [&str; 8] = ["crit", "jku", "jwk", "x5u", "x5c", "b64", "zip", "enc"];

/// Longer key ids are nobody's.
const KID_MAX: usize = 256;

/// A token taken apart; nothing of it is verified.
#[derive(Debug)]
pub(crate) struct Parsed<'t> {
    /// What the signature is over.
    pub(crate) signed: &'t [u8],
    pub(crate) algorithm: TokenAlgorithm,
    pub(crate) kid: Option<String>,
    pub(crate) claims: Map<String, Value>,
    pub(crate) signature: Vec<u8>,
}

/// Why a text is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAToken {
    #[error("the token does not have three parts")]
    Parts,
    #[error("a part of the token is not plain base64url")]
    Encoding,
    #[error("a part of the token is not a JSON object whose names are there once")]
    Json,
    #[error("the header of the token tries to choose its own verification")]
    Header,
    #[error("the token is signed in a way that is not accepted")]
    Algorithm,
}

/// Takes a token apart.
pub(crate) fn parse(token: &str) -> Result<Parsed<'_>, NotAToken> {
    let (signed, signature) = token.rsplit_once('.').ok_or(NotAToken::Parts)?;
    let (header, payload) = signed.split_once('.').ok_or(NotAToken::Parts)?;
    if payload.contains('.') || header.is_empty() || payload.is_empty() || signature.is_empty() {
        return Err(NotAToken::Parts);
    }
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| NotAToken::Encoding);
    let header = object(&decode(header)?)?;
    let (algorithm, kid) = read_header(&header)?;
    let claims = object(&decode(payload)?)?;
    Ok(Parsed { signed: signed.as_bytes(), algorithm, kid, claims, signature: decode(signature)? })
}

fn read_header(header: &Map<String, Value>) -> Result<(TokenAlgorithm, Option<String>), NotAToken> {
    if REFUSED.iter().any(|name| header.contains_key(*name)) {
        return Err(NotAToken::Header);
    }
    let is_token = |typ: &Value| {
        typ.as_str().is_some_and(|typ| {
            let typ = typ.strip_prefix("application/").unwrap_or(typ);
            typ.eq_ignore_ascii_case("jwt") || typ.eq_ignore_ascii_case("at+jwt")
        })
    };
    if header.contains_key("cty") || header.get("typ").is_some_and(|typ| !is_token(typ)) {
        return Err(NotAToken::Header);
    }
    let name = header.get("alg").and_then(Value::as_str).ok_or(NotAToken::Algorithm)?;
    let algorithm = TokenAlgorithm::from_name(name).ok_or(NotAToken::Algorithm)?;
    let kid = match header.get("kid") {
        None => None,
        Some(Value::String(kid)) if (1..=KID_MAX).contains(&kid.len()) => Some(kid.clone()),
        Some(_) => return Err(NotAToken::Header),
    };
    Ok((algorithm, kid))
}

fn object(bytes: &[u8]) -> Result<Map<String, Value>, NotAToken> {
    match serde_json::from_slice(bytes) {
        Ok(Unique(Value::Object(members))) => Ok(members),
        Ok(_) | Err(_) => Err(NotAToken::Json),
    }
}

/// A JSON value in which no object has a name twice.
pub(crate) struct Unique(pub(crate) Value);

struct UniqueVisitor;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor)
    }
}

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Unique;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Unique, E> {
        Ok(Unique(Value::Null))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Unique, E> {
        Ok(Unique(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Unique, E> {
        Ok(Unique(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Unique, E> {
        Ok(Unique(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Unique, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("a number out of range"))?;
        Ok(Unique(Value::Number(number)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Unique, E> {
        Ok(Unique(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Unique, A::Error> {
        let mut array = Vec::new();
        while let Some(Unique(element)) = elements.next_element()? {
            array.push(element);
        }
        Ok(Unique(Value::Array(array)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Unique, A::Error> {
        let mut object = Map::new();
        while let Some((name, Unique(value))) = members.next_entry::<String, Unique>()? {
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("a name is there twice"));
            }
        }
        Ok(Unique(Value::Object(object)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, payload: &str) -> String {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.c2ln", encode(header), encode(payload))
    }

    #[track_caller]
    fn refused(token: &str) -> NotAToken {
        parse(token).map(|parsed| parsed.algorithm).expect_err(token)
    }

    #[test]
    fn a_plain_token_is_taken_apart() {
        let text =
            token(r#"{"alg":"ES256","kid":"k1","typ":"at+jwt"}"#, r#"{"sub":"alice","n":1.5}"#);
        let parsed = parse(&text).expect("a token");
        assert_eq!((parsed.algorithm, parsed.kid.as_deref()), (TokenAlgorithm::ES256, Some("k1")));
        assert_eq!(parsed.claims["sub"], "alice");
        assert_eq!(parsed.signature, b"sig");
        assert_eq!(parsed.signed, text.rsplit_once('.').expect("parts").0.as_bytes());
    }

    #[test]
    fn no_algorithm_and_unknown_ones_are_refused_in_every_spelling() {
        for alg in ["none", "None", "NONE", "nOnE", "", "rs256", "RS1", "HS256 "] {
            let text = token(&format!(r#"{{"alg":"{alg}"}}"#), "{}");
            assert_eq!(refused(&text), NotAToken::Algorithm, "{alg:?}");
        }
        assert_eq!(refused(&token("{}", "{}")), NotAToken::Algorithm);
        assert_eq!(refused(&token(r#"{"alg":["RS256"]}"#, "{}")), NotAToken::Algorithm);
    }

    #[test]
    fn a_header_that_chooses_its_key_is_refused() {
        for name in REFUSED {
            let text = token(&format!(r#"{{"alg":"RS256","{name}":["x"]}}"#), "{}");
            assert_eq!(refused(&text), NotAToken::Header, "{name}");
        }
        for rest in [r#""kid":7"#, r#""kid":"""#, r#""typ":"JWE""#, r#""cty":"JWT""#] {
            let text = token(&format!(r#"{{"alg":"RS256",{rest}}}"#), "{}");
            assert_eq!(refused(&text), NotAToken::Header, "{rest}");
        }
    }

    #[test]
    fn names_that_are_there_twice_are_refused_at_every_depth() {
        assert_eq!(refused(&token(r#"{"alg":"RS256","alg":"RS256"}"#, "{}")), NotAToken::Json);
        for payload in [r#"{"sub":"a","sub":"b"}"#, r#"{"a":[{"b":1,"b":1}]}"#, "[]", "1", "{}x"] {
            assert_eq!(
                refused(&token(r#"{"alg":"RS256"}"#, payload)),
                NotAToken::Json,
                "{payload}"
            );
        }
    }

    #[test]
    fn padding_other_alphabets_and_stray_bits_are_refused() {
        let good = token(r#"{"alg":"RS256"}"#, r#"{"a":1}"#);
        assert!(parse(&good).is_ok());
        let (signed, _) = good.rsplit_once('.').expect("parts");
        for signature in ["c2ln=", "c2l", "c2 n", "c2l+", "c2l/", "c2ln\n", "YR"] {
            let outcome = parse(&format!("{signed}.{signature}")).map(|parsed| parsed.signature);
            let is_allowed = signature == "c2l" && outcome == Ok(b"si".to_vec());
            assert!(is_allowed || outcome == Err(NotAToken::Encoding), "{signature:?} {outcome:?}");
        }
    }

    #[test]
    fn a_token_has_three_parts() {
        for text in ["", ".", "..", "a", "a.b", "a.b.c.d", "e30.e30.", ".e30.c2ln", "e30..c2ln"] {
            assert_eq!(refused(text), NotAToken::Parts, "{text:?}");
        }
    }
}
