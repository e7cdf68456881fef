//! Attacks on tokens, as a downstream would send them: none of them reaches an upstream.

use std::time::Duration;

use anyhow::Context;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::StatusCode;
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};
use serde_json::{Value, json};

use crate::{
    upstream::{Reply, Upstream},
    wire::Wire,
    world::{BOUND, Setup, World, header},
};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// An issuer, its key, and a proxy that accepts its tokens.
struct Guarded {
    world: World,
    issuer: std::sync::Arc<Upstream>,
    key: Ed25519KeyPair,
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn new_key() -> anyhow::Result<Ed25519KeyPair> {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
    let document = document.map_err(|_| anyhow::anyhow!("no random"))?;
    Ed25519KeyPair::from_pkcs8(document.as_ref()).map_err(|_| anyhow::anyhow!("no key"))
}

fn public(kid: &str, key: &Ed25519KeyPair) -> Value {
    json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": encode(key.public_key()) })
}

fn now() -> i64 {
    chrono::Utc::now().timestamp()
}

fn claims() -> Value {
    json!({ "iss": "https://id.example", "aud": "shop", "sub": "alice", "exp": now() + 600 })
}

fn sign(key: &Ed25519KeyPair, header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", encode(header), encode(claims));
    format!("{signed}.{}", encode(key.sign(signed.as_bytes())))
}

impl Guarded {
    async fn start(rest: &str) -> anyhow::Result<Self> {
        let (issuer, key) = (Upstream::start("issuer").await?, new_key()?);
        let keys = json!({ "keys": [public("k1", &key)] }).to_string();
        issuer.answer(move |_| Reply::json(keys.clone()));
        let gateway = format!(
            r#"
[issuers.main]
issuer = "https://id.example"
audience = ["shop"]
algorithms = ["EdDSA"]
jwks = "http://{address}/jwks.json"
refresh = "10s"
{rest}
[issuers.old]
issuer = "monolith"
audience = ["shop"]
algorithms = ["HS256"]
secret = "{SECRET}"
[policies.standard]
token = {{ issuers = ["main", "old"], cookies = ["access_token"] }}
"#,
            address = issuer.address
        );
        let setup = Setup { has_control: false, gateway, ..Setup::default() };
        let guarded = Self { world: World::start(setup).await?, issuer, key };
        let good = guarded.good();
        let known = || async {
            let status = guarded.status(&good).await?;
            Ok((status != StatusCode::SERVICE_UNAVAILABLE).then_some(()))
        };
        testkit::wait_until(BOUND, known).await?;
        Ok(guarded)
    }

    fn good(&self) -> String {
        sign(&self.key, r#"{"alg":"EdDSA","kid":"k1"}"#, &claims().to_string())
    }

    async fn ask(&self, token: &str) -> anyhow::Result<reqwest::Response> {
        let request = self.world.client.get(self.world.url("/api/v1/users"));
        Ok(request.header("authorization", format!("Bearer {token}")).send().await?)
    }

    async fn status(&self, token: &str) -> anyhow::Result<StatusCode> {
        Ok(self.ask(token).await?.status())
    }
}

#[tokio::test]
async fn a_good_token_passes_in_the_header_or_its_cookie_and_none_is_refused() -> anyhow::Result<()>
{
    let guarded = Guarded::start("").await?;
    assert_eq!(guarded.status(&guarded.good()).await?, StatusCode::OK);
    let url = guarded.world.url("/api/v1/users");
    let cookie = format!("a=b; access_token={}", guarded.good());
    let answer = guarded.world.client.get(&url).header("cookie", cookie).send().await?;
    assert_eq!(answer.status(), StatusCode::OK);
    let before = guarded.world.monolith.count();
    let answer = guarded.world.client.get(&url).send().await?;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(header(answer.headers(), "www-authenticate"), "Bearer");
    let problem: Value = answer.json().await?;
    assert_eq!(problem["type"], "urn:ficus:problem:unauthenticated");
    assert_eq!(guarded.world.monolith.count(), before);
    Ok(())
}

/// Name and token of every attack that is one token.
fn attacks(guarded: &Guarded) -> anyhow::Result<Vec<(String, String)>> {
    let key = &guarded.key;
    let (plain, good) = (r#"{"alg":"EdDSA","kid":"k1"}"#, claims().to_string());
    let with = |claim: &str, value: Value| {
        let mut claims = claims();
        claims.as_object_mut().expect("an object").insert(claim.to_owned(), value);
        sign(key, plain, &claims.to_string())
    };
    let mut all: Vec<(String, String)> = Vec::new();
    for alg in ["none", "None", "NONE", "nOnE", "", "RS256", "ES256", "HS256", "eddsa"] {
        let header = format!(r#"{{"alg":"{alg}","kid":"k1"}}"#);
        all.push((format!("alg {alg:?}"), sign(key, &header, &good)));
        all.push((format!("alg {alg:?}, empty"), format!("{}.{}.", encode(header), encode(&good))));
    }
    for secret in [key.public_key().as_ref(), SECRET.as_bytes(), b""] {
        let signed = format!("{}.{}", encode(r#"{"alg":"HS256","kid":"k1"}"#), encode(&good));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
        all.push(("HS256 over the public key".to_owned(), format!("{signed}.{}", encode(tag))));
    }
    let stranger = new_key()?;
    let trap = format!("http://{}/trap", guarded.issuer.address);
    for (name, value) in [
        ("jku", json!(trap)),
        ("x5u", json!(trap)),
        ("jwk", public("k1", &stranger)),
        ("x5c", json!(["MIIB"])),
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
    ] {
        let header = json!({ "alg": "EdDSA", "kid": "k1", name: value }).to_string();
        all.push((format!("{name}, own key"), sign(&stranger, &header, &good)));
        all.push((format!("{name}, right key"), sign(key, &header, &good)));
    }
    for kid in ["../../../dev/null", "k1' UNION SELECT 'x", "|id", "", "k2", trap.as_str()] {
        let header = json!({ "alg": "EdDSA", "kid": kid }).to_string();
        all.push((format!("kid {kid:?}"), sign(&stranger, &header, &good)));
    }
    let twice = good.replace(r#""sub":"alice""#, r#""sub":"alice","sub":"admin""#);
    all.push(("a claim twice".to_owned(), sign(key, plain, &twice)));
    let header = r#"{"alg":"none","alg":"EdDSA","kid":"k1"}"#;
    all.push(("alg twice".to_owned(), sign(key, header, &good)));
    let token = guarded.good();
    for change in ["=", "==", "\u{20}x", ".", ".x"] {
        all.push((format!("with {change:?}"), format!("{token}{change}")));
    }
    let (signed, signature) = token.rsplit_once('.').context("three parts")?;
    let padded = signed.replacen('.', "=.", 1);
    all.push(("padded header".to_owned(), format!("{padded}.{signature}")));
    all.push(("no signature".to_owned(), format!("{signed}.")));
    all.push(("zero signature".to_owned(), format!("{signed}.{}", encode([0; 64]))));
    all.push(("wrong audience".to_owned(), with("aud", json!("bank"))));
    all.push(("wrong issuer".to_owned(), with("iss", json!("https://evil.example"))));
    all.push(("issuer of another key".to_owned(), with("iss", json!("monolith"))));
    all.push(("ended".to_owned(), with("exp", json!(now() - 31))));
    all.push(("without end".to_owned(), with("exp", json!(null))));
    all.push(("end as a text".to_owned(), with("exp", json!("9999999999"))));
    all.push(("too early".to_owned(), with("nbf", json!(now() + 60))));
    all.push(("long".to_owned(), with("pad", json!("x".repeat(9 * 1024)))));
    let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
    let deep = good.replace(r#""sub":"alice""#, &format!(r#""sub":{deep}"#));
    all.push(("nested deep".to_owned(), sign(key, plain, &deep)));
    all.push(("a JWE".to_owned(), format!("{token}.AAAA.AAAA")));
    Ok(all)
}

#[tokio::test]
async fn no_attack_on_a_token_reaches_an_upstream() -> anyhow::Result<()> {
    let guarded = Guarded::start("").await?;
    let before = guarded.world.monolith.count();
    let asked = guarded.issuer.seen().len();
    for (name, token) in attacks(&guarded)? {
        let answer = guarded.ask(&token).await?;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{name}");
        let challenge = header(answer.headers(), "www-authenticate").to_owned();
        assert_eq!(challenge, "Bearer error=\"invalid_token\"", "{name}");
    }
    assert_eq!(guarded.world.monolith.count(), before);
    assert!(guarded.issuer.seen().iter().skip(asked).all(|seen| seen.path == "/jwks.json"));
    assert_eq!(guarded.status(&guarded.good()).await?, StatusCode::OK);
    Ok(())
}

#[tokio::test]
async fn two_tokens_and_a_megabyte_of_one_are_refused() -> anyhow::Result<()> {
    let guarded = Guarded::start("").await?;
    let before = guarded.world.monolith.count();
    let good = guarded.good();
    let request = format!(
        "GET /api/v1/users HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {good}\r\n\
         Authorization: Bearer {good}\r\n\r\n"
    );
    let listen = guarded.world.proxy.listen;
    let answer = Wire::send(listen, &request).await?.answer().await?;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    let mut wire = Wire::open(listen).await?;
    let head = "GET /api/v1/users HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ";
    // The proxy may answer and close before it has read everything.
    let sent = wire.write(&format!("{head}{}\r\n\r\n", "x".repeat(1 << 20))).await;
    let answer = wire.answer().await.unwrap_or_else(|error| error.to_string());
    let is_refused = ["HTTP/1.1 4", "closed after", "reset"].iter().any(|t| answer.contains(t));
    assert!(sent.is_err() || is_refused, "{answer}");
    assert_eq!(guarded.world.monolith.count(), before);
    Ok(())
}

#[tokio::test]
async fn a_new_key_is_fetched_after_a_token_named_it_and_old_keys_outlive_an_outage()
-> anyhow::Result<()> {
    let guarded = Guarded::start("").await?;
    let second = new_key()?;
    let rotated = sign(&second, r#"{"alg":"EdDSA","kid":"k2"}"#, &claims().to_string());
    assert_eq!(guarded.status(&rotated).await?, StatusCode::UNAUTHORIZED);
    guarded.issuer.answer(|_| Reply::json("{}").status(500));
    let failed = || async {
        assert_eq!(guarded.status(&guarded.good()).await?, StatusCode::OK);
        guarded.status(&rotated).await?;
        let figure = guarded.world.figure("ficus_proxy_key_fetches_total", "failed").await?;
        Ok((figure > 0.0).then_some(()))
    };
    testkit::wait_until(BOUND, failed).await?;
    assert_eq!(guarded.status(&guarded.good()).await?, StatusCode::OK);
    let keys = json!({ "keys": [public("k2", &second)] }).to_string();
    guarded.issuer.answer(move |_| Reply::json(keys.clone()));
    let fetched =
        || async { Ok((guarded.status(&rotated).await? == StatusCode::OK).then_some(())) };
    testkit::wait_until(BOUND, fetched).await?;
    assert_eq!(guarded.status(&guarded.good()).await?, StatusCode::UNAUTHORIZED);
    Ok(())
}

#[tokio::test]
async fn keys_that_are_too_old_verify_nothing() -> anyhow::Result<()> {
    let guarded = Guarded::start("stale = \"1s\"").await?;
    guarded.issuer.answer(|_| Reply::json("{}").status(500));
    let stale = || async {
        let answer = guarded.ask(&guarded.good()).await?;
        let is_unavailable = answer.status() == StatusCode::SERVICE_UNAVAILABLE;
        if is_unavailable {
            assert_eq!(header(answer.headers(), "retry-after"), "1");
        }
        Ok(is_unavailable.then_some(()))
    };
    testkit::wait_until(BOUND.max(Duration::from_secs(20)), stale).await
}
