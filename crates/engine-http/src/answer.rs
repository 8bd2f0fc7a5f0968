//! What goes back: JSON, nothing, a stream, a failure. The one place that knows status codes of errors.

use bytes::Bytes;
use futures_util::Stream;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use lighter_engine::Kind;
use lighter_engine_api::ErrorResponse;
use serde::Serialize;

use crate::body::Body;
use crate::hijack::Hijack;

/// The answer to a request.
pub(crate) enum Answer {
    /// Over HTTP.
    Http(Response<Body>),
    /// The connection becomes a stream.
    Hijack(Hijack),
}

/// A request that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
}

pub(crate) type Result<T = Answer, E = Failure> = std::result::Result<T, E>;

impl Failure {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    /// 400.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 501, for what Docker does and we do not yet.
    pub(crate) fn missing(what: &str) -> Self {
        Self::new(
            StatusCode::NOT_IMPLEMENTED,
            format!("{what} is not implemented yet"),
        )
    }

    /// What a path or a method that does not exist gets.
    pub(crate) fn page_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "page not found")
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        if self.status == StatusCode::NOT_MODIFIED {
            return status(self.status);
        }
        let mut response = json_with(
            self.status,
            &ErrorResponse {
                message: self.message,
            },
        );
        *response.status_mut() = self.status;
        response
    }
}

impl From<lighter_engine::Error> for Failure {
    fn from(error: lighter_engine::Error) -> Self {
        let status = match error.kind {
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Conflict => StatusCode::CONFLICT,
            Kind::InvalidParameter => StatusCode::BAD_REQUEST,
            Kind::NotModified => StatusCode::NOT_MODIFIED,
            Kind::Unauthorized => StatusCode::UNAUTHORIZED,
            Kind::Forbidden => StatusCode::FORBIDDEN,
            Kind::NotImplemented => StatusCode::NOT_IMPLEMENTED,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Kind::System => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self {
            status,
            message: error.text(),
        }
    }
}

impl From<Response<Body>> for Answer {
    fn from(response: Response<Body>) -> Self {
        Self::Http(response)
    }
}

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// 200 with `value` and a line's end, as Go's encoder writes.
pub(crate) fn json(value: &impl Serialize) -> Answer {
    Answer::Http(json_with(StatusCode::OK, value))
}

/// As [`json`], with another status.
pub(crate) fn json_with(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let mut bytes = Vec::with_capacity(512);
    if let Err(error) = serde_json::to_writer(&mut bytes, value) {
        // Our own types: keys are strings and nothing else can fail.
        tracing::error!(%error, "an answer cannot be written as JSON");
    }
    bytes.push(b'\n');
    with_type(status, JSON, bytes.into())
}

/// A status without a body.
pub(crate) fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// 204.
pub(crate) fn no_content() -> Answer {
    Answer::Http(status(StatusCode::NO_CONTENT))
}

/// A body of a media type.
pub(crate) fn with_type(status: StatusCode, media_type: HeaderValue, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response
}

/// 200 and what comes, chunk by chunk; the head goes out at once.
pub(crate) fn streamed(
    media_type: HeaderValue,
    stream: impl Stream<Item = Bytes> + Send + 'static,
) -> Answer {
    Answer::Http(with_type(StatusCode::OK, media_type, Body::stream(stream)))
}

/// A line of a stream of JSON objects.
pub(crate) fn json_line(value: &impl Serialize) -> Bytes {
    let mut bytes = serde_json::to_vec(value).unwrap_or_default();
    bytes.extend_from_slice(b"\r\n");
    bytes.into()
}
