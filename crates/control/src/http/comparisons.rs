//! What was found by comparing: mismatches, as JSON and as a page, and the history of shifts.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State},
    response::Response,
};
use serde::Deserialize;

use super::handlers::{Answer, with_policy};
use crate::{
    api::{MismatchGroup, ShiftEntry},
    core::Core,
    dashboard, mismatches as found,
};

/// Which groups are wanted; all when empty.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Wanted {
    capability: Option<String>,
    route: Option<String>,
}

fn groups(core: &Core, wanted: &Wanted) -> Vec<MismatchGroup> {
    let mut groups = found::merged(core.proxies.mismatches());
    groups.retain(|group| {
        wanted.capability.as_ref().is_none_or(|name| *name == group.capability)
            && wanted.route.as_ref().is_none_or(|route| *route == group.route)
    });
    groups
}

/// Where answers differ, of all proxies together, most often first.
pub(super) async fn mismatches(
    State(core): State<Arc<Core>>,
    Query(wanted): Query<Wanted>,
) -> Json<Vec<MismatchGroup>> {
    Json(groups(&core, &wanted))
}

/// The same for people.
pub(super) async fn page(State(core): State<Arc<Core>>, Query(wanted): Query<Wanted>) -> Response {
    let groups = groups(&core, &wanted);
    with_policy(dashboard::mismatches_page(&groups, crate::clock::unix_ms()).into_string())
}

/// Shifts of a capability by hand and by themselves, newest first.
pub(super) async fn shifts(
    State(core): State<Arc<Core>>,
    Path(name): Path<String>,
) -> Answer<Json<Vec<ShiftEntry>>> {
    Ok(Json(core.store.shifts(&name).await?))
}
