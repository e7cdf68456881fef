//! Requests that two parties could read in two ways never reach an upstream.

use crate::{
    wire::Wire,
    world::{Setup, World},
};

#[tokio::test]
async fn ambiguous_requests_are_answered_by_the_proxy_alone() -> anyhow::Result<()> {
    let world = World::start(Setup { has_control: false, ..Setup::default() }).await?;
    let long = "x".repeat(40_000);
    let requests = [
        ("GET /api/v1/users HTTP/1.1\r\nAccept: */*\r\n\r\n".to_owned(), 400),
        ("GET /api/v1/tickets/../users HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("GET //api/v1/users HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("GET /api/v1/tickets%2f7 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("GET /api/v1/%2e%2e/users HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        (
            "POST /api/v1/users HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\
             Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
                .to_owned(),
            400,
        ),
        (
            "POST /api/v1/users HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 4\r\n\r\nbody".to_owned(),
            400,
        ),
        (format!("GET /api/v1/users HTTP/1.1\r\nHost: a\r\nX-Long: {long}\r\n\r\n"), 431),
    ];
    for (request, status) in requests {
        let shown: String = request.chars().take(60).collect();
        let answer = Wire::send(world.proxy.listen, &request).await?.answer().await?;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{shown:?}: {answer}");
    }
    assert_eq!(world.monolith.count(), 0);
    Ok(())
}

#[tokio::test]
async fn a_refused_request_is_explained_by_a_problem_document() -> anyhow::Result<()> {
    let world = World::start(Setup { has_control: false, ..Setup::default() }).await?;
    let request = "GET /a//b HTTP/1.1\r\nHost: a\r\n\r\n";
    let answer = Wire::send(world.proxy.listen, request).await?.answer().await?;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.to_ascii_lowercase().contains("content-type: application/problem+json"), "{head}");
    let problem: serde_json::Value = serde_json::from_str(body)?;
    assert_eq!(problem["type"], "urn:ficus:problem:malformed-request");
    assert_eq!(problem["status"], 400);
    Ok(())
}
