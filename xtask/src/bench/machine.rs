//! What a measurement was made on, and what processes cost: read from `/proc`.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use serde_json::{Value, json};

use crate::operator::talk;

/// Clock ticks of a second in `/proc/PID/stat`: part of Linux's interface to programs, whatever the
/// kernel was built with.
const TICKS_PER_SECOND: f64 = 100.0;

/// Load for each core above which other work is likely to be measured, too.
const QUIET_LOAD: f64 = 0.25;

/// Where system programs lie that a user's `PATH` may leave out.
const SYSTEM_DIRECTORIES: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// The machine as it is before the run; says when it is busy.
pub(super) fn look() -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let load = read("/proc/loadavg");
    let load: f64 = load.split(' ').next().and_then(|one| one.parse().ok()).unwrap_or(0.0);
    if load > QUIET_LOAD * cores() as f64 {
        talk(&format!("bench: the machine is not quiet: load {load}"));
    }
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find(|line| line.starts_with("model name")).unwrap_or_default();
    json!({
        "cpu": model.rsplit(": ").next(), "cores": cores(), "load_before": load,
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "profile": if cfg!(debug_assertions) { "debug" } else { "release" },
    })
}

pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A program of that name on `PATH` or where system programs lie.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(SYSTEM_DIRECTORIES.into_iter().map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// The first line a program prints about its version, whatever its exit code.
pub(super) fn version(program: &Path, argument: &str) -> String {
    let Ok(output) = Command::new(program).arg(argument).output() else { return String::new() };
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned()
}

/// CPU seconds (user and system) of a process, of everything below it, and of what it has waited for.
pub(super) fn cpu_seconds(pid: i32) -> anyhow::Result<f64> {
    let mut processes = HashMap::new();
    for entry in fs::read_dir("/proc").context("list /proc")?.flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        // one that has ended since is counted by its parent
        let stat = fs::read_to_string(entry.path().join("stat")).ok();
        processes.extend(pid.zip(stat.as_deref().and_then(parse_stat)));
    }
    anyhow::ensure!(processes.contains_key(&pid), "process {pid} has ended");
    let mut ticks = 0;
    let mut open = vec![pid];
    while let Some(next) = open.pop() {
        ticks += processes.get(&next).map_or(0, |(_, ticks)| *ticks);
        open.extend(
            processes.iter().filter(|(_, (parent, _))| *parent == next).map(|(pid, _)| pid),
        );
    }
    Ok(f64::from(ticks) / TICKS_PER_SECOND)
}

/// CPU seconds of this process's children that have ended and were waited for, and of theirs.
pub(super) fn ended_children_cpu_seconds() -> anyhow::Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat").context("read /proc/self/stat")?;
    let times = stat.rsplit_once(')').map(|(_, fields)| fields.split_whitespace().skip(13).take(2));
    let ticks: u32 =
        times.into_iter().flatten().filter_map(|field| field.parse::<u32>().ok()).sum();
    Ok(f64::from(ticks) / TICKS_PER_SECOND)
}

/// CPU seconds that all processors together were not idle, since the machine started.
pub(super) fn busy_seconds() -> anyhow::Result<f64> {
    let stat = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    parse_busy(&stat).context("/proc/stat has no line for all processors")
}

/// user, nice, system, irq, softirq and steal of the first line: not idle and iowait, and not the time of
/// guests, which is a part of user.
fn parse_busy(stat: &str) -> Option<f64> {
    let times = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().take(8);
    let times: Vec<u64> = times.map(str::parse).collect::<Result<_, _>>().ok()?;
    let is_busy = |(place, ticks): (usize, &u64)| (!matches!(place, 3 | 4)).then_some(*ticks);
    let ticks: u64 = times.iter().enumerate().filter_map(is_busy).sum();
    Some(ticks as f64 / TICKS_PER_SECOND)
}

/// The parent, and utime + stime + cutime + cstime in ticks.
fn parse_stat(stat: &str) -> Option<(i32, u32)> {
    // the name in parentheses may hold anything
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let times = fields.get(11..15)?.iter().map(|field| field.parse::<u32>());
    Some((fields.get(1)?.parse().ok()?, times.sum::<Result<u32, _>>().ok()?))
}

/// The most memory a process ever held, in MB of 1 048 576 bytes.
pub(super) fn peak_rss_mb(pid: i32) -> anyhow::Result<f64> {
    Ok(memory_kb(pid, "VmHWM:")? / 1024.0)
}

/// The memory that a process holds, in kB of 1024 bytes.
pub(super) fn rss_kb(pid: i32) -> anyhow::Result<f64> {
    memory_kb(pid, "VmRSS:")
}

fn memory_kb(pid: i32, name: &str) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kb: u32 = line
        .and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .with_context(|| format!("{path} has no {name}"))?;
    Ok(f64::from(kb))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_a_process_with_a_strange_name_are_read() {
        let stat = "12 (a) b (c) S 7 12 12 0 -1 4194560 1 2 3 4 100 20 3 4 20 0 1 0 9 8 7";
        assert_eq!(parse_stat(stat), Some((7, 127)));
        assert_eq!(parse_stat("12 (a) S 7"), None);
    }

    #[test]
    fn idle_time_and_waiting_for_a_disk_are_not_busy() {
        let stat = "cpu  100 10 20 90000 800 3 4 5 6 7\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(parse_busy(stat), Some(1.42));
        assert_eq!(parse_busy("intr 1"), None);
    }

    #[test]
    fn a_child_that_works_is_counted_while_it_runs() {
        let mut child = Command::new("/bin/sh")
            .args(["-c", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; read line"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("a shell");
        let pid = i32::try_from(child.id()).expect("process ids are small");
        while cpu_seconds(pid).expect("the child waits for its input") < 0.02 {
            std::thread::yield_now();
        }
        let me = i32::try_from(std::process::id()).expect("process ids are small");
        assert!(cpu_seconds(me).expect("this process runs") >= 0.02);
        assert!(peak_rss_mb(pid).expect("the child waits for its input") > 0.1);
        drop(child.stdin.take());
        child.wait().expect("the child ends with its input");
        assert!(ended_children_cpu_seconds().expect("this process runs") >= 0.02);
    }
}
