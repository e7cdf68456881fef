//! Bytes that two servers read in two ways: what the proxy refuses never reaches an upstream, and what it
//! lets pass is one request there.

use testkit::http::{Recorder, cases, exchange, frames, streams};

use crate::plain::Plain;

#[tokio::test]
async fn one_request_in_is_at_most_one_request_out() -> anyhow::Result<()> {
    let recorder = Recorder::start().await?;
    let plain = Plain::start(recorder.address(), "").await?;
    let mut faults = Vec::new();
    for (group, cases) in cases::all() {
        for case in cases {
            let answers = exchange(plain.address(), &case.bytes).await?;
            if let Err(fault) = case.judge(&answers, &recorder.take()) {
                faults.push(format!("{group}: {}: {}", case.name, fault.0));
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    Ok(())
}

#[tokio::test]
async fn frames_that_break_http_2_never_reach_an_upstream_and_floods_end() -> anyhow::Result<()> {
    let recorder = Recorder::start().await?;
    let plain = Plain::start(recorder.address(), "").await?;
    let mut faults = Vec::new();
    for (group, cases) in streams::all() {
        for case in cases {
            let outcome = match case.is_raw {
                true => frames::converse_raw(plain.address(), &case.bytes).await?,
                false => frames::converse(plain.address(), &case.bytes).await?,
            };
            if let Err(fault) = case.judge(&outcome, &recorder.take()) {
                faults.push(format!("{group}: {}: {}", case.name, fault.0));
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    Ok(())
}
