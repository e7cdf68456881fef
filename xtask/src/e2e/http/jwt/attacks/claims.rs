//! Claims that must be right: issuer, audience, times, scopes.

use serde_json::{Value, json};

use super::{Attack, Expect};
use crate::e2e::http::jwt::forge::{self, By, ED_HEADER, Forge, LEEWAY, claims, now};

/// Seconds a case may take until the proxy reads it.
const MARGIN: i64 = 15;

pub(super) fn all(forge: &Forge) -> Vec<Attack> {
    [whose(forge), times(forge), rights(forge)].concat()
}

/// A token with this claim; without it where there is no value.
fn with(forge: &Forge, claim: &str, value: Option<Value>) -> String {
    let mut claims = claims("https://ed.example");
    match (claims.as_object_mut(), value) {
        (Some(members), None) => drop(members.remove(claim)),
        (Some(members), Some(value)) => drop(members.insert(claim.to_owned(), value)),
        (None, _) => {}
    }
    forge.token(ED_HEADER, &claims.to_string(), By::Ed)
}

fn whose(forge: &Forge) -> Vec<Attack> {
    let mut all = Vec::new();
    let mut add = |claim: &str, value: Option<Value>, rule, expect| {
        let shown = value.as_ref().map_or_else(|| "missing".to_owned(), Value::to_string);
        let token = with(forge, claim, value);
        all.push(Attack::token(format!("{claim} {shown}"), rule, &token).expecting(expect));
    };
    let rule = "RFC 7519 4.1.3: aud";
    for value in [
        json!("bank"),
        json!(""),
        json!("SHOP"),
        json!("shop "),
        json!("shops"),
        json!("sho"),
        json!("shop,bank"),
        json!(["bank"]),
        json!([]),
        json!([["shop"]]),
        json!({ "shop": true }),
        json!(null),
        json!(true),
        json!(0),
    ] {
        add("aud", Some(value), rule, Expect::Unauthenticated);
    }
    add("aud", None, rule, Expect::Unauthenticated);
    add("aud", Some(json!(["bank", "shop"])), rule, Expect::Passes);
    let rule = "RFC 7519 4.1.1: iss";
    for value in [
        json!("https://evil.example"),
        json!("https://ed.example/"),
        json!("https://ED.example"),
        json!("http://ed.example"),
        json!("https://ed.example.evil.example"),
        json!(" https://ed.example"),
        json!("https://ed.example\u{0}"),
        // good issuers that did not sign it
        json!("https://rsa.example"),
        json!("https://ec.example"),
        json!("https://turning.example"),
        json!("monolith"),
        // what the issuer is called in the file
        json!("ed"),
        json!(["https://ed.example"]),
        json!(null),
        json!(""),
    ] {
        add("iss", Some(value), rule, Expect::Unauthenticated);
    }
    add("iss", None, rule, Expect::Unauthenticated);
    all
}

fn times(forge: &Forge) -> Vec<Attack> {
    let mut all = Vec::new();
    let mut add = |name: &str, claim: &str, value: Option<Value>, expect| {
        let rule = if claim == "nbf" { "RFC 7519 4.1.5: nbf" } else { "RFC 7519 4.1.4: exp" };
        let token = with(forge, claim, value);
        all.push(Attack::token(format!("{claim} {name}"), rule, &token).expecting(expect));
    };
    let refused = Expect::Unauthenticated;
    add("a second too old", "exp", Some(json!(now() - LEEWAY - 1)), refused);
    add("exactly at its end", "exp", Some(json!(now() - LEEWAY)), refused);
    add("within the leeway", "exp", Some(json!(now() - LEEWAY + MARGIN)), Expect::Passes);
    add("an hour ago", "exp", Some(json!(now() - 3_600)), refused);
    add("with parts of a second", "exp", Some(json!(now() as f64 + 600.5)), Expect::Passes);
    add("in milliseconds, too far to be seconds", "exp", Some(json!(1e18)), refused);
    add("missing", "exp", None, refused);
    for value in [
        json!(null),
        json!("9999999999"),
        json!(true),
        json!([9_999_999_999_u64]),
        json!(-1),
        json!(0),
        json!(1e300),
        json!(-1e300),
        json!(1e-300),
    ] {
        add(&value.to_string(), "exp", Some(value.clone()), refused);
    }
    add("within the leeway", "nbf", Some(json!(now() + LEEWAY - 1)), Expect::Passes);
    add("beyond the leeway", "nbf", Some(json!(now() + LEEWAY + MARGIN)), refused);
    add("in a year", "nbf", Some(json!(now() + 31_536_000)), refused);
    for value in [json!("0"), json!(null), json!([0]), json!(false), json!(1e300)] {
        add(&value.to_string(), "nbf", Some(value.clone()), refused);
    }
    for value in [json!("now"), json!({}), json!(null)] {
        add(&value.to_string(), "iat", Some(value.clone()), refused);
    }
    all
}

/// `/admin` wants the issuer of RSA and the scope `admin`.
fn rights(forge: &Forge) -> Vec<Attack> {
    let rule = "RFC 6750 3.1: insufficient scope";
    let mut all = Vec::new();
    for (scopes, expect) in [
        (json!({ "scope": "read admin write" }), Expect::Passes),
        (json!({ "scope": "admin" }), Expect::Passes),
        (json!({ "scp": ["read", "admin"] }), Expect::Passes),
        (json!({}), Expect::Forbidden),
        (json!({ "scope": "" }), Expect::Forbidden),
        (json!({ "scope": "administrator" }), Expect::Forbidden),
        (json!({ "scope": "no-admin" }), Expect::Forbidden),
        (json!({ "scope": "ADMIN" }), Expect::Forbidden),
        (json!({ "scope": "read,admin" }), Expect::Forbidden),
        (json!({ "scope": "read\tadmin" }), Expect::Forbidden),
        (json!({ "scope": { "admin": true } }), Expect::Forbidden),
        (json!({ "scope": true }), Expect::Forbidden),
        (json!({ "scp": [["admin"]] }), Expect::Forbidden),
        (json!({ "roles": ["admin"], "sub": "admin" }), Expect::Forbidden),
    ] {
        let mut claims = claims("https://rsa.example");
        if let (Some(members), Some(more)) = (claims.as_object_mut(), scopes.as_object()) {
            members.extend(more.clone());
        }
        let header = r#"{"alg":"RS256","kid":"rsa"}"#;
        let token = forge.token(header, &claims.to_string(), By::Rs256);
        let attack = Attack::token(format!("scopes {scopes}"), rule, &token);
        all.push(attack.at("/admin").expecting(expect));
    }
    let other = forge::with(claims("https://ed.example"), "scope", json!("admin"));
    let token = forge.token(ED_HEADER, &other.to_string(), By::Ed);
    let rule = "RFC 8725 3.8: issuers of this route";
    // The first request lets the proxy remember the token.
    all.push(Attack::token("at a route of its issuer", rule, &token).expecting(Expect::Passes));
    all.push(Attack::token("the same at a route of another issuer", rule, &token).at("/admin"));
    all
}
