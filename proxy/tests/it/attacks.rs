//! Bytes that two servers read in two ways: what the proxy refuses never reaches an upstream, and what it
//! lets pass is one request there.

use testkit::http::{Recorder, cases, exchange, streams};

use crate::plain::Plain;

#[tokio::test]
async fn one_request_in_is_at_most_one_request_out() -> anyhow::Result<()> {
    let recorder = Recorder::start().await?;
    let plain = Plain::start(recorder.address(), "").await?;
    let mut faults = Vec::new();
    let all = cases::all()
        .into_iter()
        .flat_map(|(group, cases)| cases.into_iter().map(move |case| (group, case)));
    for (number, (group, case)) in all.enumerate() {
        let answers = exchange(plain.address(), &case.marked(number)).await?;
        let seen = cases::of_case(number, recorder.take());
        if let Err(fault) = case.judge(&answers, &seen) {
            faults.push(format!("{group}: {}: {}", case.name, fault.0));
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
            let outcome = case.send(plain.address()).await?;
            if let Err(fault) = case.judge(&outcome, &recorder.take()) {
                faults.push(format!("{group}: {}: {}", case.name, fault.0));
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    Ok(())
}
