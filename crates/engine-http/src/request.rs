//! What comes in: versions, parameters, bodies.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use jiff::Timestamp;
use lighter_engine::Engine;
use lighter_engine_api::{Filters, go};
use serde::de::DeserializeOwned;

use crate::answer::{Failure, Result};

/// The largest JSON body, in bytes.
const MAX_BODY: usize = 8 << 20;

/// How much of a larger one is read and dropped, in bytes: a client that cannot send what it wants to does not read an answer.
const MAX_DROPPED: u64 = 1 << 30;

/// A version of the API: major, minor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u32, pub(crate) u32);

impl Version {
    /// What we speak: also to those who name no version.
    pub(crate) const CURRENT: Self = Self(1, 51);
    /// The oldest that is answered.
    pub(crate) const OLDEST: Self = Self(1, 24);

    /// Reads `1.41`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }
}

/// A request on its way through the routes.
pub(crate) struct Call {
    pub(crate) engine: Engine,
    pub(crate) version: Version,
    pub(crate) method: Method,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Incoming,
}

/// A body that was not read yet, or was because the connection is not hyper's.
pub(crate) enum Incoming {
    Hyper(hyper::body::Incoming),
    Whole(Bytes),
}

impl Call {
    /// The body as JSON. With `required` an empty one is refused, without it gives the default.
    pub(crate) async fn json<T: DeserializeOwned + Default>(&mut self, required: bool) -> Result<T> {
        let bytes = match std::mem::replace(&mut self.body, Incoming::Whole(Bytes::new())) {
            Incoming::Whole(bytes) => bytes,
            Incoming::Hyper(incoming) => read(incoming).await?,
        };
        if bytes.is_empty() && !required {
            return Ok(T::default());
        }
        self.check_json(bytes.is_empty())?;
        go::from_slice(&bytes).map_err(|error| Failure::invalid(error.to_string()))
    }

    fn check_json(&self, empty: bool) -> Result<()> {
        let Some(found) = self.headers.get(CONTENT_TYPE) else {
            return match empty {
                true => Ok(()),
                false => Err(Failure::invalid(
                    "malformed Content-Type header (): mime: no media type",
                )),
            };
        };
        let found = found.to_str().unwrap_or_default();
        let media_type = found.split(';').next().unwrap_or_default().trim();
        match media_type.eq_ignore_ascii_case("application/json") {
            true => Ok(()),
            false => Err(Failure::invalid(format!(
                "unsupported Content-Type header ({media_type}): must be 'application/json'"
            ))),
        }
    }
}

async fn read(mut incoming: hyper::body::Incoming) -> Result<Bytes> {
    match Limited::new(&mut incoming, MAX_BODY).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let mut dropped = 0;
            while dropped < MAX_DROPPED
                && let Some(Ok(frame)) = incoming.frame().await
            {
                dropped += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
            Err(Failure::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!(
                    "the request body is too large: at most {} MB are read",
                    MAX_BODY >> 20
                ),
            ))
        }
        Err(error) => Err(Failure::invalid(format!(
            "failed to read the request body: {error}"
        ))),
    }
}

/// The parameters behind `?`. Of several of one name the first counts.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        let pair = |part: &str| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (
                decoded(name, true).into_owned(),
                decoded(value, true).into_owned(),
            )
        };
        Self(
            text.split('&')
                .filter(|part| !part.is_empty())
                .map(pair)
                .collect(),
        )
    }

    /// The value, if there is one and it is not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// The value, or nothing.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// Docker's idea of true: anything but a few words.
    pub(crate) fn flag(&self, name: &str) -> bool {
        let value = self.text(name).trim().to_ascii_lowercase();
        !matches!(value.as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// A number; what is none fails as Docker's server does.
    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| {
            let message = format!("strconv.Atoi: parsing {text:?}: invalid syntax");
            Failure::new(StatusCode::INTERNAL_SERVER_ERROR, message)
        })
    }

    /// The `filters`.
    pub(crate) fn filters(&self) -> Result<Filters> {
        Filters::parse(self.text("filters")).map_err(Failure::invalid)
    }

    /// A time: seconds since 1970, with a fraction or without.
    pub(crate) fn time(&self, name: &str) -> Result<Option<Timestamp>> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let time = timestamp(text).ok_or_else(|| {
            Failure::invalid(format!("failed to parse value as time or duration: {text:?}"))
        })?;
        // Clients send 0 for none.
        Ok((time != Timestamp::UNIX_EPOCH || text != "0").then_some(time))
    }
}

/// `1700000000.000000005`, or RFC 3339.
fn timestamp(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let numeric = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !numeric(fraction) || !numeric(whole.strip_prefix('-').unwrap_or(whole)) || whole.is_empty() {
        return text.parse().ok();
    }
    let nanos: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    Timestamp::new(whole.parse().ok()?, nanos.parse().ok()?).ok()
}

/// `%2F` and, in parameters, `+` undone. What is no valid escape stays; what is no UTF-8 is replaced.
pub(crate) fn decoded(text: &str, plus: bool) -> Cow<'_, str> {
    let escaped = text.contains('%') || plus && text.contains('+');
    if !escaped {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = || {
            let digits = text.get(at + 1..at + 3)?;
            u8::from_str_radix(digits, 16)
                .ok()
                .filter(|_| !digits.starts_with('+'))
        };
        match bytes[at] {
            b'%' if escape().is_some() => {
                out.extend(escape());
                at += 3;
            }
            b'+' if plus => {
                out.push(b' ');
                at += 1;
            }
            byte => {
                out.push(byte);
                at += 1;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_read_as_docker_reads_them() {
        let query = Query::parse("a=1&b=x%20y+z&c=&d=False&e=%zz&a=2&f");
        assert_eq!(
            (query.text("a"), query.text("b"), query.get("c")),
            ("1", "x y z", None)
        );
        assert_eq!(query.text("e"), "%zz");
        assert!(query.flag("a") && !query.flag("d") && !query.flag("f") && query.flag("e"));
        assert_eq!(query.number("a").unwrap(), Some(1));
        assert_eq!(
            query.number("b").unwrap_err().message,
            "strconv.Atoi: parsing \"x y z\": invalid syntax"
        );
    }

    #[test]
    fn times_are_seconds_with_nanoseconds() {
        let time = |text: &str| Query(vec![("t".into(), text.into())]).time("t");
        assert_eq!(
            time("5.000000007").unwrap().unwrap().as_nanosecond(),
            5_000_000_007
        );
        assert_eq!(time("5.5").unwrap().unwrap().as_millisecond(), 5_500);
        assert_eq!(time("0").unwrap(), None);
        assert_eq!(
            time("2026-11-24T00:00:00Z").unwrap().unwrap().to_string(),
            "2026-11-24T00:00:00Z"
        );
        assert!(time("yesterday").is_err());
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert!(
            Version::parse("1.9") < Some(Version::OLDEST) && Version::parse("1.100") > Some(Version::CURRENT)
        );
        assert_eq!(Version::parse("x"), None);
    }
}
