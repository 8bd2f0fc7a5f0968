//! What every command works with.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use lighter_client::{Client, Host};
use lighter_stdx::clock::Clock;

use crate::config::Config;
use crate::failure::Failure;

/// What the process was started with.
#[derive(Debug, Clone)]
pub struct Environment {
    /// What the program calls itself: `lighter`, or `docker` where it stands in for it.
    pub program: String,
    /// The words after the program's name.
    pub args: Vec<String>,
    /// The environment's variables.
    pub variables: BTreeMap<String, String>,
    /// The working directory, for relative paths.
    pub directory: PathBuf,
    /// The clock.
    pub clock: Clock,
}

impl Environment {
    /// A variable; an empty one is none.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }
}

/// The environment, the user's configuration and, once it is needed, the engine.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) environment: Environment,
    pub(crate) config: Config,
    host: Option<String>,
    client: OnceCell<Arc<Client>>,
}

impl Context {
    pub(crate) fn new(environment: Environment, config: Config, host: Option<String>) -> Context {
        Context {
            environment,
            config,
            host,
            client: OnceCell::new(),
        }
    }

    /// What the program calls itself.
    pub(crate) fn program(&self) -> &str {
        &self.environment.program
    }

    /// The engine.
    pub(crate) fn client(&self) -> Result<&Client, Failure> {
        self.made().map(Arc::as_ref)
    }

    /// The engine, for a thread to keep.
    pub(crate) fn shared_client(&self) -> Result<Arc<Client>, Failure> {
        self.made().map(Arc::clone)
    }

    fn made(&self) -> Result<&Arc<Client>, Failure> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let named = self
            .host
            .as_deref()
            .or_else(|| self.environment.variable("DOCKER_HOST"));
        let host = Host::parse(named.unwrap_or(Host::DEFAULT)).map_err(|error| {
            Failure::new(format!(
                "Failed to initialize: unable to resolve docker endpoint: {error}"
            ))
            .with_hint("an engine is named as unix:///path/of/its/socket or tcp://address:port, with -H or DOCKER_HOST")
        })?;
        let version = self.environment.variable("DOCKER_API_VERSION");
        let agent = format!("Lighter-Client/{} (linux)", env!("CARGO_PKG_VERSION"));
        let mut client = Client::new(host, version.map(str::to_owned), &agent);
        for (name, value) in &self.config.http_headers {
            client = client.with_header(name, value);
        }
        Ok(self.client.get_or_init(|| Arc::new(client)))
    }
}
