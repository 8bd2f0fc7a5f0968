//! `/containers`.

use std::num::IntErrorKind;

use futures_util::{FutureExt as _, stream};
use http::StatusCode;
use lighter_engine::containers::{AttachOptions, ListOptions, RemoveOptions, StopOptions, WaitCondition};
use lighter_engine_api::{ContainerConfig, ContainerCreateRequest};

use crate::answer::{
    Answer, Failure, JSON, Result, json, json_line, json_with, no_content, status, streamed,
};
use crate::hijack::Hijack;
use crate::request::{Call, Query};

pub(crate) fn list(call: Call) -> Result {
    let query = &call.query;
    let options = ListOptions {
        all: query.flag("all"),
        limit: query
            .number("limit")?
            .and_then(|limit| usize::try_from(limit).ok())
            .filter(|limit| *limit > 0),
        size: query.flag("size"),
        filters: query.filters()?,
    };
    Ok(json(&call.engine.list(options)?))
}

pub(crate) async fn create(mut call: Call) -> Result {
    let request: ContainerCreateRequest = call.json(true).await?;
    if request.config == ContainerConfig::default() {
        return Err(Failure::invalid(
            "config cannot be empty in order to create a container",
        ));
    }
    let (name, platform) = (call.query.get("name"), call.query.get("platform"));
    let created = call.engine.create(name, platform, request).await?;
    Ok(json_with(StatusCode::CREATED, &created).into())
}

pub(crate) async fn inspect(call: Call, id: &str) -> Result {
    Ok(json(&call.engine.inspect(id, call.query.flag("size"))?))
}

pub(crate) async fn start(call: Call, id: &str) -> Result {
    call.engine.start_container(id).await?;
    Ok(no_content())
}

fn stop_options(query: &Query) -> Result<StopOptions> {
    Ok(StopOptions {
        signal: query.get("signal").map(str::to_owned),
        timeout: query.number("t")?,
    })
}

pub(crate) async fn stop(call: Call, id: &str) -> Result {
    call.engine.stop(id, stop_options(&call.query)?).await?;
    Ok(no_content())
}

pub(crate) async fn restart(call: Call, id: &str) -> Result {
    call.engine.restart(id, stop_options(&call.query)?).await?;
    Ok(no_content())
}

pub(crate) async fn kill(call: Call, id: &str) -> Result {
    call.engine.kill(id, call.query.get("signal")).await?;
    Ok(no_content())
}

pub(crate) async fn pause(call: Call, id: &str) -> Result {
    call.engine.pause(id).await?;
    Ok(no_content())
}

pub(crate) async fn unpause(call: Call, id: &str) -> Result {
    call.engine.unpause(id).await?;
    Ok(no_content())
}

pub(crate) async fn rename(call: Call, id: &str) -> Result {
    call.engine.rename(id, call.query.text("name")).await?;
    Ok(no_content())
}

pub(crate) async fn remove(call: Call, id: &str) -> Result {
    let query = &call.query;
    let options = RemoveOptions {
        force: query.flag("force"),
        volumes: query.flag("v"),
        link: query.flag("link"),
    };
    call.engine.remove(id, options).await?;
    Ok(no_content())
}

pub(crate) async fn wait(call: Call, id: &str) -> Result {
    let condition = match call.query.text("condition") {
        "" | "not-running" => WaitCondition::NotRunning,
        "next-exit" => WaitCondition::NextExit,
        "removed" => WaitCondition::Removed,
        other => return Err(Failure::invalid(format!("invalid condition: {other:?}"))),
    };
    // From here on an exit is not missed, and the head may go out: clients start the container when they see it.
    let waiting = call.engine.wait(id, condition)?;
    let line = waiting.map(|ended| json_line(&ended));
    Ok(streamed(JSON, stream::once(line)))
}

pub(crate) async fn attach(call: Call, id: &str) -> Result {
    let query = &call.query;
    let options = AttachOptions {
        stdin: query.flag("stdin"),
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        stream: query.flag("stream"),
        logs: query.flag("logs"),
        detach_keys: query.get("detachKeys").map(str::to_owned),
    };
    let attached = call.engine.attach(id, options).await?;
    Ok(Answer::Hijack(Hijack::new(attached)))
}

pub(crate) async fn resize(call: Call, id: &str) -> Result {
    let (height, width) = size(&call.query)?;
    call.engine.resize(id, height, width).await?;
    Ok(status(StatusCode::OK).into())
}

/// `h` and `w` of a terminal.
pub(crate) fn size(query: &Query) -> Result<(u16, u16)> {
    let read = |name: &str, what: &str| {
        let text = query.text(name);
        text.parse::<u16>().map_err(|error| {
            let why = match error.kind() {
                IntErrorKind::PosOverflow => "value out of range",
                _ => "invalid syntax",
            };
            Failure::invalid(format!("invalid resize {what} {text:?}: {why}"))
        })
    };
    Ok((read("h", "height")?, read("w", "width")?))
}

pub(crate) async fn top(call: Call, id: &str) -> Result {
    let processes = call.engine.top(id, call.query.text("ps_args")).await?;
    Ok(json(&processes))
}
