//! Several proxies that count together in a real Redis.

use http::StatusCode;
use testkit::Redis;

use crate::{
    policed,
    world::{Setup, World, header},
};

const LIMIT: &str = r#"limit = { requests = 4, per = "1h", by = ["ip"], shared = true }"#;

async fn proxy(redis: &Redis, on_failure: &str) -> anyhow::Result<World> {
    let setup = Setup { has_control: false, ..Setup::default() };
    let sections = format!(
        "[shared_limits]\nredis = \"{}\"\ntimeout = \"5s\"\non_failure = \"{on_failure}\"",
        redis.url()
    );
    policed::start(setup, LIMIT, &sections).await
}

#[tokio::test]
async fn a_client_has_one_limit_at_all_proxies() -> anyhow::Result<()> {
    let redis = Redis::start().await?;
    let worlds = [proxy(&redis, "local").await?, proxy(&redis, "local").await?];
    let mut left = Vec::new();
    for number in 0..4 {
        let answer = worlds[number % 2].get("/news").await?;
        assert_eq!(answer.status(), StatusCode::OK, "{number}");
        let field = header(answer.headers(), "ratelimit").to_owned();
        left.push(field.split(';').nth(1).unwrap_or_default().to_owned());
    }
    assert_eq!(left, ["r=3", "r=2", "r=1", "r=0"]);
    for world in &worlds {
        let answer = world.get("/news").await?;
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
        let wait: u64 = header(answer.headers(), "retry-after").parse()?;
        assert!((1..=900).contains(&wait), "{wait}");
        assert_eq!(world.monolith.count(), 2);
    }
    Ok(())
}

#[tokio::test]
async fn without_the_store_the_file_says_what_counts() -> anyhow::Result<()> {
    let redis = Redis::start().await?;
    let [local, allow, refuse] = [
        proxy(&redis, "local").await?,
        proxy(&redis, "allow").await?,
        proxy(&redis, "refuse").await?,
    ];
    redis.child.terminate().await?;
    let mut answered = Vec::new();
    for world in [&local, &allow, &refuse] {
        let mut statuses = Vec::new();
        for _ in 0..6 {
            statuses.push(world.get("/news").await?.status().as_u16());
        }
        answered.push(statuses);
    }
    assert_eq!(answered[0], [200, 200, 200, 200, 429, 429]);
    assert_eq!(answered[1], [200; 6]);
    assert_eq!(answered[2], [503; 6]);
    assert!(local.figure("ficus_proxy_shared_limit_failures_total", "").await? > 0.0);
    Ok(())
}
