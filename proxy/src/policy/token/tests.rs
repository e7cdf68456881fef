//! Every algorithm with keys of its kind, and every claim that must be right.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair,
    },
};
use routes::{Secret, TokenAlgorithm};
use rsa::{
    RsaPrivateKey, pkcs1v15, pss,
    rand_core::OsRng,
    sha2::{Sha256, Sha384, Sha512},
    signature::{RandomizedSigner, SignatureEncoding, Signer},
    traits::PublicKeyParts,
};
use serde_json::json;

use super::*;

const NOW: u64 = 1_800_000_000;
const SHARED: &str = "0123456789abcdef0123456789abcdef";

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn claims() -> Value {
    json!({ "iss": "https://id.example", "aud": "shop", "sub": "alice", "exp": NOW + 60 })
}

/// A token over these parts, signed by `sign`.
fn token(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let signed = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
    let signature = encode(sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn shared(claims: &Value) -> String {
    token(&json!({ "alg": "HS256" }), claims, |signed| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, SHARED.as_bytes());
        hmac::sign(&key, signed).as_ref().to_vec()
    })
}

fn issuers(algorithms: Vec<TokenAlgorithm>, keys: TokenKeys) -> Arc<Issuers> {
    let issuer = Issuer {
        issuer: "https://id.example".to_owned(),
        audience: vec!["shop".to_owned(), "api".to_owned()],
        algorithms,
        keys,
        refresh: Duration::from_secs(60),
        stale: Duration::from_secs(600),
        leeway: Duration::from_secs(5),
        token_max: 4096,
    };
    Issuers::new(&BTreeMap::from([("main".to_owned(), issuer)]), None)
}

fn of_secret() -> Arc<Issuers> {
    issuers(vec![TokenAlgorithm::HS256], TokenKeys::Secret(Secret(SHARED.to_owned())))
}

fn of_keys(algorithms: Vec<TokenAlgorithm>, keys: &[Value]) -> Arc<Issuers> {
    let issuers = issuers(algorithms, TokenKeys::Jwks("http://127.0.0.1/".to_owned()));
    if !keys.is_empty() {
        take(&issuers, keys);
    }
    issuers
}

fn take(issuers: &Issuers, keys: &[Value]) {
    let document = json!({ "keys": keys }).to_string();
    issuers.known["main"].take(document.as_bytes()).expect("a key set");
}

fn verify(issuers: &Issuers, token: &str) -> Result<Arc<Verified>, Refused> {
    issuers.verify(token, &["main".to_owned()], NOW)
}

fn ec(scheme: &'static EcdsaSigningAlgorithm, curve: &str, size: usize) -> (EcdsaKeyPair, Value) {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(scheme, &random).expect("a key");
    let pair = EcdsaKeyPair::from_pkcs8(scheme, document.as_ref(), &random).expect("a key");
    let point = pair.public_key().as_ref().to_vec();
    let (x, y) = (encode(&point[1..=size]), encode(&point[size + 1..]));
    (pair, json!({ "kty": "EC", "crv": curve, "kid": "k1", "use": "sig", "x": x, "y": y }))
}

fn ed() -> (Ed25519KeyPair, Value) {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
    let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("a key");
    let key =
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": encode(pair.public_key()) });
    (pair, key)
}

#[test]
fn elliptic_curves_verify_what_they_signed_and_nothing_else() {
    let random = SystemRandom::new();
    for (algorithm, scheme, curve, size) in [
        (TokenAlgorithm::ES256, &ECDSA_P256_SHA256_FIXED_SIGNING, "P-256", 32),
        (TokenAlgorithm::ES384, &ECDSA_P384_SHA384_FIXED_SIGNING, "P-384", 48),
    ] {
        let (pair, key) = ec(scheme, curve, size);
        let header = json!({ "alg": algorithm.as_str(), "kid": "k1" });
        let sign = |signed: &[u8]| pair.sign(&random, signed).expect("signed").as_ref().to_vec();
        let good = token(&header, &claims(), sign);
        let known = of_keys(vec![algorithm], &[key]);
        assert_eq!(verify(&known, &good).expect("valid").text("sub").as_deref(), Some("alice"));
        let (_, other) = ec(scheme, curve, size);
        let strangers = of_keys(vec![algorithm], &[other]);
        assert_eq!(verify(&strangers, &good).unwrap_err(), Refused::Signature);
    }
    let (pair, key) = ed();
    let header = json!({ "alg": "EdDSA" });
    let good = token(&header, &claims(), |signed| pair.sign(signed).as_ref().to_vec());
    assert!(verify(&of_keys(vec![TokenAlgorithm::EdDSA], &[key]), &good).is_ok());
}

#[test]
fn rsa_verifies_both_paddings_and_each_hash() {
    let private = RsaPrivateKey::new(&mut OsRng, 2048).expect("a key");
    let (modulus, exponent) = (private.n().to_bytes_be(), private.e().to_bytes_be());
    let key = json!({ "kty": "RSA", "kid": "k1", "n": encode(&modulus), "e": encode(exponent) });
    type Sign<'s> = Box<dyn Fn(&[u8]) -> Vec<u8> + 's>;
    macro_rules! signers {
        ($hash:ty) => {{
            let (first, second) = (private.clone(), private.clone());
            let plain: Sign<'_> = Box::new(move |m| {
                pkcs1v15::SigningKey::<$hash>::new(first.clone()).sign(m).to_vec()
            });
            let salted: Sign<'_> = Box::new(move |m| {
                pss::SigningKey::<$hash>::new(second.clone()).sign_with_rng(&mut OsRng, m).to_vec()
            });
            [plain, salted]
        }};
    }
    let [rs256, ps256] = signers!(Sha256);
    let [rs384, ps384] = signers!(Sha384);
    let [rs512, ps512] = signers!(Sha512);
    let signers = [
        (TokenAlgorithm::RS256, rs256),
        (TokenAlgorithm::RS384, rs384),
        (TokenAlgorithm::RS512, rs512),
        (TokenAlgorithm::PS256, ps256),
        (TokenAlgorithm::PS384, ps384),
        (TokenAlgorithm::PS512, ps512),
    ];
    let all: Vec<TokenAlgorithm> = signers.iter().map(|(algorithm, _)| *algorithm).collect();
    let known = of_keys(all.clone(), std::slice::from_ref(&key));
    for (algorithm, sign) in &signers {
        let header = json!({ "alg": algorithm.as_str(), "kid": "k1" });
        let good = token(&header, &claims(), sign);
        assert!(verify(&known, &good).is_ok(), "{}", algorithm.as_str());
        // The same signature under each other name is none.
        for other in all.iter().filter(|other| *other != algorithm) {
            let header = json!({ "alg": other.as_str(), "kid": "k1" });
            let lie = token(&header, &claims(), sign);
            assert_eq!(verify(&known, &lie).unwrap_err(), Refused::Signature, "{}", other.as_str());
        }
    }
    // The public key taken for a secret, which is no secret.
    let forged = token(&json!({ "alg": "HS256", "kid": "k1" }), &claims(), |signed| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &modulus), signed).as_ref().to_vec()
    });
    assert_eq!(verify(&known, &forged).unwrap_err(), Refused::Algorithm);
    let pinned = of_keys(vec![TokenAlgorithm::PS256], &[key]);
    let header = json!({ "alg": "RS256", "kid": "k1" });
    let other = token(&header, &claims(), &signers[0].1);
    assert_eq!(verify(&pinned, &other).unwrap_err(), Refused::Algorithm);
}

#[test]
fn times_are_read_with_the_leeway_and_not_a_second_more() {
    let issuers = of_secret();
    for (exp, nbf, expected) in [
        (json!(NOW + 1), json!(NOW), Ok(())),
        (json!(NOW - 4), json!(NOW + 5), Ok(())),
        (json!(NOW - 5), json!(NOW), Err(Refused::Expired)),
        (json!(NOW + 60), json!(NOW + 6), Err(Refused::NotYet)),
        (json!("1900000000"), json!(NOW), Err(Refused::Times)),
        (json!(null), json!(NOW), Err(Refused::Times)),
        (json!(-1), json!(NOW), Err(Refused::Times)),
        (json!(1e300), json!(NOW), Err(Refused::Times)),
        (json!(NOW + 60), json!("soon"), Err(Refused::Times)),
    ] {
        let mut claims = claims();
        (claims["exp"], claims["nbf"]) = (exp, nbf);
        assert_eq!(verify(&issuers, &shared(&claims)).map(drop), expected, "{claims}");
    }
    let mut endless = claims();
    endless.as_object_mut().expect("an object").remove("exp");
    assert_eq!(verify(&issuers, &shared(&endless)).unwrap_err(), Refused::Times);
}

#[test]
fn a_token_for_or_of_somebody_else_is_refused() {
    let issuers = of_secret();
    for (claim, value, expected) in [
        ("aud", json!("other"), Refused::Audience),
        ("aud", json!(["other", 7]), Refused::Audience),
        ("aud", json!(null), Refused::Audience),
        ("iss", json!("https://id.example/"), Refused::Issuer),
        ("iss", json!(["https://id.example"]), Refused::Issuer),
        ("iss", json!(null), Refused::Issuer),
    ] {
        let mut claims = claims();
        claims[claim] = value;
        assert_eq!(verify(&issuers, &shared(&claims)).unwrap_err(), expected, "{claims}");
    }
    let mut claims = claims();
    claims["aud"] = json!(["other", "api"]);
    assert!(verify(&issuers, &shared(&claims)).is_ok());
}

#[test]
fn a_remembered_token_ends_when_it_says_and_only_counts_where_its_issuer_does() {
    let issuers = of_secret();
    let token = shared(&claims());
    let first = verify(&issuers, &token).expect("valid");
    assert!(Arc::ptr_eq(&first, &verify(&issuers, &token).expect("remembered")));
    let main = ["main".to_owned()];
    assert_eq!(issuers.verify(&token, &main, NOW + 65).unwrap_err(), Refused::Expired);
    assert_eq!(issuers.verify(&token, &[], NOW).unwrap_err(), Refused::Issuer);
    assert_eq!(issuers.verify(&token, &["x".to_owned()], NOW).unwrap_err(), Refused::Issuer);
    let (signed, _) = token.rsplit_once('.').expect("parts");
    assert_eq!(verify(&issuers, &format!("{signed}.AAAA")).unwrap_err(), Refused::Signature);
}

#[tokio::test(start_paused = true)]
async fn keys_are_used_while_they_are_fresh_enough_and_a_token_ends_with_its_key() {
    let (pair, key) = ed();
    let header = json!({ "alg": "EdDSA", "kid": "k1" });
    let good = token(&header, &claims(), |signed| pair.sign(signed).as_ref().to_vec());
    let issuers = of_keys(vec![TokenAlgorithm::EdDSA], &[]);
    assert_eq!(verify(&issuers, &good).unwrap_err(), Refused::NoKeys);
    take(&issuers, std::slice::from_ref(&key));
    assert!(verify(&issuers, &good).is_ok());
    tokio::time::advance(Duration::from_secs(599)).await;
    assert!(verify(&issuers, &good).is_ok());
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(verify(&issuers, &good).unwrap_err(), Refused::NoKeys);
    take(&issuers, &[key]);
    assert!(verify(&issuers, &good).is_ok());
    let (_, other) = ed();
    take(&issuers, &[other]);
    assert_eq!(verify(&issuers, &good).unwrap_err(), Refused::Signature);
}

#[test]
fn an_unknown_key_id_asks_for_new_keys_and_a_bad_signature_does_not() {
    let (pair, key) = ed();
    let issuers = of_keys(vec![TokenAlgorithm::EdDSA], &[key]);
    let of = |kid: &str, sign: &dyn Fn(&[u8]) -> Vec<u8>| {
        token(&json!({ "alg": "EdDSA", "kid": kid }), &claims(), sign)
    };
    let source = &issuers.known["main"];
    assert!(verify(&issuers, &of("k1", &|_| vec![0; 64])).is_err());
    assert!(!source.is_wanted());
    let tricks = ["../../dev/null", "k1' OR '1'='1", "http://evil/k", "K1", "k1\u{0}"];
    for kid in tricks {
        let sign = |signed: &[u8]| pair.sign(signed).as_ref().to_vec();
        assert_eq!(verify(&issuers, &of(kid, &sign)).unwrap_err(), Refused::Signature, "{kid}");
    }
    assert!(source.is_wanted());
    assert!(!source.is_wanted());
}

#[test]
fn keys_for_other_uses_and_secrets_in_a_set_are_left_out() {
    let (_, key) = ed();
    let with = |name: &str, value: Value| {
        let mut key = key.clone();
        key[name] = value;
        key
    };
    let secret = json!({ "kty": "oct", "k": encode(SHARED), "alg": "HS256" });
    let useless = [
        secret,
        with("use", json!("enc")),
        with("key_ops", json!(["sign"])),
        with("alg", json!("none")),
        with("crv", json!("X25519")),
        with("x", json!("AAAA")),
    ];
    for key in useless {
        let document = json!({ "keys": [key] }).to_string();
        assert!(KeySet::read(document.as_bytes()).is_err(), "{document}");
    }
    for document in ["", "{}", "[]", r#"{"keys":{}}"#, r#"{"keys":[]}"#] {
        assert!(KeySet::read(document.as_bytes()).is_err(), "{document}");
    }
}

#[test]
fn a_long_token_is_refused_before_it_is_read() {
    let mut claims = claims();
    claims["pad"] = "x".repeat(1 << 20).into();
    assert_eq!(verify(&of_secret(), &shared(&claims)).unwrap_err(), Refused::TooLong);
}

#[test]
fn scopes_and_claims_are_texts_or_lists() {
    let mut claims = claims();
    (claims["scope"], claims["scp"], claims["groups"]) =
        (json!("read write"), json!(["admin"]), json!(["a", "b"]));
    let verified = verify(&of_secret(), &shared(&claims)).expect("valid");
    assert!(verified.has_scope("read") && verified.has_scope("admin"));
    assert!(!verified.has_scope("rea") && !verified.has_scope("read write"));
    assert!(verified.claims("groups", "b") && verified.claims("sub", "alice"));
    assert!(!verified.claims("sub", "ali") && !verified.claims("none", ""));
}
