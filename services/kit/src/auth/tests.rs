//! Tokens of every kind, in every place.

use axum::response::IntoResponse as _;
use http::{HeaderValue, StatusCode, header};
use jsonwebtoken::{EncodingKey, Header, encode, get_current_timestamp};
use serde_json::json;

use super::*;

const SECRET: &str = "a secret of more than thirty-two characters";

fn verifier() -> Verifier {
    Verifier::new(&Secret::new(SECRET)).unwrap()
}

fn signed(claims: &serde_json::Value, secret: &str, algorithm: Algorithm) -> String {
    encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

fn token(user_id: i64, role: &str) -> String {
    let now = get_current_timestamp();
    let claims = json!({"user_id": user_id, "email": "anna", "login": "anna", "role": role,
        "exp": now + 60, "iat": now, "nbf": now, "iss": "gotrs", "sub": "anna"});
    signed(&claims, SECRET, Algorithm::HS256)
}

fn headers(pairs: &[(header::HeaderName, String)]) -> HeaderMap {
    pairs.iter().map(|(k, v)| (k.clone(), HeaderValue::from_str(v).unwrap())).collect()
}

fn bearer(token: &str) -> HeaderMap {
    headers(&[(header::AUTHORIZATION, format!("Bearer {token}"))])
}

#[test]
fn cookies_win_over_the_header_and_auth_token_over_access_token() {
    let cookie = format!("a=b; access_token={}; auth_token={}", token(2, ""), token(1, ""));
    let all = headers(&[
        (header::COOKIE, cookie),
        (header::AUTHORIZATION, format!("Bearer {}", token(3, ""))),
    ]);
    assert_eq!(verifier().caller(&all).unwrap().user_id, 1);
    let two = headers(&[
        (header::COOKIE, format!("auth_token=; access_token={}", token(2, ""))),
        (header::AUTHORIZATION, format!("Bearer {}", token(3, ""))),
    ]);
    assert_eq!(verifier().caller(&two).unwrap().user_id, 2);
    assert_eq!(verifier().caller(&bearer(&token(3, ""))).unwrap().user_id, 3);
}

#[test]
fn a_customer_is_not_an_agent() {
    assert_eq!(verifier().caller(&bearer(&token(1, "Customer"))).unwrap().role, Role::Customer);
    assert_eq!(verifier().caller(&bearer(&token(1, "Admin"))).unwrap().role, Role::Agent);
}

#[test]
fn tokens_the_monolith_would_not_accept_are_invalid() {
    let now = get_current_timestamp();
    let claims = |exp: u64, nbf: u64| json!({"user_id": 1, "exp": exp, "nbf": nbf});
    let cases = [
        signed(&claims(now - 1, now - 60), SECRET, Algorithm::HS256),
        signed(&claims(now + 120, now + 60), SECRET, Algorithm::HS256),
        signed(&claims(now + 60, now), "another secret of the same rough length", Algorithm::HS256),
        signed(&claims(now + 60, now), SECRET, Algorithm::HS512),
        token(i64::MAX, ""),
        "not.a.token".to_owned(),
    ];
    for case in cases {
        let result = verifier().caller(&bearer(&case));
        assert_eq!(result, Err(UnauthenticatedReason::InvalidToken), "{case}");
    }
    assert_eq!(verifier().caller(&HeaderMap::new()), Err(UnauthenticatedReason::MissingToken));
}

#[test]
fn a_secret_the_monolith_would_pad_is_refused() {
    assert!(Verifier::new(&Secret::new("x".repeat(31))).is_err());
    assert!(Verifier::new(&Secret::new("x".repeat(32))).is_ok());
}

#[test]
fn browsers_are_sent_to_the_login_page_and_programs_get_401() {
    for (accept, status) in [
        ("", StatusCode::SEE_OTHER),
        ("text/html,application/json", StatusCode::SEE_OTHER),
        ("*/*", StatusCode::SEE_OTHER),
        ("application/json", StatusCode::UNAUTHORIZED),
    ] {
        let headers = headers(&[(header::ACCEPT, accept.to_owned())]);
        let refusal = Unauthenticated::new(UnauthenticatedReason::MissingToken, &headers);
        let response = refusal.into_response();
        assert_eq!(response.status(), status, "{accept:?}");
        assert!(!response.headers().contains_key(header::SET_COOKIE));
    }
}

#[test]
fn an_invalid_token_is_deleted_from_the_browser() {
    let refusal = Unauthenticated::new(UnauthenticatedReason::InvalidToken, &HeaderMap::new());
    let response = refusal.into_response();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "even a browser is told");
    assert_eq!(response.headers().get_all(header::SET_COOKIE).iter().count(), 4);
}

/// A key pair of Ed25519 that is for nothing but this: PKCS#8, and its public half.
const IDENTITY_KEY: &str = "302e020100300506032b6570042204200e87c2fa00a75f3b70eb77d4327d9c179f921242ed424510ecded2a88fd771ce";
const IDENTITY_X: &str = "t4tkRFOsaK7jShhaSMApUHoJQMG9zoo3fWpR74BD1wg";

fn believing() -> Verifier {
    let set = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA",
        "kid": "one", "x": IDENTITY_X }] });
    verifier().with_identities(IdentityKeys::new(&set.to_string(), "ticket").unwrap())
}

fn identity(change: impl FnOnce(&mut serde_json::Value)) -> String {
    let now = get_current_timestamp();
    let mut claims = json!({ "iss": "ficus", "aud": "ticket", "iat": now, "exp": now + 60, "by": "main",
        "sub": "anna", "user_id": 7, "email": "anna@shop.example", "role": "Admin" });
    change(&mut claims);
    let digits = IDENTITY_KEY.as_bytes().chunks(2);
    let der: Vec<u8> = digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    let header = Header { kid: Some("one".to_owned()), ..Header::new(Algorithm::EdDSA) };
    encode(&header, &claims, &EncodingKey::from_ed_der(&der)).unwrap()
}

fn with_identity(identity: &str) -> HeaderMap {
    headers(&[(header::HeaderName::from_static("ficus-identity"), identity.to_owned())])
}

#[test]
fn an_identity_of_the_proxy_counts_before_any_token() {
    let mut all = with_identity(&identity(|_| ()));
    all.extend(bearer(&token(1, "Customer")));
    let caller = believing().caller(&all).unwrap();
    assert_eq!((caller.user_id, caller.role), (7, Role::Agent));
    assert_eq!(caller.email, "anna@shop.example");
    // who has no keys believes nobody
    assert_eq!(verifier().caller(&all).unwrap().user_id, 1);
    assert_eq!(believing().caller(&bearer(&token(3, ""))).unwrap().user_id, 3);
}

#[test]
fn identities_that_are_not_good_are_refused_whatever_token_is_there() {
    let now = get_current_timestamp();
    let forged = signed(
        &json!({ "aud": "ticket", "exp": now + 60, "user_id": 7 }),
        SECRET,
        Algorithm::HS256,
    );
    let good = identity(|_| ());
    let cases = [
        identity(|claims| claims["aud"] = json!("users")),
        identity(|claims| drop(claims.as_object_mut().unwrap().remove("aud"))),
        identity(|claims| claims["exp"] = json!(now - 6)),
        identity(|claims| drop(claims.as_object_mut().unwrap().remove("exp"))),
        identity(|claims| drop(claims.as_object_mut().unwrap().remove("user_id"))),
        good.replacen("eyJ", "eyI", 1),
        format!("{}AAAA", good.trim_end_matches(|c| c != '.')),
        forged,
        String::new(),
    ];
    for case in cases {
        let mut all = with_identity(&case);
        all.extend(bearer(&token(1, "")));
        assert_eq!(believing().caller(&all), Err(UnauthenticatedReason::InvalidToken), "{case}");
    }
    let mut two = with_identity(&good);
    two.append("ficus-identity", HeaderValue::from_str(&good).unwrap());
    assert_eq!(believing().caller(&two), Err(UnauthenticatedReason::InvalidToken));
}

#[test]
fn what_is_no_set_of_public_keys_is_refused() {
    let secret = json!({ "keys": [{ "kty": "oct", "k": "c2VjcmV0" }] }).to_string();
    for set in ["", "{}", "[]", r#"{"keys":[]}"#, secret.as_str()] {
        assert!(IdentityKeys::new(set, "ticket").is_err(), "{set}");
    }
}
