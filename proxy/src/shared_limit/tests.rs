//! Against a real server: counting is exact, shared, and never keeps a request waiting.

use testkit::{Redis, Signal};

use super::*;

const BOUND: Duration = Duration::from_secs(20);

/// Longer than any test: nothing is given back while one runs.
const SLOW: Rate = Rate { interval: Duration::from_secs(3_600), burst: 5 };

fn limits(redis: &Redis, patience: Duration) -> anyhow::Result<SharedLimits> {
    Ok(SharedLimits::new(&redis.url(), patience)?)
}

#[tokio::test]
async fn proxies_that_share_a_store_allow_together_what_one_may_allow() -> anyhow::Result<()> {
    let redis = Redis::start().await?;
    let proxies = [limits(&redis, BOUND)?, limits(&redis, BOUND)?];
    let ask = |number: usize| proxies[number % 2].count(b"alice", SLOW);
    let counts = futures::future::try_join_all((0..20).map(ask)).await?;
    assert_eq!(counts.iter().filter(|count| count.is_allowed).count(), 5);
    let mut left: Vec<u32> = counts.iter().filter(|c| c.is_allowed).map(|c| c.left).collect();
    left.sort_unstable();
    assert_eq!(left, [0, 1, 2, 3, 4]);
    assert!(proxies[1].count(b"bob", SLOW).await?.is_allowed);
    Ok(())
}

#[tokio::test]
async fn a_refused_request_is_told_when_one_is_allowed_and_then_is() -> anyhow::Result<()> {
    let redis = Redis::start().await?;
    let limits = limits(&redis, BOUND)?;
    let rate = Rate { interval: Duration::from_millis(300), burst: 2 };
    let first = limits.count(b"carol", rate).await?;
    assert!(first.is_allowed && first.wait.is_zero() && first.left == 1, "{first:?}");
    let second = limits.count(b"carol", rate).await?;
    assert!(second.is_allowed && second.left == 0, "{second:?}");
    assert!(second.reset > rate.interval && second.reset <= 2 * rate.interval, "{second:?}");
    let refused = limits.count(b"carol", rate).await?;
    assert!(!refused.is_allowed, "{refused:?}");
    assert!(!refused.wait.is_zero() && refused.wait <= rate.interval, "{refused:?}");
    tokio::time::sleep(refused.wait).await;
    assert!(limits.count(b"carol", rate).await?.is_allowed);
    Ok(())
}

#[tokio::test]
async fn what_a_subject_used_is_forgotten_when_it_no_longer_matters() -> anyhow::Result<()> {
    let redis = Redis::start().await?;
    let limits = limits(&redis, BOUND)?;
    let rate = Rate { interval: Duration::from_millis(20), burst: 3 };
    limits.count(b"dora", rate).await?;
    let mut connection = limits.connection.get().expect("it was asked").clone();
    let gone = async || {
        let mut connection = connection.clone();
        let keys: u64 = redis::cmd("DBSIZE").query_async(&mut connection).await?;
        Ok((keys == 0).then_some(()))
    };
    testkit::wait_until(BOUND, gone).await?;
    // The server may forget its scripts, too: they are sent again.
    redis::cmd("SCRIPT").arg("FLUSH").query_async::<()>(&mut connection).await?;
    assert!(limits.count(b"dora", rate).await?.is_allowed);
    Ok(())
}

#[tokio::test]
async fn a_store_that_hangs_costs_one_waiting_time_and_is_used_again_later() -> anyhow::Result<()> {
    let mut redis = Redis::start().await?;
    let patience = Duration::from_millis(200);
    let limits = limits(&redis, patience)?;
    testkit::wait_until(BOUND, || async {
        Ok(limits.count(b"eve", SLOW).await.is_ok().then_some(()))
    })
    .await?;
    redis.child.signal(Signal::SIGSTOP)?;
    let late = limits.count(b"eve", SLOW).await;
    assert!(matches!(late, Err(Silent::Late | Silent::Failed(_))), "{late:?}");
    let resting = limits.count(b"eve", SLOW).await;
    assert!(matches!(resting, Err(Silent::Resting)), "{resting:?}");
    redis.child.signal(Signal::SIGCONT)?;
    let again = || async { Ok(limits.count(b"eve", SLOW).await.is_ok().then_some(())) };
    testkit::wait_until(BOUND, again).await
}

#[tokio::test]
async fn a_store_that_is_not_there_is_an_error_and_not_a_wait() -> anyhow::Result<()> {
    let closed = testkit::free_port()?;
    let limits = SharedLimits::new(&format!("redis://127.0.0.1:{closed}"), BOUND)?;
    let failed = tokio::time::timeout(BOUND, limits.count(b"fred", SLOW)).await?;
    assert!(matches!(failed, Err(Silent::Failed(_))), "{failed:?}");
    Ok(())
}
