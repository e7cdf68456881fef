//! Where a token is carried, how often, and how long it may be.

use super::{Attack, Expect};
use crate::e2e::http::jwt::forge::{By, ED_HEADER, Forge, claims, encode, with};

/// A token that needs more bytes than any head may have.
const HUGE_BYTES: usize = 1 << 20;

/// A token within the head's bound and beyond that of tokens.
const LONG_BYTES: usize = 12 * 1024;

/// Answers to a head that is too long, or holds what no head may.
const TOO_LONG: &[u16] = &[400, 431];

pub(super) fn all(forge: &Forge) -> Vec<Attack> {
    [places(forge), several(forge), sizes(forge), identities(forge)].concat()
}

fn stolen(forge: &Forge) -> String {
    forge.token(ED_HEADER, &claims("https://ed.example").to_string(), By::Stranger)
}

fn places(forge: &Forge) -> Vec<Attack> {
    let (rule, good) = ("RFC 6750 2", forge.good());
    let case = |name: &str, fields: Vec<String>, expect| {
        Attack::token(name, rule, "").with(fields).expecting(expect)
    };
    let refused = Expect::Unauthenticated;
    vec![
        case("nowhere", Vec::new(), refused),
        case("in an empty field", vec!["Authorization:".to_owned()], refused),
        case("Bearer alone", vec!["Authorization: Bearer".to_owned()], refused),
        case("without Bearer", vec![format!("Authorization: {good}")], refused),
        case("as Basic", vec![format!("Authorization: Basic {good}")], refused),
        case("as Bearerx", vec![format!("Authorization: Bearerx {good}")], refused),
        case("as DPoP", vec![format!("Authorization: DPoP {good}")], refused),
        case("Bearer and a tab", vec![format!("Authorization: Bearer\t{good}")], refused),
        case("bearer in lower case", vec![format!("Authorization: bearer {good}")], Expect::Passes),
        case("in its cookie", vec![format!("Cookie: a=b; access_token={good}")], Expect::Passes),
        case("in another cookie", vec![format!("Cookie: token={good}")], refused),
        case("in a cookie, in upper case", vec![format!("Cookie: ACCESS_TOKEN={good}")], refused),
        case("in X-Access-Token", vec![format!("X-Access-Token: {good}")], refused),
        case(
            "in Proxy-Authorization",
            vec![format!("Proxy-Authorization: Bearer {good}")],
            refused,
        ),
        case("in X-Authorization", vec![format!("X-Authorization: Bearer {good}")], refused),
        case("in the query", Vec::new(), refused).at(&format!("/case?access_token={good}")),
    ]
}

/// Which of two tokens counts must not be a guess.
fn several(forge: &Forge) -> Vec<Attack> {
    let rule = "RFC 6750 2: one token";
    let (good, bad) = (forge.good(), stolen(forge));
    let field = |token: &str| format!("Authorization: Bearer {token}");
    let cookie = |token: &str| format!("Cookie: access_token={token}");
    let cases = [
        ("two fields, good and bad", vec![field(&good), field(&bad)]),
        ("two fields, bad and good", vec![field(&bad), field(&good)]),
        ("two fields, twice the same", vec![field(&good), field(&good)]),
        ("a list in one field", vec![format!("{}, Bearer {bad}", field(&good))]),
        ("a list in one field, the good one last", vec![format!("{}, Bearer {good}", field(&bad))]),
        ("Basic and then Bearer", vec!["Authorization: Basic YTpi".to_owned(), field(&good)]),
        ("a bad field and a good cookie", vec![field(&bad), cookie(&good)]),
        ("two cookies, good and bad", vec![format!("{}; access_token={bad}", cookie(&good))]),
        ("two cookies, bad and good", vec![format!("{}; access_token={good}", cookie(&bad))]),
        ("two fields of cookies", vec![cookie(&good), cookie(&bad)]),
    ];
    let case = |(name, fields)| Attack::token(name, rule, "").with(fields);
    cases.map(case).into()
}

fn sizes(forge: &Forge) -> Vec<Attack> {
    let rule = "bounded work";
    let padded = |bytes| {
        let claims = with(claims("https://ed.example"), "pad", "x".repeat(bytes).into());
        forge.token(ED_HEADER, &claims.to_string(), By::Ed)
    };
    let (long, huge) = (padded(LONG_BYTES), padded(HUGE_BYTES));
    let dots = ".".repeat(6_000);
    let signature = encode(vec![1; 5_000]);
    let good = forge.good();
    let signed = good.rsplit_once('.').map_or("", |(signed, _)| signed);
    let cookie = vec![format!("Cookie: access_token={huge}")];
    vec![
        Attack::token("12 KB, well signed", rule, &long),
        Attack::token("1 MB, well signed", rule, &huge).expecting(Expect::Refused(TOO_LONG)),
        Attack::token("1 MB in a cookie", rule, "")
            .with(cookie)
            .expecting(Expect::Refused(TOO_LONG)),
        Attack::token("1 MB of one letter", rule, &"A".repeat(HUGE_BYTES))
            .expecting(Expect::Refused(TOO_LONG)),
        Attack::token("6,000 dots", rule, &dots),
        Attack::token("a signature of 5,000 bytes", rule, &format!("{signed}.{signature}")),
    ]
}

/// The header by which upstreams know who asks cannot be sent by downstreams.
fn identities(forge: &Forge) -> Vec<Attack> {
    let rule = "only the proxy says who asks";
    let good = forge.good();
    let forged = forge.token(
        r#"{"alg":"EdDSA","typ":"JWT"}"#,
        r#"{"iss":"ficus","aud":"monolith","sub":"admin","exp":9999999999}"#,
        By::Stranger,
    );
    ["Ficus-Identity", "ficus-identity", "FICUS-IDENTITY", "Ficus_Identity"]
        .map(|name| {
            let fields = vec![format!("Authorization: Bearer {good}"), format!("{name}: {forged}")];
            Attack::token(format!("a forged {name}"), rule, "")
                .with(fields)
                .expecting(Expect::Passes)
        })
        .into()
}
