//! Texts that two readers could take for two tokens: they are nobody's.

use serde_json::json;

use super::{Attack, Expect};
use crate::e2e::http::jwt::forge::{By, ED_HEADER, Forge, claims, encode, with};

pub(super) fn all(forge: &Forge) -> Vec<Attack> {
    [extensions(forge), encodings(forge), parts(forge), documents(forge)].concat()
}

fn good_claims() -> String {
    claims("https://ed.example").to_string()
}

/// Headers that change what the rest means.
fn extensions(forge: &Forge) -> Vec<Attack> {
    let rule = "RFC 7515 4.1.11: crit";
    [
        ("crit [\"exp\"]", json!({ "crit": ["exp"] })),
        ("crit [\"exp\"], exp in the header", json!({ "crit": ["exp"], "exp": 9_999_999_999_u64 })),
        ("crit []", json!({ "crit": [] })),
        ("crit a text", json!({ "crit": "exp" })),
        ("crit null", json!({ "crit": null })),
        ("crit of what is unknown", json!({ "crit": ["urn:example:new"], "urn:example:new": 1 })),
        ("crit [\"b64\"], b64 false", json!({ "crit": ["b64"], "b64": false })),
        ("b64 false", json!({ "b64": false })),
        ("zip DEF", json!({ "zip": "DEF" })),
        ("enc", json!({ "enc": "A128GCM" })),
        ("cty JWT", json!({ "cty": "JWT" })),
        ("typ JWE", json!({ "typ": "JWE" })),
        ("typ of an event", json!({ "typ": "secevent+jwt" })),
        ("typ of a proof", json!({ "typ": "dpop+jwt" })),
        ("typ a number", json!({ "typ": 1 })),
    ]
    .map(|(name, header)| {
        let header = with(with(header, "alg", json!("EdDSA")), "kid", json!("ed"));
        let token = forge.token(&header.to_string(), &good_claims(), By::Ed);
        Attack::token(name, rule, &token)
    })
    .into()
}

/// Base64 in other clothes. The signatures are right for what is sent.
fn encodings(forge: &Forge) -> Vec<Attack> {
    let rule = "RFC 7515 2: base64url without padding";
    let mut all = Vec::new();
    let text = good_claims();
    let (header, claims) = (encode(ED_HEADER), encode(&text));
    let mut add = |name: &str, header: &str, claims: &str| {
        let signed = format!("{header}.{claims}");
        let signature = encode(forge.signature(signed.as_bytes(), By::Ed));
        all.push(Attack::token(name, rule, &format!("{signed}.{signature}")));
    };
    add("padded header", &format!("{header}="), &claims);
    add("header padded twice", &format!("{header}=="), &claims);
    add("padded claims", &header, &format!("{claims}="));
    let (start, end) = claims.split_at(8);
    add("blank within the claims", &header, &format!("{start} {end}"));
    add("percent-encoded claims", &header, &claims.replace('e', "%65"));
    add("stray bits after the header", &with_stray_bits(&encode("{\"alg\":\"EdDSA\" }")), &claims);
    let dashes = serde_json::json!({ "alg": "EdDSA", "kid": "ed", "a": "~~~???" }).to_string();
    let standard = encode(dashes).replace('-', "+").replace('_', "/");
    add("standard alphabet", &standard, &claims);
    let signed = format!("{header}.{claims}");
    let signature = forge.signature(signed.as_bytes(), By::Ed);
    for (name, end) in [
        ("padded signature", "="),
        ("signature padded twice", "=="),
        ("a dot more", "."),
        ("a blank and more", " x"),
        ("a comma and more", ",x"),
        ("bytes after the signature", "AAAA"),
    ] {
        let token = format!("{signed}.{}{end}", encode(&signature));
        all.push(Attack::token(name, rule, &token));
    }
    let stray = with_stray_bits(&encode(&signature));
    all.push(Attack::token("stray bits after the signature", rule, &format!("{signed}.{stray}")));
    all
}

/// The same bytes for a reader that does not look at the last bits.
fn with_stray_bits(text: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let Some((last, before)) = text.as_bytes().split_last() else { return String::new() };
    let place = ALPHABET.iter().position(|byte| byte == last).unwrap_or(0);
    let next = ALPHABET.get((place + 1) % ALPHABET.len()).copied().unwrap_or(b'A');
    String::from_utf8_lossy(&[before, &[next]].concat()).into_owned()
}

/// Too few parts, too many, and other forms of the same thing.
fn parts(forge: &Forge) -> Vec<Attack> {
    let rule = "RFC 7519 7.2: three parts";
    let good = forge.good();
    let parts: Vec<&str> = good.split('.').collect();
    let [header, claims, signature] = parts.as_slice() else { return Vec::new() };
    let json_form = json!({ "payload": claims, "protected": header, "signature": signature });
    let list_form = json!({ "payload": claims, "signatures":
        [{ "protected": header, "signature": signature }] });
    [
        ("one part", (*header).to_owned()),
        ("two parts", format!("{header}.{claims}")),
        ("no header", format!(".{claims}.{signature}")),
        ("no claims", format!("{header}..{signature}")),
        ("no signature", format!("{header}.{claims}.")),
        ("dots alone", "..".to_owned()),
        ("four parts", format!("{good}.{signature}")),
        ("five parts", format!("{header}.{claims}.{signature}.{claims}.{signature}")),
        ("parts in another order", format!("{claims}.{header}.{signature}")),
        ("two tokens in a row", format!("{good}.{good}")),
        ("the JSON form", json_form.to_string()),
        ("the general JSON form", list_form.to_string()),
        ("in quotation marks", format!("\"{good}\"")),
        ("the word null", "null".to_owned()),
    ]
    .map(|(name, token)| Attack::token(name, rule, &token))
    .into()
}

/// JSON that readers disagree about.
fn documents(forge: &Forge) -> Vec<Attack> {
    let rule = "RFC 8725 3.9, RFC 8259";
    let good = good_claims();
    let with = |more: &str| good.replacen('{', &format!("{{{more},"), 1);
    let claims = [
        ("sub twice", with(r#""sub":"admin""#)),
        ("sub twice, once in escapes", with(r#""\u0073ub":"admin""#)),
        ("exp twice", with(r#""exp":1"#)),
        ("aud twice", with(r#""aud":"bank""#)),
        ("a name twice, far down", with(r#""a":{"b":[{"c":1,"c":2}]}"#)),
        ("a comment", with("/**/\"a\":1")),
        ("a comma too many", with("\"a\":[1,]")),
        ("a number that is none", with("\"a\":NaN")),
        ("a number beyond all", with("\"a\":1e999")),
        ("single quotes", with("'a':1")),
        ("a list", format!("[{good}]")),
        ("a text", "\"alice\"".to_owned()),
        ("null", "null".to_owned()),
        ("nothing", " ".to_owned()),
        ("two documents", format!("{good}{good}")),
        ("a byte order mark", format!("\u{feff}{good}")),
        ("a cut document", good.trim_end_matches('}').to_owned()),
        ("nested 1,500 deep", with(&format!("\"a\":{}{}", "[".repeat(1_500), "]".repeat(1_500)))),
        ("half a pair of escapes", with(r#""a":"\ud800""#)),
    ];
    let mut all: Vec<Attack> = claims
        .iter()
        .map(|(name, text)| {
            Attack::token(format!("claims: {name}"), rule, &forge.token(ED_HEADER, text, By::Ed))
        })
        .collect();
    for (name, header) in [
        ("alg twice", r#"{"alg":"none","alg":"EdDSA","kid":"ed"}"#),
        ("alg twice, once in escapes", r#"{"\u0061lg":"none","alg":"EdDSA","kid":"ed"}"#),
        ("kid twice", r#"{"alg":"EdDSA","kid":"one","kid":"ed"}"#),
        ("a list", r#"[{"alg":"EdDSA","kid":"ed"}]"#),
        ("two documents", r#"{"alg":"EdDSA"}{"alg":"none"}"#),
    ] {
        let token = forge.token(header, &good, By::Ed);
        all.push(Attack::token(format!("header: {name}"), rule, &token));
    }
    let bytes = [&b"{\"alg\":\"EdDSA\",\"a\":\""[..], &[0xff, 0xfe], b"\"}"].concat();
    let signed = format!("{}.{}", encode(bytes), encode(&good));
    let signature = encode(forge.signature(signed.as_bytes(), By::Ed));
    all.push(Attack::token("header: no UTF-8", rule, &format!("{signed}.{signature}")));
    let spaced = good.replacen('{', "{ \"list\" : [ { \"a\" : 1 } , { \"a\" : 1 } ] , ", 1);
    let honest = forge.token(ED_HEADER, &spaced, By::Ed);
    all.push(
        Attack::token("honest: blanks, and a name in two objects", rule, &honest)
            .expecting(Expect::Passes),
    );
    all
}
