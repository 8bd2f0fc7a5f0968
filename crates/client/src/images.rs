//! Images.

use base64::Engine as _;
use lighter_engine_api::{
    AuthConfig, HistoryResponseItem, ImageDeleteResponseItem, ImageInspect, ImageSummary, JsonMessage,
};

use crate::client::{Extra, json, read};
use crate::{Client, Error, JsonLines, Query, segment};

impl Client {
    /// Lists images. `filters` as JSON, or empty.
    pub fn image_list(&self, all: bool, filters: &str) -> Result<Vec<ImageSummary>, Error> {
        let query = Query::new().flag("all", all).with_some("filters", filters);
        self.get_as("/images/json", &query)
    }

    /// All about one.
    pub fn image_inspect(&self, name: &str) -> Result<ImageInspect, Error> {
        self.get_as(&of(name, "json"), &Query::new())
    }

    /// The same as the engine wrote it.
    pub fn image_inspect_raw(&self, name: &str) -> Result<Vec<u8>, Error> {
        self.get(&of(name, "json"), &Query::new())
    }

    /// How it was made, the newest step first.
    pub fn image_history(&self, name: &str) -> Result<Vec<HistoryResponseItem>, Error> {
        self.get_as(&of(name, "history"), &Query::new())
    }

    /// Pulls `tag` (or digest) of `name`; an empty tag pulls all. `auth` is for the registry of that name.
    pub fn image_pull(
        &self,
        name: &str,
        tag: &str,
        platform: &str,
        auth: Option<&AuthConfig>,
    ) -> Result<JsonLines<JsonMessage>, Error> {
        let query = Query::new()
            .with("fromImage", name)
            .with_some("tag", tag)
            .with_some("platform", &platform.to_ascii_lowercase());
        let auth = match auth {
            Some(auth) => base64::engine::general_purpose::URL_SAFE.encode(json(auth)?),
            None => String::new(),
        };
        let headers = [("X-Registry-Auth", auth.as_str())];
        let headers = if auth.is_empty() { &[][..] } else { &headers[..] };
        let extra = Extra { headers, body: None };
        self.open("POST", "/images/create", &query, extra)
            .map(JsonLines::new)
    }

    /// Removes a name, and the image with its last.
    pub fn image_remove(
        &self,
        name: &str,
        force: bool,
        no_prune: bool,
    ) -> Result<Vec<ImageDeleteResponseItem>, Error> {
        let query = Query::new().flag("force", force).flag("noprune", no_prune);
        let path = format!("/images/{}", segment(name));
        read(&self.delete(&path, &query)?)
    }

    /// Gives an image another name.
    pub fn image_tag(&self, name: &str, repository: &str, tag: &str) -> Result<(), Error> {
        let query = Query::new().with("repo", repository).with_some("tag", tag);
        self.post(&of(name, "tag"), &query).map(drop)
    }
}

fn of(name: &str, verb: &str) -> String {
    format!("/images/{}/{verb}", segment(name))
}
