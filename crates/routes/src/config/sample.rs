//! Small configurations for the tests of this crate.

use crate::{Config, Problem};

/// The text of a complete file with these routes in one capability: `GET /a` or `GET /a version 2`.
pub(crate) fn text(routes: &[&str]) -> String {
    let mut text = "version = 1\n\
        [upstreams.monolith]\npeers = [\"127.0.0.1:3000\"]\n\
        [upstreams.service]\npeers = [\"127.0.0.1:7101\"]\n\
        [capabilities.tickets]\nupstream = \"service\"\n\
        [[capabilities.tickets.tables]]\nsource = \"public.ticket\"\ntarget = \"public.tickets\"\n"
        .to_owned();
    let mut has_versions = false;
    for route in routes {
        let (matched, version) = match route.split_once(" version ") {
            Some((matched, version)) => (matched, format!("version = \"{version}\"\n")),
            None => (*route, String::new()),
        };
        has_versions |= !version.is_empty();
        text.push_str(&format!(
            "[[capabilities.tickets.routes]]\nmatch = \"{matched}\"\n{version}"
        ));
    }
    if has_versions {
        text.push_str("[api_versions]\nheader = \"accept-version\"\n");
    }
    text
}

/// A configuration with these routes in one capability.
pub(crate) fn with_routes(routes: &[&str]) -> Config {
    parse(&text(routes)).expect("the sample is valid")
}

/// Parses without environment and files.
pub(crate) fn parse(text: &str) -> Result<Config, Vec<Problem>> {
    Config::parse("routes.toml", text, &|_| None, &|_| Err(std::io::ErrorKind::NotFound.into()))
}
