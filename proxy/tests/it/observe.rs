//! What operators see of a request: its trace and its line.

use crate::{
    control::state,
    upstream::Reply,
    world::{BOUND, Setup, World, header},
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test]
async fn a_trace_goes_through_to_the_upstream_under_a_new_span() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let request = world.client.get(world.url("/api/v1/users")).header("traceparent", &parent);
    request.header("tracestate", "vendor=1").send().await?;
    world.get("/api/v1/users").await?;
    let seen = world.monolith.seen();
    let sent = header(&seen[0].headers, "traceparent");
    assert!(sent.starts_with(&format!("00-{TRACE}-")) && sent != parent, "{sent}");
    assert_eq!(header(&seen[0].headers, "tracestate"), "vendor=1");
    let begun = header(&seen[1].headers, "traceparent");
    assert!(begun.len() == parent.len() && !begun.contains(TRACE), "{begun}");
    Ok(())
}

#[tokio::test]
async fn failed_requests_are_logged_even_where_no_other_is() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("access.log");
    let line = format!("access_log = {{ sample = 0, slow = \"1m\", file = {path:?} }}");
    let proxy = line;
    let world = World::start(Setup { proxy, ..Setup::default() }).await?;
    world.control.apply(state("switched", "target", 4)).await?;
    for status in [200, 503, 200, 500] {
        world.service.answer(move |_| Reply::json("{}").status(status));
        world.get("/api/v1/tickets/7").await?;
    }
    let lines = || async {
        let text = std::fs::read_to_string(&path)?;
        Ok((text.lines().count() >= 2).then_some(text))
    };
    let text = testkit::wait_until(BOUND, lines).await?;
    let lines: Vec<serde_json::Value> =
        text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let statuses: Vec<_> = lines.iter().map(|line| line["status"].clone()).collect();
    assert_eq!(statuses, [503, 500]);
    assert_eq!(lines[0]["route"], "GET /api/v1/tickets/{id}");
    assert_eq!(lines[0]["upstream"], "ticket");
    assert_eq!(lines[0]["phase"], "switched");
    assert_eq!(lines[0]["trace_id"].as_str().map(str::len), Some(32));
    // moved away, as logrotate does it, and begun anew when the proxy is told
    std::fs::rename(&path, folder.path().join("access.log.1"))?;
    world.proxy.reload.reload().await?;
    world.get("/api/v1/tickets/8").await?;
    let look =
        || async { Ok(std::fs::read_to_string(&path).is_ok_and(|t| !t.is_empty()).then_some(())) };
    testkit::wait_until(BOUND, look).await
}
