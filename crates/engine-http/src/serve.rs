//! Connections, requests, and the headers that every answer has.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, SERVER, UPGRADE};
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use lighter_engine::Engine;
use lighter_engine_api::API_VERSION;
use tokio::task::JoinSet;

use crate::answer::{Answer, streamed};
use crate::body::Body;
use crate::conn::Conn;
use crate::hijack::{Hijack, RAW};
use crate::listen::Listener;
use crate::request::{self, Version};
use crate::{raw, router};

/// Answers requests to `engine` on `listener` until `stop` resolves; then connections are cut.
pub async fn serve(listener: Listener, engine: Engine, stop: impl Future<Output = ()> + Send) {
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(conn) => drop(connections.spawn(connection(conn, engine.clone()))),
                Err(error) => {
                    // No descriptors, most likely: others will be closed.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = &mut stop => return,
        }
    }
}

async fn connection(conn: Conn, engine: Engine) {
    let Some(conn) = raw::without_upgrade(conn, &engine).await else {
        return;
    };
    let service = service_fn(move |request| respond(engine.clone(), request));
    let served = hyper::server::conn::http1::Builder::new()
        // As Go writes them: not every client reads them in any case.
        .title_case_headers(true)
        .serve_connection(TokioIo::new(conn), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        // Clients go when they like.
        tracing::debug!(%error, "a connection ended");
    }
}

async fn respond(engine: Engine, mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let upgrade = request
        .headers()
        .contains_key(UPGRADE)
        .then(|| hyper::upgrade::on(&mut request));
    let (head, body) = request.into_parts();
    let routed = router::route(engine, head, request::Incoming::Hyper(body)).await;
    let mut response = match routed.outcome {
        Ok(Answer::Http(response)) => response,
        Ok(Answer::Hijack(hijack)) => hijacked(hijack, upgrade, routed.version),
        Err(failure) => {
            if failure.status.is_server_error() {
                tracing::error!(message = failure.message, "a request failed");
            }
            failure.into_response()
        }
    };
    name_us(response.headers_mut());
    Ok(response)
}

/// 101, and the stream on the connection behind it; or the output alone when the client cannot have the connection.
fn hijacked(hijack: Hijack, upgrade: Option<hyper::upgrade::OnUpgrade>, version: Version) -> Response<Body> {
    let Some(upgrade) = upgrade else {
        return match streamed(RAW, hijack.into_body()) {
            Answer::Http(response) => response,
            Answer::Hijack(_) => Response::new(Body::empty()),
        };
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response
        .extensions_mut()
        .insert(hyper::ext::ReasonPhrase::from_static(b"UPGRADED"));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, hijack.media_type(version >= Version(1, 42)));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("tcp"));
    tokio::spawn(async move {
        let upgraded = match upgrade.await {
            Ok(upgraded) => upgraded,
            Err(error) => return tracing::debug!(%error, "a client went before its connection was a stream"),
        };
        // The connection is always ours: `connection` made it.
        if let Ok(parts) = upgraded.downcast::<TokioIo<Conn>>() {
            let mut conn = parts.io.into_inner();
            conn.put_back(parts.read_buf);
            conn.is_stream();
            hijack.run(conn).await;
        }
    });
    response
}

const SERVER_NAME: HeaderValue =
    HeaderValue::from_static(concat!("Lighter/", env!("CARGO_PKG_VERSION"), " (linux)"));

fn name_us(headers: &mut HeaderMap) {
    headers.insert(
        HeaderName::from_static("api-version"),
        HeaderValue::from_static(API_VERSION),
    );
    headers.insert(
        HeaderName::from_static("docker-experimental"),
        HeaderValue::from_static("false"),
    );
    headers.insert(
        HeaderName::from_static("ostype"),
        HeaderValue::from_static("linux"),
    );
    headers.insert(SERVER, SERVER_NAME);
}
