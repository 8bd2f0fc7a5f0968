//! The Engine API over HTTP: routes, hijacking, status codes. What the routes do is `lighter-engine`'s.
//!
//! [`Listener::bind`] takes a socket, [`serve`] answers on it until it is told to stop.

mod answer;
mod body;
mod conn;
mod hijack;
mod listen;
mod raw;
mod request;
mod router;
mod routes;
mod serve;

pub use listen::{Error, Listener, docker_group};
pub use serve::serve;
