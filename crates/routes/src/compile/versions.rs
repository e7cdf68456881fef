//! Reads which version of an API requests ask for, and which of them a route is for.

use crate::{ApiVersions, compile::policies::GatewayDraft, field::Field, reader::Section, scalar};

/// Stands in a media type for the version.
const PLACE: &str = "{version}";

/// `[api_versions]`
pub(super) fn table(section: &Section<'_>) -> Option<ApiVersions> {
    let header = section.read_optional("header", |field| {
        field.parsed_or(|text| match scalar::header_field(text, "") {
            Ok(()) => Ok(text.to_ascii_lowercase()),
            Err(why) => Err(why.to_owned()),
        })
    });
    let media_type = section.read_optional("media_type", |field| {
        field.parsed_or(|text| match text.split_once(PLACE) {
            Some((before, after)) if before.contains('/') && !after.contains(PLACE) => {
                Ok((before.to_owned(), after.to_owned()))
            }
            Some(_) | None => Err(format!("is not a media type with {PLACE} in its second part")),
        })
    });
    let default = section.read_optional("default", version);
    let (header, media_type) = (header?, media_type?);
    if header.is_none() && media_type.is_none() {
        let remedy = "write header = \"accept-version\"";
        section.reader.report(&section.at, "has neither header nor media_type", remedy);
    }
    Some(ApiVersions { header, media_type, default: default? })
}

/// `version` of a route. `None` after a problem.
pub(super) fn of_route(section: &Section<'_>, draft: &GatewayDraft) -> Option<Option<String>> {
    let version = section.read_optional("version", version)?;
    if version.is_some() && !draft.has_versions {
        let remedy = "write [api_versions] with header = \"accept-version\"";
        let message = "the file does not say how requests ask for a version";
        section.reader.report(&section.at("version"), message, remedy);
    }
    Some(version)
}

fn version(field: &Field<'_>) -> Option<String> {
    field.parsed(|text| scalar::version(text).then(|| text.to_owned()))
}
