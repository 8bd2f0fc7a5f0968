//! What a container wrote, read from its log while it is written.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::Stream;
use jiff::Timestamp;
use lighter_logs::{Entry, Query, entries};

use crate::containers::WaitCondition;
use crate::{Engine, Error, Result};

/// Which lines are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on with what is written later, until the container ends.
    pub follow: bool,
    /// Only the last so many of those written so far.
    pub tail: Option<u64>,
    /// None from before.
    pub since: Option<Timestamp>,
    /// None from after; a follower ends then.
    pub until: Option<Timestamp>,
}

impl Engine {
    /// Whether the container has a terminal, and the lines of its log.
    pub fn logs(
        &self,
        name: &str,
        options: LogOptions,
    ) -> Result<(
        bool,
        impl Stream<Item = Result<Entry, lighter_logs::Error>> + Send + use<>,
    )> {
        let container = self.inspect(name, false)?;
        if container.host_config.log_config.kind != "json-file" {
            return Err(Error::not_implemented(
                "configured logging driver does not support reading",
            ));
        }
        let LogOptions {
            follow,
            tail,
            since,
            until,
        } = options;
        // One that does not run writes nothing more.
        let follow = match follow && container.state.running {
            true => {
                let ended = self.wait(&container.id, WaitCondition::NotRunning)?;
                let moment = until.map(|until| {
                    Duration::try_from(until.duration_since(self.config().clock.now())).unwrap_or_default()
                });
                let over = async move {
                    match moment {
                        Some(left) => tokio::time::sleep(left).await,
                        None => std::future::pending().await,
                    }
                };
                let ended = async move {
                    tokio::select! {
                        _ = ended => {}
                        () = over => {}
                    }
                };
                Some(Box::pin(ended) as _)
            }
            false => None,
        };
        let lines = entries(
            PathBuf::from(container.log_path),
            Query { tail, since, until },
            follow,
        );
        Ok((container.config.tty, lines))
    }
}
