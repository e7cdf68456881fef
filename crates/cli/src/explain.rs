//! `ficus route explain`: asks the file, or a running proxy, which way a request would take.

use std::path::Path;

use anyhow::Context;
use cutover::Phase;
use proxy::{Assumed, Explanation, Outcome, Question};

use crate::args::Explain;
use crate::config;
use crate::exit::Failure;
use crate::output::Output;

/// Explains one request.
///
/// # Errors
/// A usage failure when the question is no request; a failure when the proxy does not answer.
pub(crate) async fn explain(path: &Path, explain: &Explain, out: &Output) -> anyhow::Result<()> {
    let question = question(explain)?;
    let told = match proxy_address(path, explain)? {
        Some(admin) => ask(&admin, &question).await?,
        None => {
            let config = config::load_without_secrets(path)?;
            let phase: Phase = explain.phase.parse().map_err(|error| {
                Failure::Usage(format!("{error}; write for example --phase \"reading 10%\""))
            })?;
            let assumed = Assumed { phase, caught_up: !explain.behind };
            proxy::explain_offline(config, assumed, &question)
                .map_err(|error| Failure::Usage(error.to_string()))?
        }
    };
    out.object(&told)?;
    for line in lines(&told) {
        out.line(&line)?;
    }
    Ok(())
}

/// Where the proxy is asked; `None` asks the file.
fn proxy_address(path: &Path, explain: &Explain) -> anyhow::Result<Option<String>> {
    match (&explain.admin, explain.live) {
        (Some(admin), _) => Ok(Some(admin.clone())),
        (None, true) => Ok(Some(config::load_without_secrets(path)?.proxy.admin.to_string())),
        (None, false) => Ok(None),
    }
}

fn question(explain: &Explain) -> anyhow::Result<Question> {
    let usage = |text: String| anyhow::Error::new(Failure::Usage(text));
    let request = explain.request.trim();
    let (method, target) = request.split_once(' ').unwrap_or(("GET", request));
    let header = |text: &String| {
        let (name, value) = text.split_once(':').ok_or_else(|| {
            usage(format!("{text:?} is not a header; write for example \"x-api-key: abc\""))
        })?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    };
    Ok(Question {
        method: method.to_owned(),
        target: target.trim().to_owned(),
        headers: explain.headers.iter().map(header).collect::<anyhow::Result<_>>()?,
        subject: explain.subject.clone(),
        ip: explain.ip,
    })
}

async fn ask(admin: &str, question: &Question) -> anyhow::Result<Explanation> {
    let url = format!("http://{admin}/explain");
    let http = reqwest::Client::builder().build().context("set up the HTTP client")?;
    let answer = http.post(&url).json(question).send().await.with_context(|| {
        format!("ask the proxy at {admin}; is it running? leave out --live to ask the file")
    })?;
    if answer.status() == reqwest::StatusCode::UNPROCESSABLE_ENTITY {
        return Err(Failure::Usage(answer.text().await?).into());
    }
    let answer = answer.error_for_status().context("the proxy is of another version")?;
    answer.json().await.context("the proxy answered something that is no explanation")
}

/// The explanation as a person reads it.
fn lines(told: &Explanation) -> Vec<String> {
    let mut lines = vec![match (told.outcome, told.upstream.as_deref()) {
        (Outcome::Refused(status), _) => format!("refused with {status}"),
        (Outcome::Held, _) => "held at the gate".to_owned(),
        (Outcome::Sent, upstream) => format!("sent to {}", upstream.unwrap_or("nobody")),
    }];
    lines.extend(told.because.iter().map(|step| format!("  {step}")));
    let mut row = |name: &str, value: Option<String>| {
        lines.extend(value.map(|value| format!("{:<11}{value}", format!("{name}:"))));
    };
    row("capability", told.capability.clone());
    row("route", told.route.clone());
    row("effect", told.effect.clone());
    row("phase", told.phase.clone());
    row("generation", told.generation.map(|generation| generation.to_string()));
    row("bucket", told.bucket.map(|bucket| format!("{bucket} of 10000")));
    row("shadow", told.shadow.then(|| "the service is asked too, and compared".to_owned()));
    let mark = |is_healthy| if is_healthy { "" } else { " (unhealthy)" };
    let peers: Vec<String> =
        told.peers.iter().map(|peer| format!("{}{}", peer.address, mark(peer.healthy))).collect();
    row("peers", (!peers.is_empty()).then(|| peers.join(", ")));
    lines
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Arguments, Command, RouteCommand};

    fn parsed(words: &[&str]) -> anyhow::Result<Question> {
        let words = ["ficus", "route", "explain"].iter().chain(words);
        let Command::Route(RouteCommand::Explain(explain)) =
            Arguments::try_parse_from(words)?.command
        else {
            anyhow::bail!("another command");
        };
        question(&explain)
    }

    #[test]
    fn a_request_without_a_method_is_a_get() {
        let asked = parsed(&["/api/v1/tickets/7"]).expect("a question");
        assert_eq!((asked.method.as_str(), asked.target.as_str()), ("GET", "/api/v1/tickets/7"));
    }

    #[test]
    fn headers_may_be_repeated_and_must_have_a_name() {
        let asked = parsed(&["POST /x", "-H", "x-api-key: a:b", "--header", "cookie: s=1"]);
        let expected = [("x-api-key", "a:b"), ("cookie", "s=1")].map(|(n, v)| (n.into(), v.into()));
        assert_eq!(asked.expect("a question").headers, expected);
        let refused = parsed(&["/x", "-H", "nonsense"]).expect_err("no header").to_string();
        assert!(refused.contains("write for example"), "{refused}");
    }

    #[test]
    fn what_is_assumed_about_a_file_is_not_said_of_a_running_proxy() {
        let refused = parsed(&["/x", "--live", "--phase", "shadowing"]).expect_err("contradiction");
        assert!(refused.to_string().contains("cannot be used with"), "{refused}");
    }
}
