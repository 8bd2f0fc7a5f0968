//! The user's `config.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use lighter_engine_api::AuthConfig;
use serde::Deserialize;

use crate::failure::Failure;

/// The keys that we obey. Others are left alone.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Config {
    auths: BTreeMap<String, AuthConfig>,
    #[serde(rename = "HttpHeaders")]
    pub(crate) http_headers: BTreeMap<String, String>,
    /// `ctrl-p,ctrl-q`.
    pub(crate) detach_keys: String,
    pub(crate) ps_format: String,
    pub(crate) images_format: String,
}

/// The key of the public hub among the credentials.
const HUB: &str = "https://index.docker.io/v1/";

impl Config {
    /// Reads `config.json` of `directory`; one that does not exist is empty.
    pub(crate) fn read(directory: &Path) -> Result<Config, Failure> {
        let path: PathBuf = directory.join("config.json");
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(_) => return Ok(Config::default()),
        };
        serde_json::from_slice(&text)
            .map_err(|error| Failure::new(format!("loading config file: {}: {error}", path.display())))
    }

    /// The credentials for the registry `domain`.
    pub(crate) fn auth(&self, domain: &str) -> Option<AuthConfig> {
        let domain = if domain == "docker.io" { HUB } else { domain };
        let plain = |key: &str| {
            let key = key.split_once("://").map_or(key, |(_, rest)| rest);
            key.split('/').next().unwrap_or_default().to_owned()
        };
        let found = self.auths.get_key_value(domain).or_else(|| {
            self.auths
                .iter()
                .find(|(key, _)| domain != HUB && plain(key) == domain)
        });
        let (key, auth) = found?;
        let mut auth = auth.clone();
        let decoded = base64::engine::general_purpose::STANDARD.decode(&auth.auth);
        if let Some((user, password)) = decoded
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .as_deref()
            .and_then(|text| text.split_once(':'))
        {
            auth.username = user.to_owned();
            auth.password = password.trim_end_matches('\0').to_owned();
            auth.auth = String::new();
        }
        auth.serveraddress = key.clone();
        Some(auth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_a_registry() {
        let text = r#"{"auths":{"localhost:5000":{"auth":"dTpwOnE="},"https://index.docker.io/v1/":{"auth":"aHViOng="}},"detachKeys":"ctrl-a","other":1}"#;
        let config: Config = serde_json::from_str(text).unwrap();
        let auth = config.auth("localhost:5000").unwrap();
        assert_eq!((auth.username.as_str(), auth.password.as_str()), ("u", "p:q"));
        assert_eq!(config.auth("docker.io").unwrap().username, "hub");
        assert!(config.auth("example.com").is_none());
        assert_eq!(config.detach_keys, "ctrl-a");
    }
}
