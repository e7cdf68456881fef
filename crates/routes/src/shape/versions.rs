//! `[api_versions]`, and the version of a route.

use super::{Key, Kind, Shape, key::optional};

/// `[api_versions]` of the file.
pub(crate) const fn of_file() -> Key {
    optional(
        "api_versions",
        Kind::Table(&API_VERSIONS),
        "How requests say which version of an API they ask for; routes with `version` need it. A version in the \
         path needs nothing but a route for that path.",
    )
    .live("{ header = \"accept-version\", default = \"1\" }")
}

/// `version = "2"` of a route.
pub(crate) const fn of_route() -> Key {
    optional(
        "version",
        Kind::Version,
        "Only requests that ask for this version, see `api_versions`; every version when not given. A more \
         specific path wins, then a route with the version, then an exact method.",
    )
    .live("\"2\"")
}

static API_VERSIONS: Shape = Shape {
    doc: "How requests say which version of an API they ask for.",
    keys: &[
        optional(
            "header",
            Kind::Text,
            "Header field with the version. A request that has it twice, or with a text that is no version \
             (letters, digits, `.`, `-`, `_`), is answered 400.",
        )
        .live("\"accept-version\""),
        optional(
            "media_type",
            Kind::Text,
            "Media type in `Accept` with `{version}` in it, for requests without the header field.",
        )
        .live("\"application/vnd.shop.v{version}+json\""),
        optional("default", Kind::Version, "Version of requests that ask for none.").live("\"1\""),
    ],
};
