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
