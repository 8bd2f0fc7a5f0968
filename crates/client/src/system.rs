//! The engine itself.

use lighter_engine_api::{EventMessage, SystemInfo, SystemVersion};

use crate::client::Extra;
use crate::{Client, Error, JsonLines, Query};

impl Client {
    /// What it is and how much it holds.
    pub fn info(&self) -> Result<SystemInfo, Error> {
        self.get_as("/info", &Query::new())
    }

    /// Its versions.
    pub fn version(&self) -> Result<SystemVersion, Error> {
        self.get_as("/version", &Query::new())
    }

    /// What happens, from `since` on, until `until` (times as of logs, or empty). `filters` as JSON, or empty.
    pub fn events(&self, since: &str, until: &str, filters: &str) -> Result<JsonLines<EventMessage>, Error> {
        let query = Query::new()
            .with_some("since", since)
            .with_some("until", until)
            .with_some("filters", filters);
        self.open("GET", "/events", &query, Extra::default())
            .map(JsonLines::new)
    }
}
