//! Reads what an upstream says about choosing peers, leaving them out and asking again.

use super::duration;
use crate::{
    Balance, Breaker, Ejection, Resilience, Retry, UpstreamLimits, field::Field, reader::Section,
    scalar,
};

/// `None` when a part has a problem.
pub(super) fn resilience(section: &Section<'_>) -> Option<Resilience> {
    let balance = section.read("balance", |field| field.parsed(Balance::parse));
    let slow_start = duration(section, "slow_start");
    let ejection = section.table("ejection").and_then(|section| ejection(&section));
    let breaker = match section.optional_table("breaker") {
        None => None,
        Some(None) => Some(None),
        Some(Some(section)) => breaker(&section).map(Some),
    };
    let retry = section.table("retry").and_then(|section| retry(&section));
    let limits = match section.optional_table("limits") {
        None => None,
        Some(None) => Some(None),
        Some(Some(section)) => limits(&section).map(Some),
    };
    Some(Resilience {
        balance: balance?,
        slow_start: slow_start?,
        ejection: ejection?,
        breaker: breaker?,
        retry: retry?,
        limits: limits?,
    })
}

fn ejection(section: &Section<'_>) -> Option<Ejection> {
    let failures = section.read("failures", Field::count);
    let error_share = section.read("error_share", |field| field.parsed(scalar::percent));
    let min_requests = section.read("min_requests", Field::count);
    let window = duration(section, "window");
    let time = duration(section, "time");
    let max_time = duration(section, "max_time");
    let max_share = section.read("max_share", |field| field.parsed(scalar::percent));
    let (time, max_time) = (time?, max_time?);
    if max_time < time {
        let message = "the longest time out is shorter than the first one, time";
        section.reader.report(&section.at("max_time"), message, "write at least time");
    }
    Some(Ejection {
        failures: failures?,
        error_share: error_share?,
        min_requests: min_requests?,
        window: window?,
        time,
        max_time,
        max_share: max_share?,
    })
}

fn breaker(section: &Section<'_>) -> Option<Breaker> {
    let failures = section.read("failures", Field::count);
    let open = duration(section, "open");
    let probes = section.read("probes", Field::count);
    Some(Breaker { failures: failures?, open: open?, probes: probes? })
}

fn retry(section: &Section<'_>) -> Option<Retry> {
    let attempts = section.read("attempts", Field::count);
    let budget = section.read("budget", |field| field.parsed(scalar::percent));
    let backoff = duration(section, "backoff");
    Some(Retry { attempts: attempts?, budget: budget?, backoff: backoff? })
}

fn limits(section: &Section<'_>) -> Option<UpstreamLimits> {
    let requests = section.read("requests", Field::count);
    let pending = section.read("pending", Field::count);
    let wait = duration(section, "wait");
    Some(UpstreamLimits { requests: requests?, pending: pending?, wait: wait? })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Config, config::sample};

    fn with(keys: &str) -> Result<Config, Vec<crate::Problem>> {
        let text = sample::text(&["GET /a"]);
        let peers = "peers = [\"127.0.0.1:7101\"]\n";
        sample::parse(&text.replacen(peers, &format!("{peers}{keys}\n"), 1))
    }

    fn problem(keys: &str) -> String {
        let problems = with(keys).expect_err("it is refused");
        problems.first().expect("a problem").to_string()
    }

    #[test]
    fn a_file_that_says_nothing_means_the_defaults() {
        let config = with("").expect("valid");
        assert_eq!(config.upstreams["service"].resilience, Resilience::default());
        let config = with("breaker = {}\nlimits = {}").expect("valid");
        let resilience = &config.upstreams["service"].resilience;
        let open = Duration::from_secs(5);
        assert_eq!(resilience.breaker, Some(Breaker { failures: 20, open, probes: 3 }));
        let wait = Duration::from_secs(1);
        assert_eq!(resilience.limits, Some(UpstreamLimits { requests: 1000, pending: 1000, wait }));
    }

    #[test]
    fn every_way_to_balance_is_read_and_written_alike() {
        for text in ["least_loaded", "subject", "header:x-user", "cookie:Session"] {
            let config = with(&format!("balance = {text:?}")).expect("valid");
            assert_eq!(config.upstreams["service"].resilience.balance.to_text(), text);
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_a_remedy() {
        let balance = problem("balance = \"jwt:sub\"");
        assert!(balance.contains("\"jwt:sub\" is not a way to choose a peer"), "{balance}");
        assert!(balance.contains("write \"least_loaded\", \"subject\""), "{balance}");
        let longest = problem("ejection = { time = \"10m\" }");
        assert!(longest.contains("shorter than the first one, time; write at least"), "{longest}");
        let attempts = problem("retry = { attempts = 6 }");
        assert!(attempts.contains("6 is out of range; write an integer from 0 to 5"), "{attempts}");
        let unknown = problem("breaker = { failure = 3 }");
        assert!(unknown.contains("did you mean failures?"), "{unknown}");
    }
}
