//! `ficus mismatches`: where answers of the service differ from the monolith's, grouped; and the
//! `ignore` lines for what was learned as noise.

use std::collections::{BTreeMap, BTreeSet};

use control::api::MismatchGroup;
use serde_json::json;

use crate::args::Mismatches;
use crate::exit::Failure;
use crate::online::Online;

/// Lists the groups, or proposes what to leave out of the comparison.
pub(crate) async fn mismatches(online: &Online, wanted: &Mismatches) -> anyhow::Result<()> {
    let mut groups: Vec<MismatchGroup> = online.control.get("/api/v1/mismatches").await?;
    groups.retain(|group| {
        wanted.capability.as_ref().is_none_or(|name| *name == group.capability)
            && wanted.route.as_ref().is_none_or(|route| *route == group.route)
    });
    if wanted.propose {
        let lines = proposals(&groups);
        online.out.object(&json!({ "proposals": lines }))?;
        if lines.is_empty() {
            return online.out.line("no noise was learned");
        }
        return lines.iter().try_for_each(|line| online.out.line(line));
    }
    online.out.object(&json!({ "groups": groups }))?;
    let real: u64 = groups.iter().filter(|group| !group.noisy).map(|group| group.raw).sum();
    for line in lines(&groups) {
        online.out.line(&line)?;
    }
    if real > 0 {
        return Err(Failure::Different(format!("{real} differences")).into());
    }
    online.out.line("no difference that is not noise")
}

/// The groups under their routes.
fn lines(groups: &[MismatchGroup]) -> Vec<String> {
    let mut of_route: BTreeMap<(&str, &str), Vec<&MismatchGroup>> = BTreeMap::new();
    for group in groups {
        of_route.entry((&group.capability, &group.route)).or_default().push(group);
    }
    let mut lines = Vec::new();
    for ((capability, route), groups) in of_route {
        lines.push(format!("{capability}  {route}"));
        for group in groups {
            let path = if group.path.is_empty() { "the body" } else { &group.path };
            let noise = if group.noisy { "  noise" } else { "" };
            lines.push(format!(
                "  {path}  {}  {} differ, {} from itself in {} comparisons{noise}",
                group.kind, group.raw, group.noise, group.rounds
            ));
        }
    }
    lines
}

/// What to add to routes.toml, one line for each route with learned noise. Only places within a JSON
/// body can be left out.
fn proposals(groups: &[MismatchGroup]) -> Vec<String> {
    let mut of_route: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for group in groups.iter().filter(|group| group.noisy && group.path.starts_with('/')) {
        of_route.entry((&group.capability, &group.route)).or_default().insert(&group.path);
    }
    let line = |((capability, route), paths): ((&str, &str), BTreeSet<&str>)| {
        let paths: Vec<String> = paths.into_iter().map(|path| format!("{path:?}")).collect();
        format!("# {capability}: {route}\nshadow = {{ ignore = [{}] }}", paths.join(", "))
    };
    of_route.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(path: &str, noisy: bool) -> MismatchGroup {
        MismatchGroup {
            capability: "tickets".to_owned(),
            route: "GET /t".to_owned(),
            path: path.to_owned(),
            kind: "value".to_owned(),
            noisy,
            ..MismatchGroup::default()
        }
    }

    #[test]
    fn only_noise_within_a_body_is_proposed_as_a_key_of_the_route() {
        let groups =
            [group("/b", true), group("/a/*/at", true), group("/c", false), group("status", true)];
        let lines = proposals(&groups);
        assert_eq!(lines, ["# tickets: GET /t\nshadow = { ignore = [\"/a/*/at\", \"/b\"] }"]);
    }

    #[test]
    fn groups_stand_under_their_route() {
        let lines = lines(&[group("/b", true), group("", false)]);
        assert_eq!(lines.len(), 3);
        assert!(lines[1].ends_with("noise") && lines[2].contains("the body"), "{lines:?}");
    }
}
