//! `/_ping`, `/info`, `/version`, `/events`, `/system/df`, `/auth`.

use futures_util::StreamExt as _;
use http::StatusCode;
use http::header::{CACHE_CONTROL, HeaderName, HeaderValue, PRAGMA};
use lighter_engine::events::EventsOptions;

use crate::answer::{Answer, Failure, JSON, Result, json, json_line, streamed, with_type};
use crate::body::Body;
use crate::request::Call;

pub(crate) fn ping() -> Answer {
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    let mut response = with_type(StatusCode::OK, text, Body::Whole(Some("OK".into())));
    let headers = response.headers_mut();
    // 2 is BuildKit, which is what clients then use.
    headers.insert(
        HeaderName::from_static("builder-version"),
        HeaderValue::from_static("2"),
    );
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-store, must-revalidate"),
    );
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(
        HeaderName::from_static("swarm"),
        HeaderValue::from_static("inactive"),
    );
    response.into()
}

pub(crate) async fn info(call: Call) -> Result {
    Ok(json(&call.engine.info().await?))
}

pub(crate) async fn version(call: Call) -> Result {
    Ok(json(&call.engine.version().await))
}

pub(crate) fn events(call: Call) -> Result {
    let options = EventsOptions {
        since: call.query.time("since")?,
        until: call.query.time("until")?,
        filters: call.query.filters()?,
    };
    let events = call.engine.events(options)?;
    Ok(streamed(JSON, events.map(|event| json_line(&*event))))
}

pub(crate) async fn disk_usage(call: Call) -> Result {
    Ok(json(&call.engine.disk_usage().await?))
}

pub(crate) async fn auth(_call: Call) -> Result {
    Err(Failure::missing("checking credentials"))
}
