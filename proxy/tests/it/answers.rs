//! Answers that are given again: when, to whom, and never when they may be wrong.

use http::StatusCode;

use crate::{
    control::state,
    policed,
    upstream::Reply,
    world::{Setup, World, header},
};

const KEEP: &str = "cache = { fresh = \"1m\" }";
const KEEP_TOLD: &str = "cache = {}";

/// An answer with one more header field.
fn reply(name: &'static str, value: &'static str, body: &str) -> Reply {
    let mut reply = Reply::json(body);
    reply.headers.push((name, value));
    reply
}

async fn read(world: &World, path: &str) -> anyhow::Result<String> {
    Ok(world.get(path).await?.text().await?)
}

#[tokio::test]
async fn a_fresh_answer_is_given_again_with_its_age() -> anyhow::Result<()> {
    let world = policed::plain(KEEP).await?;
    world.monolith.answer(|seen| Reply::json(format!("{{\"path\":\"{}\"}}", seen.path)));
    for _ in 0..3 {
        let answer = world.get("/news?page=1").await?;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.text().await?, r#"{"path":"/news"}"#);
    }
    assert_eq!(world.monolith.count(), 1);
    let again = world.get("/news?page=1").await?;
    assert!(header(again.headers(), "age").parse::<u64>().is_ok(), "{again:?}");
    assert!(!header(again.headers(), "x-request-id").is_empty());
    read(&world, "/news?page=2").await?;
    assert_eq!(world.monolith.count(), 2);
    let hits = world.figure("ficus_proxy_kept_answers_total", "phase=\"hit\"").await?;
    assert!(hits >= 3.0, "{hits}");
    Ok(())
}

#[tokio::test]
async fn what_was_made_for_one_client_is_asked_again_for_another() -> anyhow::Result<()> {
    let world = policed::plain(KEEP).await?;
    world.monolith.answer(|seen| {
        let who = seen.headers.get("cookie").map_or("nobody", |c| c.to_str().expect("text"));
        reply("cache-control", "max-age=60", who)
    });
    for cookie in ["id=alice", "id=bob", "id=alice"] {
        let request = world.client.get(world.url("/me")).header("cookie", cookie);
        assert_eq!(request.send().await?.text().await?, cookie);
    }
    assert_eq!(world.monolith.count(), 3);
    world.monolith.answer(|_| reply("cache-control", "private, max-age=60", "mine"));
    read(&world, "/private").await?;
    read(&world, "/private").await?;
    assert_eq!(world.monolith.count(), 5);
    Ok(())
}

#[tokio::test]
async fn answers_vary_by_the_fields_they_name() -> anyhow::Result<()> {
    let world = policed::plain(KEEP_TOLD).await?;
    world.monolith.answer(|seen| {
        let language = seen.headers.get("accept-language").expect("it is sent");
        let mut reply = reply("vary", "Accept-Language", language.to_str().expect("text"));
        reply.headers.push(("cache-control", "max-age=60"));
        reply
    });
    for language in ["de", "fr", "de", "fr", "de"] {
        let request = world.client.get(world.url("/news")).header("accept-language", language);
        assert_eq!(request.send().await?.text().await?, language);
    }
    assert_eq!(world.monolith.count(), 2);
    Ok(())
}

#[tokio::test]
async fn a_stale_answer_is_kept_when_the_upstream_says_that_it_is_still_good() -> anyhow::Result<()>
{
    let world = policed::plain(KEEP_TOLD).await?;
    world.monolith.answer(|seen| {
        let mut answer = match seen.headers.get("if-none-match") {
            Some(tag) if tag == "\"one\"" => Reply::json("").status(304),
            _ => Reply::json("body"),
        };
        answer.headers.extend([("etag", "\"one\""), ("cache-control", "max-age=0")]);
        answer
    });
    assert_eq!(read(&world, "/news").await?, "body");
    let again = world.get("/news").await?;
    assert_eq!(again.status(), StatusCode::OK);
    assert_eq!(again.text().await?, "body");
    let seen = world.monolith.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(header(&seen[0].headers, "if-none-match"), "");
    assert_eq!(header(&seen[1].headers, "if-none-match"), "\"one\"");
    Ok(())
}

#[tokio::test]
async fn a_client_that_has_the_answer_is_told_so_by_the_proxy() -> anyhow::Result<()> {
    let world = policed::plain(KEEP).await?;
    world.monolith.answer(|_| reply("etag", "\"one\"", "body"));
    read(&world, "/news").await?;
    let request = world.client.get(world.url("/news")).header("if-none-match", "\"one\"");
    assert_eq!(request.send().await?.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(world.monolith.count(), 1);
    Ok(())
}

#[tokio::test]
async fn of_many_equal_requests_one_asks() -> anyhow::Result<()> {
    let world = policed::plain(KEEP).await?;
    world.monolith.set_slow(true);
    let requests = (0..8).map(|_| tokio::spawn(world.client.get(world.url("/news")).send()));
    let requests: Vec<_> = requests.collect();
    world.wait(|| world.monolith.count() > 0).await?;
    // Round trips through the same proxy: time in which the others would have asked too.
    for _ in 0..20 {
        world.client.get(world.admin_url("/readyz")).send().await?;
    }
    world.monolith.set_slow(false);
    for request in requests {
        assert_eq!(request.await??.text().await?, "{}");
    }
    assert_eq!(world.monolith.count(), 1);
    Ok(())
}

#[tokio::test]
async fn a_write_of_a_capability_ends_what_was_kept_of_it_and_of_nothing_else() -> anyhow::Result<()>
{
    let world = policed::plain(KEEP).await?;
    let ticket = "/api/v1/tickets/7";
    for path in [ticket, ticket, "/news", "/news"] {
        read(&world, path).await?;
    }
    assert_eq!(world.monolith.count(), 2);
    world.write_as("alice").await?;
    read(&world, ticket).await?;
    assert_eq!(world.monolith.count(), 4, "the write and the read after it");
    read(&world, ticket).await?;
    read(&world, "/news").await?;
    assert_eq!(world.monolith.count(), 4);
    world.client.post(world.url("/news")).body("{}").send().await?;
    read(&world, "/news").await?;
    assert_eq!(world.monolith.count(), 6);
    read(&world, ticket).await?;
    assert_eq!(world.monolith.count(), 6);
    Ok(())
}

#[tokio::test]
async fn nothing_is_given_again_while_a_capability_changes_hands() -> anyhow::Result<()> {
    let world = policed::start(Setup::default(), KEEP, "").await?;
    world.control.apply(state("monolith", "source", 3)).await?;
    read(&world, "/api/v1/tickets/7").await?;
    read(&world, "/api/v1/tickets/7").await?;
    assert_eq!(world.monolith.count(), 1);
    // The owner is not yet the one the phase names: a transfer was decided a moment ago.
    world.control.apply(state("switched", "source", 4)).await?;
    read(&world, "/api/v1/tickets/7").await?;
    read(&world, "/api/v1/tickets/7").await?;
    assert_eq!(world.monolith.count(), 3);
    world.control.apply(state("switched", "target", 5)).await?;
    read(&world, "/api/v1/tickets/7").await?;
    read(&world, "/api/v1/tickets/7").await?;
    assert_eq!((world.monolith.count(), world.service.count()), (3, 1));
    Ok(())
}
