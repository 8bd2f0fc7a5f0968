//! Lines on the error stream.

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// Our own crates at the level asked for, others' only when something is wrong.
pub(crate) fn init(own: LevelFilter) {
    let targets = Targets::new()
        .with_default(LevelFilter::WARN.min(own))
        .with_target("lighter", own);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry()
        .with(lines.with_filter(targets))
        .init();
}
