//! The page of mismatches: by route, then by path and kind.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::words::{Tone, moment, pill};
use crate::api::MismatchGroup;

/// All groups, each route in a card of its own.
pub(super) fn routes(groups: &[MismatchGroup], now: u64) -> Markup {
    let mut of_route: BTreeMap<(&str, &str), Vec<&MismatchGroup>> = BTreeMap::new();
    for group in groups {
        of_route.entry((&group.capability, &group.route)).or_default().push(group);
    }
    html! {
        header #masthead {
            h1 { "Mismatches" }
            p { a href="/" { "Back to the capabilities" } }
        }
        @if groups.is_empty() {
            section #nothing .card {
                h2 { "No difference was found" }
                p { "Routes with " code { "shadow" } " are compared while their capability is shadowed or read." }
            }
        }
        @for ((capability, route), groups) in of_route {
            section .card {
                h2 { code { (route) } " " small { (capability) } }
                table.rows {
                    thead {
                        tr {
                            th scope="col" { "where" } th scope="col" { "kind" }
                            th scope="col" { "differs" } th scope="col" { "from itself" }
                            th scope="col" { "last" } th scope="col" { "samples (hashes)" }
                        }
                    }
                    tbody { @for group in groups { (line(group, now)) } }
                }
            }
        }
    }
}

fn line(group: &MismatchGroup, now: u64) -> Markup {
    let place = if group.path.is_empty() { "the body" } else { &group.path };
    html! {
        tr {
            th scope="row" {
                code { (place) }
                @if group.noisy { " " (pill(Tone::Idle, "noise")) }
            }
            td data-name="kind" { (group.kind) }
            td data-name="differs" { (group.raw) }
            td data-name="from itself" { (group.noise) " of " (group.rounds) }
            td data-name="last" { (moment(group.last_unix_ms, now)) }
            td data-name="samples" {
                @for sample in &group.samples {
                    div {
                        code { (sample.pointer) } " "
                        span.soft { (hash(&sample.expected)) " → " (hash(&sample.actual)) }
                    }
                }
            }
        }
    }
}

fn hash(hash: &str) -> &str {
    if hash.is_empty() { "nothing" } else { hash.get(..8).unwrap_or(hash) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::MismatchSample;

    #[test]
    fn groups_stand_under_their_route_and_text_of_a_service_is_escaped() {
        let group = |route: &str, path: &str, noisy| MismatchGroup {
            capability: "tickets".to_owned(),
            route: route.to_owned(),
            path: path.to_owned(),
            kind: "value".to_owned(),
            raw: 3,
            noisy,
            samples: vec![MismatchSample {
                pointer: "/<script>".to_owned(),
                expected: "0123456789abcdef".to_owned(),
                ..MismatchSample::default()
            }],
            ..MismatchGroup::default()
        };
        let groups = [
            group("GET /a", "/x", false),
            group("GET /b", "/y", true),
            group("GET /a", "/z", false),
        ];
        let page = routes(&groups, 0).into_string();
        assert_eq!(page.matches("<h2>").count(), 2, "{page}");
        assert!(page.contains("01234567 → nothing") && !page.contains("0123456789"), "{page}");
        assert!(!page.contains("<script>") && page.contains("&lt;script&gt;"), "{page}");
        assert_eq!(page.matches(" noise</span>").count(), 1, "{page}");
        assert!(routes(&[], 0).into_string().contains("No difference"));
    }
}
