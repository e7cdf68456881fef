//! `[[capabilities.NAME.routes]]`

use super::{
    Kind, Shape,
    key::{default, optional, required},
    policies, versions,
};

pub(super) static ROUTE: Shape = Shape {
    doc: "Requests that belong to a capability.",
    keys: &[
        required(
            "match",
            Kind::Match,
            "Method (or `*`) and path; `{id}` matches one segment, `{*rest}` all that follow. The most specific wins.",
        ).live("\"GET /api/v1/tickets/{id}\""),
        optional(
            "effect",
            Kind::Effect,
            "What the route does to the capability's tables. GET, HEAD and OPTIONS read, all others write.",
        ).live("\"read\""),
        optional(
            "shadow",
            Kind::Table(&SHADOW),
            "Ask the service too and compare the answers. Only for reads by GET, HEAD or OPTIONS.",
        ).live("{ sample = 0.2, ignore = [\"/data/change_time\"] }"),
        optional(
            "max_body",
            Kind::Size,
            "Longest body of such a request; more is answered 413. `max_body` of the proxy's limits when not given.",
        ).live("\"8MiB\""),
        policies::policy_of_route(),
        versions::of_route(),
    ],
};

static SHADOW: Shape = Shape {
    doc: "How answers are compared.",
    keys: &[
        default(
            "sample",
            Kind::Fraction,
            "1.0",
            "Share of the requests that are compared, 0 to 1.",
        )
        .live("0.2")
        .counting("share of the requests"),
        default(
            "noise",
            Kind::Fraction,
            "0.02",
            "Share of these for which the monolith is asked twice more although nothing differs: what it does not repeat itself is learned as noise.",
        )
        .live("0.05")
        .counting("share of the comparisons"),
        default(
            "ignore",
            Kind::List { of: &Kind::Pointer, min: 0 },
            "[]",
            "JSON pointers whose values are not compared; `*` stands for every element or member, `**` for any number of them on the way. A page has the pointers that `ficus mismatches` shows.",
        )
        .live("[\"/data/*/change_time\"]"),
        default(
            "unordered",
            Kind::List { of: &Kind::Unordered, min: 0 },
            "[]",
            "Arrays whose order does not matter, and the pointer of the key within an element.",
        )
        .live("[\"/data by /id\"]"),
        default("max_body", Kind::Size, "\"1MiB\"", "Longer answers are not compared.")
            .live("\"256KiB\""),
    ],
};
