//! `/networks` and `/volumes`: what is there, so that clients do not fall over. Changing them comes later.

use http::StatusCode;
use lighter_engine_api::VolumeListResponse;

use crate::answer::{Failure, Result, json};
use crate::request::Call;

pub(crate) fn list(call: Call) -> Result {
    let filters = call.query.filters()?;
    let mut networks = call.engine.networks();
    networks.retain(|network| {
        filters.any("name", |name| network.name.contains(name))
            && filters.any("id", |id| network.id.starts_with(id))
            && filters.exact("driver", &network.driver)
            && filters.exact("scope", &network.scope)
            && filters.labels(&network.labels)
    });
    for network in &mut networks {
        // A list does not say who is on them.
        network.containers.clear();
    }
    Ok(json(&networks))
}

pub(crate) fn inspect(call: Call, name: &str) -> Result {
    let found = call
        .engine
        .networks()
        .into_iter()
        .find(|network| network.name == name || network.id.starts_with(name));
    match found {
        Some(network) => Ok(json(&network)),
        None => Err(Failure::new(
            StatusCode::NOT_FOUND,
            format!("network {name} not found"),
        )),
    }
}

pub(crate) fn volumes(_call: Call) -> Result {
    Ok(json(&VolumeListResponse::default()))
}
