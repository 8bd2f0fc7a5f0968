//! Which path leads where.

use http::request::Parts;
use http::{Method, StatusCode};
use lighter_engine::Engine;

use crate::answer::{Failure, Result};
use crate::request::{Call, Incoming, Query, Version, decoded};
use crate::routes::{containers, exec, images, logs, networks, system};

/// An outcome and the version that was asked for.
pub(crate) struct Routed {
    pub(crate) version: Version,
    pub(crate) outcome: Result,
}

/// Finds the route of a request and takes it.
pub(crate) async fn route(engine: Engine, head: Parts, body: Incoming) -> Routed {
    let path = head.uri.path();
    let segments: Vec<_> = path
        .split('/')
        .skip(1)
        .map(|segment| decoded(segment, false))
        .collect();
    let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
    let (version, segments) = match split_version(&segments) {
        Ok(split) => split,
        Err(failure) => {
            return Routed {
                version: Version::CURRENT,
                outcome: Err(failure),
            };
        }
    };
    let call = Call {
        engine,
        version,
        method: head.method,
        query: Query::parse(head.uri.query().unwrap_or_default()),
        headers: head.headers,
        body,
    };
    Routed {
        version,
        outcome: Box::pin(dispatch(call, segments)).await,
    }
}

/// Takes `v1.51` off the front.
fn split_version<'a, 'b>(segments: &'a [&'b str]) -> Result<(Version, &'a [&'b str])> {
    let versioned = segments.split_first().and_then(|(first, rest)| {
        let digits = first.strip_prefix('v')?;
        let numeric = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        (numeric && !digits.is_empty()).then_some((digits, rest))
    });
    let Some((text, rest)) = versioned else {
        return Ok((Version::CURRENT, segments));
    };
    // Docker takes any digits and dots for a version.
    let version = Version::parse(text).unwrap_or(Version(0, 0));
    let (Version(major, minor), Version(oldest_major, oldest_minor)) = (Version::CURRENT, Version::OLDEST);
    if version > Version::CURRENT {
        return Err(Failure::invalid(format!(
            "client version {text} is too new. Maximum supported API version is {major}.{minor}"
        )));
    }
    if version < Version::OLDEST {
        return Err(Failure::invalid(format!(
            "client version {text} is too old. Minimum supported API version is {oldest_major}.{oldest_minor}, please upgrade your client to a newer version"
        )));
    }
    Ok((version, rest))
}

async fn dispatch(call: Call, segments: &[&str]) -> Result {
    let method = call.method.clone();
    let (get, post, delete) = (
        method == Method::GET,
        method == Method::POST,
        method == Method::DELETE,
    );
    match segments {
        ["_ping"] if get || method == Method::HEAD => Ok(system::ping()),
        ["containers", rest @ ..] => match rest {
            ["json"] if get => containers::list(call),
            ["create"] if post => containers::create(call).await,
            ["prune"] if post => Err(Failure::missing("pruning containers")),
            [id, "json"] if get => containers::inspect(call, id).await,
            [id, "start"] if post => containers::start(call, id).await,
            [id, "stop"] if post => containers::stop(call, id).await,
            [id, "restart"] if post => containers::restart(call, id).await,
            [id, "kill"] if post => containers::kill(call, id).await,
            [id, "pause"] if post => containers::pause(call, id).await,
            [id, "unpause"] if post => containers::unpause(call, id).await,
            [id, "rename"] if post => containers::rename(call, id).await,
            [id, "wait"] if post => containers::wait(call, id).await,
            [id, "attach"] if post => containers::attach(call, id).await,
            [id, "logs"] if get => logs::answer(call, id),
            [id, "resize"] if post => containers::resize(call, id).await,
            [id, "top"] if get => containers::top(call, id).await,
            [id, "exec"] if post => exec::create(call, id).await,
            [id, "update"] if post => missing(&call, id, "updating a container"),
            [id, "stats"] if get => missing(&call, id, "container statistics"),
            [id, "changes"] if get => missing(&call, id, "listing changes of a container"),
            [id, "export"] if get => missing(&call, id, "exporting a container"),
            [id, "archive"] => missing(&call, id, "copying from and to a container"),
            [id] if delete => containers::remove(call, id).await,
            _ => Err(Failure::page_not_found()),
        },
        ["exec", id, "start"] if post => exec::start(call, id).await,
        ["exec", id, "resize"] if post => exec::resize(call, id).await,
        ["exec", id, "json"] if get => exec::inspect(call, id).await,
        ["images", rest @ ..] => image(call, rest).await,
        ["info"] if get => system::info(call).await,
        ["version"] if get => system::version(call).await,
        ["events"] if get => system::events(call),
        ["system", "df"] if get => system::disk_usage(call).await,
        ["auth"] if post => system::auth(call).await,
        ["networks"] if get => networks::list(call),
        ["networks", name] if get => networks::inspect(call, name),
        ["networks", ..] => Err(Failure::missing("changing networks")),
        ["volumes"] if get => networks::volumes(call),
        ["volumes", name] if get => Err(Failure::new(
            StatusCode::NOT_FOUND,
            format!("get {name}: no such volume"),
        )),
        ["volumes", ..] => Err(Failure::missing("changing volumes")),
        ["build", ..] | ["session"] | ["grpc"] => Err(Failure::missing("building images")),
        ["commit"] if post => {
            let id = call.query.text("container").to_owned();
            missing(&call, &id, "making an image of a container")
        }
        [
            "swarm" | "nodes" | "services" | "tasks" | "secrets" | "configs",
            ..,
        ] => Err(Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.",
        )),
        ["plugins"] if get => Ok(crate::answer::json(&[(); 0])),
        _ if method == Method::OPTIONS => Ok(crate::answer::status(StatusCode::OK).into()),
        _ => Err(Failure::page_not_found()),
    }
}

/// What we do not do yet with a container; that there is none is said first.
fn missing(call: &Call, id: &str, what: &str) -> Result {
    call.engine.inspect(id, false)?;
    Err(Failure::missing(what))
}

/// Names of images have slashes: the last part says what is wanted.
async fn image(call: Call, rest: &[&str]) -> Result {
    let method = call.method.clone();
    let (get, post, delete) = (
        method == Method::GET,
        method == Method::POST,
        method == Method::DELETE,
    );
    match rest {
        ["json"] if get => images::list(call).await,
        ["create"] if post => images::create(call).await,
        ["search"] if get => Err(Failure::missing("searching images")),
        ["get"] if get => Err(Failure::missing("saving images")),
        ["load"] if post => Err(Failure::missing("loading images")),
        ["prune"] if post => Err(Failure::missing("pruning images")),
        [name @ .., "json"] if get => images::inspect(call, &name.join("/")).await,
        [name @ .., "history"] if get => images::history(call, &name.join("/")).await,
        [name @ .., "tag"] if post => images::tag(call, &name.join("/")).await,
        [_, .., "push"] if post => Err(Failure::missing("pushing images")),
        [_, .., "get"] if get => Err(Failure::missing("saving images")),
        [_, ..] if delete => images::remove(call, &rest.join("/")).await,
        _ => Err(Failure::page_not_found()),
    }
}
