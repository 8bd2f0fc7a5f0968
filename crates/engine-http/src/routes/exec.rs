//! `/containers/{id}/exec` and `/exec`.

use http::StatusCode;
use lighter_engine::containers::ExecStartOptions;
use lighter_engine_api::{ExecCreateRequest, ExecStartRequest, IdResponse};

use super::containers::size;
use crate::answer::{Answer, Failure, Result, json, json_with, status};
use crate::hijack::Hijack;
use crate::request::Call;

pub(crate) async fn create(mut call: Call, id: &str) -> Result {
    let request: ExecCreateRequest = call.json(false).await?;
    if request.cmd.as_ref().is_none_or(Vec::is_empty) {
        return Err(Failure::invalid("No exec command specified"));
    }
    let id = call.engine.exec_create(id, request).await?;
    Ok(json_with(StatusCode::CREATED, &IdResponse { id }).into())
}

pub(crate) async fn start(mut call: Call, id: &str) -> Result {
    let request: ExecStartRequest = call.json(false).await?;
    // An exec that is not there is a failure of the request; one that does not start says so on its stream.
    let before = call.engine.exec_inspect(id)?;
    let options = ExecStartOptions {
        detach: request.detach,
        tty: request.tty,
        console_size: request.console_size,
    };
    match call.engine.exec_start(id, options).await {
        Ok(Some(attached)) => Ok(Answer::Hijack(Hijack::new(attached))),
        Ok(None) => Ok(status(StatusCode::OK).into()),
        Err(error) if request.detach => Err(error.into()),
        // It was not even tried.
        Err(error)
            if error.kind == lighter_engine::Kind::Conflict
                && (before.running
                    || before.exit_code.is_some()
                    || call.engine.exec_inspect(id)?.exit_code.is_none()) =>
        {
            Err(error.into())
        }
        Err(error) => Ok(Answer::Hijack(Hijack::refused(&error.text(), request.tty))),
    }
}

pub(crate) async fn inspect(call: Call, id: &str) -> Result {
    Ok(json(&call.engine.exec_inspect(id)?))
}

pub(crate) async fn resize(call: Call, id: &str) -> Result {
    let (height, width) = size(&call.query)?;
    call.engine.exec_resize(id, height, width).await?;
    Ok(status(StatusCode::OK).into())
}
