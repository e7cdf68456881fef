//! Who says how a token is verified: the file, never the token.

use rsa::{
    pkcs1::EncodeRsaPublicKey,
    pkcs8::{EncodePublicKey, LineEnding},
};
use serde_json::{Value, json};

use super::{Attack, Expect, Made};
use crate::e2e::http::jwt::forge::{By, ED_HEADER, Forge, SECRET, claims, ed_key, encode, rsa_key};
use ring::signature::KeyPair;

pub(super) fn all(made: Made<'_>) -> Vec<Attack> {
    let Made { forge, trap } = made;
    [honest(forge), none(forge), confused(forge), pinned(forge), weak(forge), keys(forge, trap)]
        .concat()
}

/// Each issuer's own tokens.
fn honest(forge: &Forge) -> Vec<Attack> {
    let rule = "RFC 7515";
    [
        ("EdDSA", r#"{"alg":"EdDSA","kid":"ed"}"#, "https://ed.example", By::Ed),
        ("EdDSA without kid", r#"{"alg":"EdDSA"}"#, "https://ed.example", By::Ed),
        ("typ at+jwt", r#"{"alg":"EdDSA","typ":"at+jwt"}"#, "https://ed.example", By::Ed),
        ("RS256", r#"{"alg":"RS256","kid":"rsa"}"#, "https://rsa.example", By::Rs256),
        ("ES256", r#"{"alg":"ES256","kid":"ec"}"#, "https://ec.example", By::Es256),
        ("HS256", r#"{"alg":"HS256"}"#, "monolith", By::Hs256(SECRET.as_bytes())),
    ]
    .map(|(name, header, issuer, by)| {
        let token = forge.token(header, &claims(issuer).to_string(), by);
        Attack::token(format!("honest: {name}"), rule, &token).expecting(Expect::Passes)
    })
    .into()
}

/// No signature at all.
fn none(forge: &Forge) -> Vec<Attack> {
    let rule = "RFC 8725 3.1: none";
    let text = claims("https://ed.example").to_string();
    let mut all = Vec::new();
    for alg in ["none", "None", "NONE", "nOnE", "none ", " none", "", "null", "HS0", "\\u006eone"] {
        let header = format!(r#"{{"alg":"{alg}","typ":"JWT"}}"#);
        let bare = format!("{}.{}.", encode(&header), encode(&text));
        all.push(Attack::token(format!("alg {alg:?}, no signature"), rule, &bare));
        let signed = forge.token(&header, &text, By::Ed);
        all.push(Attack::token(format!("alg {alg:?}, a signature"), rule, &signed));
    }
    for header in [r#"{"typ":"JWT"}"#, r#"{"alg":null}"#, r#"{"alg":["EdDSA"]}"#, r#"{"alg":0}"#] {
        let token = forge.token(header, &text, By::Ed);
        all.push(Attack::token(format!("header {header}"), rule, &token));
    }
    for (name, signature) in
        [("no", &[][..]), ("one byte of", &[0]), ("64 zero bytes of", &[0; 64])]
    {
        let token = forge.token(ED_HEADER, &text, By::Bytes(signature));
        all.push(Attack::token(format!("{name} signature under EdDSA"), rule, &token));
    }
    all
}

/// Public keys, which everybody knows, taken for a shared secret.
fn confused(forge: &Forge) -> Vec<Attack> {
    let rule = "RFC 8725 3.1: algorithm confusion";
    let public = forge.rsa.to_public_key();
    let (spki, pkcs1) = (public.to_public_key_der(), public.to_pkcs1_der());
    let pem = public.to_public_key_pem(LineEnding::LF).unwrap_or_default();
    let crlf = public.to_public_key_pem(LineEnding::CRLF).unwrap_or_default();
    let pkcs1_pem = public.to_pkcs1_pem(LineEnding::LF).unwrap_or_default();
    let jwk = rsa_key("rsa", &forge.rsa);
    let text = |value: &Value| value.as_str().unwrap_or_default().as_bytes().to_vec();
    let secrets = [
        ("PEM", pem.clone().into_bytes()),
        ("PEM without its last line break", pem.trim_end().as_bytes().to_vec()),
        ("PEM with CRLF", crlf.into_bytes()),
        ("PEM of PKCS#1", pkcs1_pem.into_bytes()),
        ("DER", spki.map(|der| der.as_bytes().to_vec()).unwrap_or_default()),
        ("DER of PKCS#1", pkcs1.map(|der| der.as_bytes().to_vec()).unwrap_or_default()),
        ("JWK", jwk.to_string().into_bytes()),
        ("modulus in base64url", jwk.get("n").map(text).unwrap_or_default()),
        ("no bytes", Vec::new()),
        ("one zero byte", vec![0]),
        ("the word secret", b"secret".to_vec()),
    ];
    let body = claims("https://rsa.example").to_string();
    let mut all: Vec<Attack> = secrets
        .iter()
        .map(|(name, secret)| {
            let header = r#"{"alg":"HS256","kid":"rsa"}"#;
            let token = forge.token(header, &body, By::Hs256(secret));
            Attack::token(format!("HS256 keyed with RSA as {name}"), rule, &token)
        })
        .collect();
    let ed = claims("https://ed.example").to_string();
    for (name, secret) in [("Ed25519", forge.ed.public_key().as_ref()), ("P-256", forge.ec_point())]
    {
        let token = forge.token(r#"{"alg":"HS256","kid":"ed"}"#, &ed, By::Hs256(secret));
        all.push(Attack::token(format!("HS256 keyed with {name}"), rule, &token));
    }
    // the set of public keys holds the secret of another issuer
    let token = forge.token(r#"{"alg":"HS256","kid":"oct"}"#, &ed, By::Hs256(SECRET.as_bytes()));
    all.push(Attack::token("HS256 with a secret out of a set of keys", rule, &token));
    let monolith = claims("monolith").to_string();
    for (header, by) in
        [(r#"{"alg":"EdDSA","kid":"ed"}"#, By::Ed), (r#"{"alg":"RS256","kid":"rsa"}"#, By::Rs256)]
    {
        let token = forge.token(header, &monolith, by);
        all.push(Attack::token(format!("{header} in the name of who has a secret"), rule, &token));
    }
    all
}

/// Good signatures of a kind that the file does not name.
fn pinned(forge: &Forge) -> Vec<Attack> {
    let rule = "RFC 8725 3.1: pinned algorithms";
    let rsa = claims("https://rsa.example").to_string();
    let mut all = vec![
        Attack::token(
            "PS256 where RS256 is pinned",
            rule,
            &forge.token(r#"{"alg":"PS256","kid":"rsa"}"#, &rsa, By::Ps256),
        ),
        Attack::token(
            "RS512 where RS256 is pinned",
            rule,
            &forge.token(r#"{"alg":"RS512","kid":"rsa"}"#, &rsa, By::Rs512),
        ),
        Attack::token(
            "PS256 that says RS256",
            rule,
            &forge.token(r#"{"alg":"RS256","kid":"rsa"}"#, &rsa, By::Ps256),
        ),
        Attack::token(
            "HS512 where HS256 is pinned",
            rule,
            &forge.token(
                r#"{"alg":"HS512"}"#,
                &claims("monolith").to_string(),
                By::Hs256(SECRET.as_bytes()),
            ),
        ),
    ];
    for alg in
        ["eddsa", "EDDSA", "Ed25519", "ES256", "ES256K", "ES384", "RS256", "RS1", "dir", "A128GCM"]
    {
        let header = format!(r#"{{"alg":"{alg}","kid":"ed"}}"#);
        let text = claims("https://ed.example").to_string();
        let token = forge.token(&header, &text, By::Ed);
        all.push(Attack::token(format!("EdDSA that says {alg}"), rule, &token));
    }
    all
}

/// Signatures that weak verifiers let pass.
fn weak(forge: &Forge) -> Vec<Attack> {
    let ec = claims("https://ec.example").to_string();
    let ec_header = r#"{"alg":"ES256","kid":"ec"}"#;
    let rsa = claims("https://rsa.example").to_string();
    let order = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
        0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let mut all: Vec<Attack> = [
        ("r = s = 0", vec![0; 64]),
        ("r = s = the order of the group", [order, order].concat()),
        ("r = 0, s = 1", [vec![0; 63], vec![1]].concat()),
    ]
    .iter()
    .map(|(name, bytes)| {
        let token = forge.token(ec_header, &ec, By::Bytes(bytes));
        Attack::token(format!("ES256, {name}"), "CVE-2022-21449", &token)
    })
    .collect();
    let der = forge.token(ec_header, &ec, By::Es256Der);
    all.push(Attack::token("ES256 in DER", "RFC 7518 3.4", &der));
    let short = forge.token(r#"{"alg":"RS256","kid":"weak"}"#, &rsa, By::WeakRsa);
    all.push(Attack::token("RS256 with a key of 1,024 bits", "RFC 7518 3.3", &short));
    let stranger = forge.token(r#"{"alg":"RS256","kid":"rsa"}"#, &rsa, By::RsaStranger);
    all.push(Attack::token("RS256 of a stranger", "RFC 7515 5.2", &stranger));
    let signed =
        format!("{}.{}", encode(ED_HEADER), encode(claims("https://ed.example").to_string()));
    let again = added_order(&forge.signature(signed.as_bytes(), By::Ed));
    let token = format!("{signed}.{}", encode(again));
    all.push(Attack::token("EdDSA, s + the order of the group", "RFC 8032 5.1.7", &token));
    let enc = r#"{"alg":"EdDSA","kid":"enc"}"#;
    let token = forge.token(enc, &claims("https://ed.example").to_string(), By::Stranger);
    all.push(Attack::token("a key that is for encryption", "RFC 7517 4.2", &token));
    all
}

/// The same signature in another form: s + L.
fn added_order(signature: &[u8]) -> Vec<u8> {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let (point, scalar) = signature.split_at(32);
    let mut carry = 0;
    let sum = scalar.iter().zip(ORDER).map(|(one, other)| {
        carry += u16::from(*one) + u16::from(other);
        let [byte, rest] = carry.to_le_bytes();
        carry = u16::from(rest);
        byte
    });
    [point, &sum.collect::<Vec<u8>>()].concat()
}

/// Tokens that bring or name their own key.
fn keys(forge: &Forge, trap: &str) -> Vec<Attack> {
    let (rule, kid_rule) = ("RFC 8725 3.10: key from the token", "RFC 8725 3.10: kid");
    let text = claims("https://ed.example").to_string();
    let mut all = Vec::new();
    for (name, value) in [
        ("jku", json!(trap)),
        ("jku", json!(format!("{trap}#https://ed.example/jwks.json"))),
        ("x5u", json!(trap)),
        ("jwk", ed_key("ed", &forge.stranger)),
        ("x5c", json!(["MIIB"])),
        ("x5t", json!("AAAA")),
        ("url", json!(trap)),
    ] {
        let header = json!({ "alg": "EdDSA", "kid": "ed", name: value }).to_string();
        let place = all.len();
        let token = forge.token(&header, &text, By::Stranger);
        all.push(Attack::token(format!("{name} of a stranger ({place})"), rule, &token));
    }
    for (name, value) in
        [("jku", json!(trap)), ("jwk", ed_key("ed", &forge.ed)), ("x5u", json!(trap))]
    {
        let header = json!({ "alg": "EdDSA", "kid": "ed", name: value }).to_string();
        let token = forge.token(&header, &text, By::Ed);
        all.push(Attack::token(format!("{name}, though the key is right"), rule, &token));
    }
    for kid in [
        json!("../../../../dev/null"),
        json!("/proc/self/environ"),
        json!("ed' UNION SELECT 'x"),
        json!("|/bin/id"),
        json!(trap),
        json!("ed\u{0}"),
        json!("\u{0}"),
        json!("ED"),
        json!("rsa"),
        json!("unknown"),
        json!(""),
        json!("x".repeat(4_000)),
        json!(0),
        json!(null),
        json!(["ed"]),
        json!({ "ed": 1 }),
    ] {
        let shown: String = kid.to_string().chars().take(24).collect();
        let header = json!({ "alg": "EdDSA", "kid": kid }).to_string();
        let token = forge.token(&header, &text, By::Stranger);
        all.push(Attack::token(format!("kid {shown}"), kid_rule, &token));
    }
    all
}
