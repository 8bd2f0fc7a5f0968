//! The API as bytes on a socket: what clients' libraries hide. Each test runs against our engine and against Docker's: what
//! fails there is a wrong test.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod answers;
mod streams;
mod wire;

/// Runs each test against both engines.
#[macro_export]
macro_rules! both {
    ($($(#[$meta:meta])* fn $name:ident($session:ident: &Session) $body:block)*) => {
        mod bodies {
            use super::*;
            $(pub(super) fn $name($session: &Session) $body)*
        }
        $crate::both!(@run ours, Lighter, $($(#[$meta])* $name)*);
        $crate::both!(@run real_docker, Docker, $($(#[$meta])* $name)*);
    };
    (@run $module:ident, $kind:ident, $($(#[$meta:meta])* $name:ident)*) => {
        mod $module {
            $($(#[$meta])* #[test] fn $name() {
                let session = lighter_harness::Session::start(lighter_harness::Kind::$kind, lighter_harness::Client::Stock);
                super::bodies::$name(&session);
            })*
        }
    };
}
