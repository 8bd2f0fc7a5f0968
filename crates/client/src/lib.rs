//! A typed client of the Engine API: blocking, over a unix socket or TCP, with no runtime behind it.
//!
//! [`Client`] asks; a request that several threads make at once takes several connections. What goes on (attach, exec,
//! logs, events, pulls) comes as a stream: [`Upgraded`] both ways, [`Body`] and [`JsonLines`] one way.

mod client;
mod containers;
mod error;
mod host;
mod http;
mod images;
mod query;
mod socket;
mod stream;
mod system;

pub use client::Client;
pub use containers::{AttachQuery, LogQuery};
pub use error::Error;
pub use host::Host;
pub use http::Body;
pub use query::{Query, segment};
pub use socket::Socket;
pub use stream::{JsonLines, Output, Upgraded, demultiplex};
