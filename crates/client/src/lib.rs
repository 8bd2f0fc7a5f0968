//! A typed client of the Engine API: blocking, one request a connection's turn, over a unix socket or TCP.
//!
//! No runtime and no threads of its own: a program that waits for two things at once (a stream and an exit, say) gives
//! each a thread and a [`Client`] clone, or sends the one request before it reads the other's answer ([`Client::wait`]).

mod calls;
mod client;
mod error;
mod host;
mod http;
mod query;
mod socket;
mod stream;

pub use calls::{Messages, Wait};
pub use client::{Answer, Client, Stream, json, older};
pub use error::Error;
pub use host::Host;
pub use http::Body;
pub use query::{Query, segment};
pub use socket::Socket;
pub use stream::demultiplex;
