//! `/images`.

use base64::Engine as _;
use futures_util::StreamExt as _;
use http::StatusCode;
use lighter_engine::images::{ImageListOptions, PullRequest};
use lighter_engine_api::{AuthConfig, JsonMessage, go};

use crate::answer::{Failure, JSON, Result, json, json_line, status, streamed};
use crate::request::Call;

pub(crate) async fn list(call: Call) -> Result {
    let query = &call.query;
    let options = ImageListOptions {
        all: query.flag("all"),
        shared_size: query.flag("shared-size"),
        filters: query.filters()?,
    };
    Ok(json(&call.engine.image_list(options).await?))
}

pub(crate) async fn inspect(call: Call, name: &str) -> Result {
    Ok(json(&call.engine.image_inspect(name).await?))
}

pub(crate) async fn history(call: Call, name: &str) -> Result {
    Ok(json(&call.engine.image_history(name).await?))
}

pub(crate) async fn tag(call: Call, name: &str) -> Result {
    call.engine
        .image_tag(name, call.query.text("repo"), call.query.text("tag"))
        .await?;
    Ok(status(StatusCode::CREATED).into())
}

pub(crate) async fn remove(call: Call, name: &str) -> Result {
    let (force, prune) = (call.query.flag("force"), !call.query.flag("noprune"));
    Ok(json(&call.engine.image_remove(name, force, prune).await?))
}

pub(crate) async fn create(call: Call) -> Result {
    let query = &call.query;
    if query.get("fromSrc").is_some() {
        return Err(Failure::missing("importing an image"));
    }
    let request = PullRequest {
        from_image: query.text("fromImage").to_owned(),
        tag: query.text("tag").to_owned(),
        platform: query.text("platform").to_owned(),
        auth: call
            .headers
            .get("x-registry-auth")
            .and_then(|header| credentials(header.as_bytes())),
    };
    let lines = call.engine.image_pull(request).await?;
    let lines = lines.map(|line| match line {
        Ok(message) => json_line(&message),
        Err(error) => json_line(&JsonMessage::failed(error.text())),
    });
    Ok(streamed(JSON, lines))
}

/// The header's credentials: JSON in base64, of the kind for URLs, padded or not. What cannot be read is none, as Docker
/// has it.
fn credentials(header: &[u8]) -> Option<AuthConfig> {
    use base64::alphabet::{STANDARD, URL_SAFE};
    use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let decoded = [URL_SAFE, STANDARD]
        .iter()
        .find_map(|alphabet| GeneralPurpose::new(alphabet, lenient).decode(header).ok())?;
    go::from_slice(&decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_padded_or_not() {
        for header in [
            "eyJ1c2VybmFtZSI6ImEiLCJwYXNzd29yZCI6ImIifQ==",
            "eyJ1c2VybmFtZSI6ImEiLCJwYXNzd29yZCI6ImIifQ",
        ] {
            let auth = credentials(header.as_bytes()).unwrap();
            assert_eq!((auth.username.as_str(), auth.password.as_str()), ("a", "b"));
        }
        assert!(credentials(b"!").is_none());
    }
}
