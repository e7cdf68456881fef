//! Attacks on tokens: forged, mangled and misread ones, keys that turn, end or cannot be had. None of them
//! reaches the upstream, nobody is asked at an address that a token names, and the honest tokens between them
//! pass. The upstream learns who asks from the proxy alone.

mod attacks;
mod forge;
mod provider;
mod turning;

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context, ensure};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{ED25519, KeyPair, UnparsedPublicKey};
use serde_json::Value;
use testkit::{
    RunningChild,
    http::{Answers, Recorded, Recorder, exchange},
};

use self::attacks::{Attack, Expect, Made};
use self::forge::{AUDIENCE, By, Forge, SECRET, claims};
use self::provider::{Keys, Provider};
use super::report::{Line, Report};
use super::servers::start_ficus;

const GROUP: &str = "jwt";

/// Longest time the proxy may take to have fetched keys.
const BOUND: Duration = Duration::from_secs(30);

/// How long keys that cannot be fetched again stay good, and how often they are fetched; for `turning`.
const STALE: Duration = Duration::from_secs(8);

/// A proxy that asks for tokens, and everybody around it.
struct Guarded {
    forge: Forge,
    provider: Provider,
    recorder: Recorder,
    entry: SocketAddr,
    ficus: RunningChild,
}

pub(super) async fn run(ficus: &Path, dir: &Path, report: &mut Report) -> anyhow::Result<()> {
    let guarded = Guarded::start(ficus, dir).await?;
    let trap = guarded.provider.trap();
    for attack in attacks::all(Made { forge: &guarded.forge, trap: &trap }) {
        if report.wants(GROUP, &attack.name) {
            let outcome = guarded.outcome(&attack).await;
            add(report, &attack.name, attack.rule, outcome);
        }
    }
    turning::run(&guarded, report).await?;
    guarded.ficus.terminate().await?;
    Ok(())
}

fn add(report: &mut Report, name: &str, rule: &str, outcome: anyhow::Result<String>) {
    let (seen, faults) = match outcome {
        Ok(seen) => (seen, Vec::new()),
        Err(error) => (String::new(), vec![format!("{error:#}")]),
    };
    report.add(Line { group: GROUP, name, rule, seen, faults });
}

impl Guarded {
    async fn start(ficus: &Path, dir: &Path) -> anyhow::Result<Self> {
        let (forge, provider) = (Forge::new()?, Provider::start().await?);
        for (issuer, set) in forge.key_sets() {
            provider.answer(issuer, Keys::Set(set));
        }
        let recorder = Recorder::start().await?;
        let pem = dir.join("identity.pem");
        std::fs::write(&pem, &forge.identity_pem)?;
        let rest = sections(&provider, &pem);
        let (entry, ficus) =
            start_ficus(ficus, dir, "ficus-jwt", recorder.address(), &rest).await?;
        let guarded = Self { forge, provider, recorder, entry, ficus };
        guarded.wait_for_keys().await?;
        Ok(guarded)
    }

    /// Waits until the keys of every issuer are there.
    async fn wait_for_keys(&self) -> anyhow::Result<()> {
        for (issuer, header, by) in [
            ("https://ed.example", r#"{"alg":"EdDSA"}"#, By::Ed),
            ("https://rsa.example", r#"{"alg":"RS256","kid":"rsa"}"#, By::Rs256),
            ("https://ec.example", r#"{"alg":"ES256"}"#, By::Es256),
            ("https://turning.example", r#"{"alg":"EdDSA"}"#, By::Ed),
        ] {
            let token = self.forge.token(header, &claims(issuer).to_string(), by);
            let passes = || async {
                let answers = self.ask(&token).await?;
                Ok((answers.statuses == [200]).then_some(()))
            };
            let waited = testkit::wait_until(BOUND, passes).await;
            waited.with_context(|| format!("a good token of {issuer} never passed"))?;
        }
        drop(self.recorder.take());
        Ok(())
    }

    async fn send(&self, target: &str, fields: &[String]) -> anyhow::Result<Answers> {
        let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n");
        Ok(exchange(self.entry, request.as_bytes()).await?)
    }

    async fn ask(&self, token: &str) -> anyhow::Result<Answers> {
        self.send("/case", &[format!("Authorization: Bearer {token}")]).await
    }

    /// Sends one attack and looks at everybody.
    async fn outcome(&self, attack: &Attack) -> anyhow::Result<String> {
        drop(self.recorder.take());
        let answers = self.send(&attack.target, &attack.fields).await?;
        let reached = self.recorder.take();
        let trapped = self.provider.take_trapped();
        ensure!(trapped.is_empty(), "the proxy asked for {trapped:?}");
        let passes = attack.expect == Expect::Passes;
        ensure!(reached.len() == usize::from(passes), "{} reached the upstream", reached.len());
        self.judge(attack, &answers)?;
        for request in &reached {
            self.check_identity(request)?;
        }
        Ok(answers.statuses.first().map_or_else(|| "closed".to_owned(), u16::to_string))
    }

    fn judge(&self, attack: &Attack, answers: &Answers) -> anyhow::Result<()> {
        let text = String::from_utf8_lossy(&answers.bytes);
        let field = |name: &str| {
            let mut lines = text.lines().take_while(|line| !line.is_empty());
            lines.find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim())
            })
        };
        let statuses = answers.statuses.as_slice();
        match attack.expect {
            Expect::Passes => ensure!(statuses == [200], "answered {statuses:?}: {text}"),
            Expect::Unauthenticated => {
                ensure!(statuses == [401], "answered {statuses:?}");
                let challenge = field("www-authenticate").unwrap_or_default();
                ensure!(challenge.starts_with("Bearer"), "no challenge in {text}");
                ensure!(field("content-type") == Some("application/problem+json"), "{text}");
            }
            Expect::Forbidden => {
                ensure!(statuses == [403], "answered {statuses:?}");
                let challenge = field("www-authenticate").unwrap_or_default();
                ensure!(challenge.contains("insufficient_scope"), "no challenge in {text}");
            }
            Expect::Refused(with) => {
                // an answer that a reset has overtaken is a refusal too
                let is_closed = statuses.is_empty() && answers.is_closed;
                let is_told = statuses.len() == 1 && statuses.iter().all(|one| with.contains(one));
                ensure!(is_closed || is_told, "answered {statuses:?}");
            }
        }
        ensure!(!text.contains(SECRET), "the answer tells the secret");
        let told =
            attack.fields.iter().flat_map(|field| field.split(['.', ' ', '='])).any(|part| {
                // what is as long as a signature does not stand in an answer by chance
                part.len() >= 80 && text.contains(part)
            });
        ensure!(!told, "the answer repeats the token");
        Ok(())
    }

    /// Exactly one header says who asks, and the proxy signed it.
    fn check_identity(&self, request: &Recorded) -> anyhow::Result<()> {
        let head = String::from_utf8_lossy(&request.head).into_owned();
        let values: Vec<&str> = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            // as servers that make variables of fields read them
            .filter(|(name, _)| name.replace('_', "-").eq_ignore_ascii_case("ficus-identity"))
            .map(|(_, value)| value.trim())
            .collect();
        let [value] = values.as_slice() else {
            anyhow::bail!("{} identities reached the upstream", values.len());
        };
        let (signed, signature) =
            value.rsplit_once('.').context("an identity without signature")?;
        let public = UnparsedPublicKey::new(&ED25519, self.forge.identity.public_key().as_ref());
        let signature = URL_SAFE_NO_PAD.decode(signature)?;
        let is_ours = public.verify(signed.as_bytes(), &signature).is_ok();
        ensure!(is_ours, "somebody else signed the identity");
        let payload = signed.split_once('.').context("an identity without claims")?.1;
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload)?)?;
        let subject = claims.get("sub").and_then(Value::as_str);
        ensure!(subject == Some("alice"), "the identity is {subject:?}");
        Ok(())
    }
}

/// Issuers, policies and routes: one issuer for each kind of key, one that has a secret, and one whose keys turn.
fn sections(provider: &Provider, pem: &Path) -> String {
    let issuer = |name: &str, algorithm: &str, more: &str| {
        format!(
            "[issuers.{name}]\nissuer = \"https://{name}.example\"\naudience = [\"{AUDIENCE}\"]\n\
             algorithms = [\"{algorithm}\"]\njwks = \"{}\"\n{more}\n",
            provider.url(name)
        )
    };
    let stale = format!("refresh = \"1s\"\nstale = \"{}s\"", STALE.as_secs());
    let (ed, rsa) = (issuer("ed", "EdDSA", ""), issuer("rsa", "RS256", ""));
    let (ec, turning) = (issuer("ec", "ES256", ""), issuer("turning", "EdDSA", &stale));
    format!(
        "{ed}{rsa}{ec}{turning}\
         [issuers.monolith]\nissuer = \"monolith\"\naudience = [\"{AUDIENCE}\"]\n\
         algorithms = [\"HS256\"]\nsecret = \"{SECRET}\"\n\
         [identity]\nkeys = [\"file:{pem}\"]\n\
         [policies.tokens]\nidentity = true\n\
         token = {{ issuers = [\"ed\", \"rsa\", \"ec\", \"turning\", \"monolith\"], cookies = [\"access_token\"] }}\n\
         [policies.admin]\nidentity = true\ntoken = {{ issuers = [\"rsa\"], scopes = [\"admin\"] }}\n\
         [[routes]]\nmatch = \"* /case\"\npolicy = \"tokens\"\n\
         [[routes]]\nmatch = \"* /admin\"\npolicy = \"admin\"\n",
        pem = pem.display()
    )
}
