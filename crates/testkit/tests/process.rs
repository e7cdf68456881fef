//! Child processes: log, readiness, polite and forced end.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal;
use nix::unistd::Pid;
use testkit::{ChildSpec, RunningChild, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const BOUND: Duration = Duration::from_secs(10);

fn shell(script: &str) -> (tempfile::TempDir, ChildSpec) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let spec = ChildSpec::new("a shell", "/bin/sh", dir.path().join("logs/shell.log"));
    (dir, spec.arg("-c").arg(script))
}

async fn wait_for_line(child: &RunningChild, line: &str) -> anyhow::Result<()> {
    wait_until(BOUND, || async { Ok(child.log_tail().contains(line).then_some(())) }).await
}

/// A server that answers every connection with `status`.
async fn http_server(status: &'static str) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("accept");
            let mut head = [0_u8; 1024];
            let read = stream.read(&mut head).await.expect("read a request");
            assert!(read > 0, "a request arrived");
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.expect("answer");
        }
    });
    Ok(address)
}

#[tokio::test]
async fn both_outputs_and_the_environment_reach_the_log_and_the_status_is_told()
-> anyhow::Result<()> {
    let (_dir, spec) = shell("echo out $COLOUR; echo err >&2; exit 4");
    let mut child = spec.env("COLOUR", "green").spawn()?;
    assert_eq!(child.wait(BOUND).await?.code(), Some(4));
    assert_eq!(child.log_tail(), "out green\nerr");
    Ok(())
}

#[tokio::test]
async fn a_polite_process_ends_by_itself() -> anyhow::Result<()> {
    let (_dir, spec) = shell("trap 'exit 3' TERM; echo armed; while :; do sleep 0.05; done");
    let child = spec.spawn()?;
    wait_for_line(&child, "armed").await?;
    assert_eq!(child.terminate().await?.code(), Some(3));
    Ok(())
}

#[tokio::test]
async fn a_deaf_process_is_killed_when_the_bound_has_passed() -> anyhow::Result<()> {
    let (_dir, spec) = shell("trap '' TERM; echo armed; exec sleep 600");
    let child = spec.stop_within(Duration::from_millis(100)).spawn()?;
    wait_for_line(&child, "armed").await?;
    assert_eq!(child.terminate().await?.signal(), Some(9));
    Ok(())
}

#[tokio::test]
async fn a_dropped_process_does_not_run_on() -> anyhow::Result<()> {
    let (_dir, spec) = shell("exec sleep 600");
    let child = spec.spawn()?;
    let pid = Pid::from_raw(child.pid());
    assert_eq!(signal::kill(pid, None), Ok(()));
    drop(child);
    let gone = || async { Ok((signal::kill(pid, None) == Err(Errno::ESRCH)).then_some(())) };
    wait_until(BOUND, gone).await
}

#[tokio::test]
async fn descendants_go_with_a_process_that_has_a_group_of_its_own() -> anyhow::Result<()> {
    for politely in [true, false] {
        let (_dir, spec) = shell("trap '' TERM; sleep 600 & echo child $!; wait");
        let spec = spec.with_descendants().stop_within(Duration::from_millis(100));
        let child = spec.spawn()?;
        let descendant = wait_until(BOUND, || async {
            let line = child.log_tail();
            Ok(line.strip_prefix("child ").and_then(|pid| pid.trim().parse().ok()))
        });
        let descendant = Pid::from_raw(descendant.await?);
        if politely {
            child.terminate().await?;
        } else {
            drop(child);
        }
        let gone =
            || async { Ok((signal::kill(descendant, None) == Err(Errno::ESRCH)).then_some(())) };
        wait_until(BOUND, gone).await?;
    }
    Ok(())
}

#[tokio::test]
async fn ready_means_that_the_program_answers_with_success() -> anyhow::Result<()> {
    let (_dir, spec) = shell("exec sleep 600");
    let mut child = spec.spawn()?;
    child.wait_ready(http_server("204 No Content").await?, "/ready", BOUND).await?;

    let sick = http_server("503 Service Unavailable").await?;
    let bound = Duration::from_millis(200);
    assert!(child.wait_ready(sick, "/ready", bound).await.is_err());
    Ok(())
}

#[tokio::test]
async fn waiting_for_a_process_that_has_ended_fails_at_once_with_its_last_words()
-> anyhow::Result<()> {
    let (_dir, spec) = shell("echo no such database >&2; exit 1");
    let mut child = spec.spawn()?;
    let address = ([127, 0, 0, 1], testkit::free_port()?).into();
    let error = child.wait_ready(address, "/", Duration::from_secs(600)).await;
    let message = format!("{:#}", error.expect_err("the process has ended"));
    assert!(message.contains("no such database"), "{message}");
    assert!(message.contains("exit status: 1"), "{message}");
    Ok(())
}
