//! `ficus shift`: moves the share of reads, stops and lets go on the automatic steps, shows what was.

use control::api::ShiftEntry;
use serde_json::{Value, json};

use crate::args::Shift;
use crate::exit::Failure;
use crate::online::{Online, command_path};

/// Does what was asked for; without a share it lists the shifts so far.
pub(crate) async fn shift(online: &Online, wanted: &Shift) -> anyhow::Result<()> {
    let to = match (&wanted.to, wanted.pause, wanted.resume) {
        (_, true, _) => json!("pause_steps"),
        (_, _, true) => json!("resume_steps"),
        (Some(share), false, false) => target(share)?,
        (None, false, false) => return history(online, &wanted.capability).await,
    };
    online.simple(&wanted.capability, "shift", &json!({ "to": to })).await
}

fn target(written: &str) -> anyhow::Result<Value> {
    match written.trim_end_matches('%') {
        word @ ("shadowing" | "replicating" | "auto") => Ok(json!(word)),
        share => match share.parse::<u8>() {
            Ok(percent) if percent <= 100 => Ok(json!(percent)),
            _ => {
                let words = format!("{written:?} is no share: write shadowing, auto or 0 to 100");
                Err(Failure::Usage(words).into())
            }
        },
    }
}

async fn history(online: &Online, capability: &str) -> anyhow::Result<()> {
    let shifts: Vec<ShiftEntry> = online.control.get(&command_path(capability, "shifts")).await?;
    online.out.object(&json!({ "shifts": shifts }))?;
    if shifts.is_empty() {
        return online.out.line(&format!("{capability}: nothing was shifted yet"));
    }
    for entry in &shifts {
        online.out.line(&line(entry))?;
    }
    Ok(())
}

/// One shift, and for an automatic one what it was decided on.
fn line(entry: &ShiftEntry) -> String {
    let mut line = format!(
        "{}  {:<14} {:<12} {}",
        humantime::format_rfc3339_seconds(
            std::time::UNIX_EPOCH + std::time::Duration::from_millis(entry.at_unix_ms)
        ),
        entry.phase,
        entry.actor,
        entry.reason
    );
    if let Some(evidence) = &entry.evidence {
        let count = |key: &str| {
            evidence
                .pointer(&format!("/since_step/{key}"))
                .and_then(serde_json::Value::as_u64)
                .unwrap_or_default()
        };
        line.push_str(&format!(
            "\n    since the step before: service {} requests, {} errors; monolith {}, {}; {} compared, {} differ, {} skipped",
            count("requests_target"),
            count("errors_target"),
            count("requests_source"),
            count("errors_source"),
            count("compared"),
            count("mismatched"),
            count("skipped"),
        ));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_word_or_a_percentage() {
        assert_eq!(target("auto").expect("a word"), json!("auto"));
        assert_eq!(target("10%").expect("a share"), json!(10));
        for wrong in ["101", "-1", "automatic", ""] {
            assert!(target(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_automatic_step_shows_what_it_was_decided_on() {
        let entry = ShiftEntry {
            at_unix_ms: 1_790_000_000_000,
            phase: "reading 0%".to_owned(),
            actor: "automatic".to_owned(),
            reason: "the service failed 5 times in a row".to_owned(),
            evidence: Some(json!({ "since_step": { "requests_target": 7, "errors_target": 5 } })),
        };
        let line = line(&entry);
        assert!(line.contains("failed 5 times") && line.contains("7 requests, 5 errors"), "{line}");
    }
}
