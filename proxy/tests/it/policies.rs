//! What policies ask of requests and do to them.

use std::{process::Command, sync::Arc};

use anyhow::Context;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Method, StatusCode};
use ring::{
    hmac,
    signature::{ED25519, UnparsedPublicKey},
};
use serde_json::{Value, json};

use crate::{
    upstream::{Reply, Seen, Upstream},
    world::{Setup, World, header},
};

async fn with(gateway: impl Into<String>) -> anyhow::Result<World> {
    let setup = Setup { has_control: false, gateway: gateway.into(), ..Setup::default() };
    World::start(setup).await
}

fn last(upstream: &Upstream) -> Seen {
    upstream.seen().last().cloned().expect("asked")
}

#[tokio::test]
async fn a_client_that_sends_too_much_waits_and_is_told_how_long() -> anyhow::Result<()> {
    let limit =
        r#"limit = { requests = 60, per = "1h", burst = 2, by = ["header:x-api-key", "ip"] }"#;
    let world = with(format!("[policies.standard]\n{limit}\n")).await?;
    let (first, second) = (world.read_as("alice").await?, world.read_as("alice").await?);
    assert_eq!(header(first.headers(), "ratelimit"), "\"standard\";r=1;t=60");
    assert_eq!(header(first.headers(), "ratelimit-policy"), "\"standard\";q=60;w=3600");
    assert!(header(second.headers(), "ratelimit").starts_with("\"standard\";r=0;"));
    let before = world.monolith.count();
    let refused = world.read_as("alice").await?;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let wait: u64 = header(refused.headers(), "retry-after").parse()?;
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(header(refused.headers(), "content-type"), "application/problem+json");
    assert_eq!(refused.json::<Value>().await?["type"], "urn:ficus:problem:too-many-requests");
    assert_eq!(world.monolith.count(), before);
    assert_eq!(world.read_as("bob").await?.status(), StatusCode::OK);
    world.proxy.reload.reload().await?;
    assert_eq!(world.read_as("alice").await?.status(), StatusCode::TOO_MANY_REQUESTS);
    Ok(())
}

#[tokio::test]
async fn addresses_are_refused_by_the_longest_prefix() -> anyhow::Result<()> {
    let world =
        with("[policies.standard]\nallow = [\"127.0.0.1\"]\ndeny = [\"127.0.0.0/8\"]\n").await?;
    assert_eq!(world.get("/api/v1/users").await?.status(), StatusCode::OK);
    let text = world.text().replace("allow = [\"127.0.0.1\"]", "allow = [\"10.0.0.0/8\"]");
    std::fs::write(world.path(), text)?;
    world.proxy.reload.reload().await?;
    let before = world.monolith.count();
    assert_eq!(world.get("/api/v1/users").await?.status(), StatusCode::FORBIDDEN);
    assert_eq!(world.monolith.count(), before);
    Ok(())
}

#[tokio::test]
async fn a_route_of_the_gateway_has_its_own_policy_and_stays_with_the_monolith()
-> anyhow::Result<()> {
    let world = with(
        "[policies.standard]\n[policies.closed]\ndeny = [\"0.0.0.0/0\"]\n\
         [[routes]]\nmatch = \"* /admin/{*rest}\"\npolicy = \"closed\"\n",
    )
    .await?;
    assert_eq!(world.get("/admin/users").await?.status(), StatusCode::FORBIDDEN);
    assert_eq!(world.get("/api/v1/tickets/7").await?.status(), StatusCode::OK);
    let count = world.figure("ficus_proxy_requests_total", "route=\"* /admin/{*rest}\"").await?;
    assert!(count >= 1.0, "{count}");
    Ok(())
}

#[tokio::test]
async fn fields_and_the_path_are_changed_on_their_way() -> anyhow::Result<()> {
    let world = with(
        "[policies.standard]\n\
         request = { remove = [\"x-debug\"], set = { x-tenant = \"shop\" }, add = { x-tag = \"b\" } }\n\
         response = { remove = [\"x-powered-by\"], set = { x-frame-options = \"DENY\" } }\n\
         path = { strip = \"/api/v1\", prefix = \"/internal\" }\n",
    )
    .await?;
    world.monolith.answer(|_| {
        let mut reply = Reply::json("{}");
        reply.headers.push(("x-powered-by", "monolith"));
        reply
    });
    let request = world.client.get(world.url("/api/v1/users?q=1"));
    let request = request.header("x-debug", "1").header("x-tenant", "evil").header("x-tag", "a");
    let answer = request.send().await?;
    let seen = last(&world.monolith);
    assert_eq!(seen.path, "/internal/users");
    assert!(!seen.headers.contains_key("x-debug"));
    assert_eq!(header(&seen.headers, "x-tenant"), "shop");
    let tags: Vec<_> = seen.headers.get_all("x-tag").iter().collect();
    assert_eq!(tags, ["a", "b"]);
    assert!(!answer.headers().contains_key("x-powered-by"));
    assert_eq!(header(answer.headers(), "x-frame-options"), "DENY");
    Ok(())
}

#[tokio::test]
async fn a_preflight_is_answered_here_and_answers_say_who_may_read_them() -> anyhow::Result<()> {
    let world = with(
        "[policies.standard]\n\
         cors = { origins = [\"https://shop.example\"], methods = [\"PUT\"], credentials = true }\n",
    )
    .await?;
    let url = world.url("/api/v1/tickets/7");
    let ask = |method: Method, origin: &str| {
        world.client.request(method, &url).header("origin", origin.to_owned())
    };
    let preflight = ask(Method::OPTIONS, "https://shop.example")
        .header("access-control-request-method", "PUT")
        .send()
        .await?;
    assert_eq!(preflight.status(), StatusCode::NO_CONTENT);
    let allowed = |answer: &reqwest::Response| {
        header(answer.headers(), "access-control-allow-origin").to_owned()
    };
    assert_eq!(allowed(&preflight), "https://shop.example");
    assert_eq!(header(preflight.headers(), "access-control-allow-methods"), "PUT");
    assert_eq!(world.monolith.count(), 0);
    let answer = ask(Method::GET, "https://shop.example").send().await?;
    assert_eq!(allowed(&answer), "https://shop.example");
    assert_eq!(header(answer.headers(), "access-control-allow-credentials"), "true");
    assert_eq!(header(answer.headers(), "vary"), "origin");
    let answer = ask(Method::GET, "https://evil.example").send().await?;
    assert_eq!((allowed(&answer), header(answer.headers(), "vary")), (String::new(), "origin"));
    Ok(())
}

#[tokio::test]
async fn signatures_of_attacks_are_refused_counted_or_let_pass_as_the_policy_says()
-> anyhow::Result<()> {
    let world = with("[policies.standard]\n").await?;
    let attack = "/api/v1/users?q=%3Cscript%3Ealert(1)";
    assert_eq!(world.get(attack).await?.status(), StatusCode::FORBIDDEN);
    assert_eq!(world.monolith.count(), 0);
    for (mode, figure) in [("detect", 1.0), ("off", 1.0)] {
        let policy = format!("[policies.standard]\nhygiene = \"{mode}\"\n");
        let text = world.text().replace("[policies.standard]\n", &policy);
        std::fs::write(world.path(), text)?;
        world.proxy.reload.reload().await?;
        assert_eq!(world.get(attack).await?.status(), StatusCode::OK, "{mode}");
        let name = "ficus_proxy_policy_answers_total";
        let detected = world.figure(name, "outcome=\"attack_detected\"").await?;
        assert!(detected >= figure, "{mode} {detected}");
    }
    Ok(())
}

/// A private key as operators make one.
fn private_key(folder: &std::path::Path) -> anyhow::Result<std::path::PathBuf> {
    let path = folder.join("identity.pem");
    let mut openssl = Command::new("openssl");
    openssl.args(["genpkey", "-algorithm", "ed25519", "-out"]).arg(&path);
    let made = openssl.output().context("openssl is needed")?;
    anyhow::ensure!(made.status.success(), "no key");
    Ok(path)
}

fn decoded(part: &str) -> anyhow::Result<Vec<u8>> {
    Ok(URL_SAFE_NO_PAD.decode(part)?)
}

/// The claims of an identity, verified with the keys the admin address serves.
async fn identity(world: &World, seen: &Seen) -> anyhow::Result<Value> {
    let token = header(&seen.headers, "ficus-identity").to_owned();
    let set: Value =
        world.client.get(world.admin_url("/identity/jwks.json")).send().await?.json().await?;
    let (signed, signature) = token.rsplit_once('.').context("three parts")?;
    let (head, payload) = signed.split_once('.').context("three parts")?;
    let head: Value = serde_json::from_slice(&decoded(head)?)?;
    let keys = set.get("keys").and_then(Value::as_array).context("keys")?;
    let key = keys.iter().find(|key| key.get("kid") == head.get("kid")).context("the key")?;
    let point = decoded(key.get("x").and_then(Value::as_str).context("x")?)?;
    let signature = decoded(signature)?;
    let verified = UnparsedPublicKey::new(&ED25519, point).verify(signed.as_bytes(), &signature);
    anyhow::ensure!(verified.is_ok(), "the signature is not valid");
    Ok(serde_json::from_slice(&decoded(payload)?)?)
}

#[tokio::test]
async fn a_session_of_the_monolith_becomes_a_signed_identity_and_is_asked_for_once()
-> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let key = private_key(folder.path())?;
    let sessions = Upstream::start("sessions").await?;
    sessions.answer(|seen| match header(&seen.headers, "cookie") {
        "sid=s1" => Reply::json(r#"{"user":{"id":42}}"#),
        _ => Reply::json("{}").status(401),
    });
    let world = with(format!(
        "[identity]\nkeys = [\"file:{}\"]\n\
         [sessions.web]\nurl = \"http://{}/session\"\ncookies = [\"sid\"]\nsubject = \"/user/id\"\n\
         [policies.standard]\nsession = \"web\"\nidentity = true\n",
        key.display(),
        sessions.address
    ))
    .await?;
    let ask = |cookie: &str| {
        let request = world.client.get(world.url("/api/v1/users"));
        request.header("cookie", cookie.to_owned()).header("ficus-identity", "forged")
    };
    for _ in 0..3 {
        assert_eq!(ask("theme=dark; sid=s1").send().await?.status(), StatusCode::OK);
    }
    assert_eq!(sessions.count(), 1);
    let claims = identity(&world, &last(&world.monolith)).await?;
    assert_eq!((&claims["sub"], &claims["aud"]), (&json!("42"), &json!("monolith")));
    assert_eq!((&claims["iss"], &claims["by"]), (&json!("ficus"), &json!("session")));
    let life = claims["exp"].as_i64().context("exp")? - claims["iat"].as_i64().context("iat")?;
    assert_eq!(life, 60);
    for cookie in ["sid=s2", "theme=dark"] {
        assert_eq!(ask(cookie).send().await?.status(), StatusCode::OK);
        assert!(!last(&world.monolith).headers.contains_key("ficus-identity"), "{cookie}");
    }
    sessions.answer(|_| Reply::json("{}").status(500));
    assert_eq!(ask("sid=s3").send().await?.status(), StatusCode::SERVICE_UNAVAILABLE);
    Ok(())
}

#[tokio::test]
async fn an_identity_tells_claims_of_the_token_and_ends_with_it() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let key = private_key(folder.path())?;
    let secret = "0123456789abcdef0123456789abcdef";
    let world = with(format!(
        "[identity]\nkeys = [\"file:{}\"]\nclaims = [\"user_id\", \"role\", \"email\"]\n\
         [issuers.main]\nissuer = \"monolith\"\naudience = [\"shop\"]\nalgorithms = [\"HS256\"]\n\
         secret = \"{secret}\"\nleeway = \"0s\"\n\
         [policies.standard]\ntoken = {{ issuers = [\"main\"] }}\nidentity = true\n",
        key.display()
    ))
    .await?;
    let ends = chrono::Utc::now().timestamp() + 30;
    let claims = json!({ "iss": "monolith", "aud": "shop", "sub": "anna", "exp": ends,
        "user_id": 7, "role": "Admin", "by": "forged", "internal": "x" });
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let signed = format!("{}.{}", encode(r#"{"alg":"HS256"}"#), encode(&claims.to_string()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), signed.as_bytes());
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag));
    let request = world.client.get(world.url("/api/v1/users")).bearer_auth(token);
    assert_eq!(request.send().await?.status(), StatusCode::OK);
    let mut told = identity(&world, &last(&world.monolith)).await?;
    let began = told.as_object_mut().and_then(|claims| claims.remove("iat"));
    assert!(began.is_some_and(|began| began.is_u64()));
    let expected = json!({ "iss": "ficus", "aud": "monolith", "sub": "anna", "exp": ends, "by": "main",
        "user_id": 7, "role": "Admin" });
    assert_eq!(told, expected);
    Ok(())
}

#[tokio::test]
async fn an_opaque_token_is_introspected_once_and_its_scopes_count() -> anyhow::Result<()> {
    let server = Upstream::start("introspection").await?;
    server.answer(|seen| match std::str::from_utf8(&seen.body) {
        Ok(body) if body.starts_with("token=good&") => {
            Reply::json(r#"{"active":true,"sub":"alice","scope":"read"}"#)
        }
        Ok(body) if body.starts_with("token=weak&") => {
            Reply::json(r#"{"active":true,"sub":"bob"}"#)
        }
        Ok(body) if body.starts_with("token=broken&") => Reply::json("[]"),
        _ => Reply::json(r#"{"active":false}"#),
    });
    let world = with(format!(
        "[introspections.partner]\nurl = \"http://{}/introspect\"\nclient_id = \"proxy\"\n\
         client_secret = \"a b\"\n\
         [policies.standard]\ntoken = {{ introspection = \"partner\", scopes = [\"read\"] }}\n",
        server.address
    ))
    .await?;
    let world = Arc::new(world);
    let ask = |token: &'static str| {
        let request = world.client.get(world.url("/api/v1/users"));
        request.header("authorization", format!("Bearer {token}")).send()
    };
    for (token, status) in [
        ("good", StatusCode::OK),
        ("good", StatusCode::OK),
        ("weak", StatusCode::FORBIDDEN),
        ("bad", StatusCode::UNAUTHORIZED),
        ("bad", StatusCode::UNAUTHORIZED),
        ("broken", StatusCode::SERVICE_UNAVAILABLE),
        ("broken", StatusCode::SERVICE_UNAVAILABLE),
    ] {
        assert_eq!(ask(token).await?.status(), status, "{token}");
    }
    // What went wrong is asked again; what is known, good or bad, is not.
    assert_eq!(server.count(), 5);
    assert_eq!(header(&last(&server).headers, "authorization"), "Basic cHJveHk6YSUyMGI=");
    let together = futures::future::join_all((0..8).map(|_| ask("late"))).await;
    assert!(together.into_iter().all(|answer| answer.is_ok()));
    assert_eq!(server.count(), 6);
    Ok(())
}

const VERSIONS: &str = r#"
[api_versions]
header = "accept-version"
media_type = "application/vnd.shop.v{version}+json"
[policies.standard]
cache = { fresh = "1m" }
[policies.second]
path = { prefix = "/v2" }
cache = { fresh = "1m" }
[[routes]]
match = "GET /things/{id}"
version = "2"
policy = "second"
[[routes]]
match = "GET /things/{id}"
version = "3"
"#;

#[tokio::test]
async fn a_version_is_asked_for_by_header_or_media_type_and_has_a_route_of_its_own()
-> anyhow::Result<()> {
    let world = with(VERSIONS).await?;
    world.monolith.answer(|seen| {
        Reply::json(format!("{} {:?}", seen.path, seen.headers.get("accept-version")))
    });
    let get = async |fields: &[(&str, &str)]| {
        let request = world.client.get(world.url("/things/7"));
        let request =
            fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        anyhow::Ok(request.send().await?)
    };
    let second = "application/vnd.shop.v2+json";
    for (fields, path) in [
        (&[][..], "/things/7"),
        (&[("accept", second)], "/v2/things/7"),
        (&[("accept-version", "2")], "/v2/things/7"),
        (&[("accept-version", "3"), ("accept", second)], "/things/7"),
        (&[("accept-version", "9")], "/things/7"),
    ] {
        let answer = get(fields).await?;
        let vary: Vec<_> = answer.headers().get_all("vary").iter().collect();
        assert_eq!(vary, ["accept-version", "accept"], "{fields:?}");
        let text = answer.text().await?;
        assert!(text.starts_with(&format!("{path} ")), "{fields:?}: {text}");
    }
    // What one version was answered is nothing for another one; two of them were asked as the second.
    assert_eq!(world.monolith.count(), 3, "{:?}", world.monolith.seen());
    let unclear = get(&[("accept-version", "2"), ("accept-version", "3")]).await?;
    assert_eq!(unclear.status(), StatusCode::BAD_REQUEST);
    assert_eq!(unclear.json::<Value>().await?["type"], "urn:ficus:problem:unclear-version");
    let other = world.get("/other").await?;
    assert!(!other.headers().contains_key("vary"));
    let figure = "route=\"GET /things/{id} version 2\"";
    assert!(world.figure("ficus_proxy_requests_total", figure).await? >= 2.0);
    Ok(())
}
