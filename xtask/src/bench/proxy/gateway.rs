//! The job that only Ficus has: a token of one of many subjects is verified, its requests are counted against
//! a limit, and one of 500 routes is found. The others forward the same requests and look at nothing.

use std::fmt::Write as _;
use std::path::Path;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;
use serde_json::json;

const ROUTES: usize = 500;

/// Subjects whose tokens are sent in turns: so many that a processor's caches do not hold them for nothing.
const SUBJECTS: usize = 1_000;

/// What the tokens are signed with, by HS256. A token that was verified is remembered, so that the kind of
/// signature makes no difference to the mean.
const SECRET: &str = "a secret of the benchmark, 32 bytes";

/// Seconds that the tokens are valid for: longer than any run.
const VALID_SECONDS: i64 = 86_400;

/// Further sections of Ficus' file: the routes, and the policy of each.
pub(super) fn sections() -> String {
    let mut text = format!(
        "[issuers.bench]\nissuer = \"bench\"\naudience = [\"shop\"]\nalgorithms = [\"HS256\"]\n\
         secret = \"{SECRET}\"\n\
         [policies.api]\ntoken = {{ issuers = [\"bench\"] }}\n\
         limit = {{ requests = 1000000, per = \"1m\", by = [\"jwt:sub\"] }}\n"
    );
    for number in 0..ROUTES {
        let (thing, rest) = route(number);
        writeln!(text, "[[routes]]\nmatch = \"GET /api/v1/things{thing}{rest}\"\npolicy = \"api\"")
            .expect("text grows");
    }
    text
}

/// Further sections of Ficus' file: a rule set that is asked about every request of the bare answer.
pub(super) fn asking_rules(rules: &Path) -> String {
    format!(
        "[policies.rules]\nattack_rules = {{ file = {rules:?}, mode = \"block\", budget = \"5s\" }}\n\
         [[routes]]\nmatch = \"GET /\"\npolicy = \"rules\"\n"
    )
}

/// The script by which wrk sends them.
pub(super) fn script(path: &Path) -> std::io::Result<()> {
    let mut requests = String::new();
    for number in 0..SUBJECTS {
        let (thing, rest) = route(number % ROUTES);
        let rest = rest.replace("{id}", "184201").replace("{note}", "7");
        let token = token(&format!("subject-{number}"));
        writeln!(
            requests,
            "requests[{}] = wrk.format('GET', '/api/v1/things{thing}{rest}', {{ ['Authorization'] = 'Bearer {token}' }})",
            number + 1
        )
        .expect("text grows");
    }
    let script = format!(
        "local requests, next = {{}}, 0\n\
         function init(arguments)\n{requests}end\n\
         function request()\n next = next % {SUBJECTS} + 1\n return requests[next]\nend\n"
    );
    std::fs::write(path, script)
}

/// Collections, items, and what belongs to an item.
const fn route(number: usize) -> (usize, &'static str) {
    let rest = match number % 4 {
        0 => "",
        1 => "/{id}",
        2 => "/{id}/notes",
        _ => "/{id}/notes/{note}",
    };
    (number / 4, rest)
}

fn token(subject: &str) -> String {
    let now = chrono::Utc::now().timestamp();
    let claims = json!({
        "iss": "bench", "aud": "shop", "sub": subject, "exp": now + VALID_SECONDS, "iat": now,
        "scope": "tickets:read tickets:write", "email": format!("{subject}@shop.example"),
    });
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let header = encode(br#"{"alg":"HS256","typ":"JWT"}"#);
    let signed = format!("{header}.{}", encode(claims.to_string().as_bytes()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    format!("{signed}.{}", encode(hmac::sign(&key, signed.as_bytes()).as_ref()))
}

#[cfg(test)]
mod tests {
    use routes::{Config, RouteTable};

    use super::*;

    #[test]
    fn every_path_that_is_asked_has_a_route_of_its_own() {
        let file =
            format!("version = 1\n[upstreams.monolith]\npeers = [\"127.0.0.1:1\"]\n{}", sections());
        let config = Config::parse_without_secrets("routes.toml", &file, &|_| None).expect("good");
        let table = RouteTable::compile(&config);
        let found: std::collections::BTreeSet<_> = (0..ROUTES)
            .filter_map(|number| {
                let (thing, rest) = route(number);
                let path = format!("/api/v1/things{thing}{rest}").replace(['{', '}'], "");
                Some(table.find_version(None, "GET", &path)?.route.id)
            })
            .collect();
        assert_eq!(found.len(), ROUTES);
    }
}
