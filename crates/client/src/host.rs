//! Where an engine listens.

use std::fmt;
use std::path::PathBuf;

use crate::Error;

/// An engine's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// `unix:///var/run/docker.sock`.
    Unix(PathBuf),
    /// `tcp://127.0.0.1:2375`: host and port.
    Tcp(String),
}

impl Host {
    /// Where an engine listens when nothing else is said.
    pub const DEFAULT: &str = "unix:///var/run/docker.sock";

    /// Reads `unix://PATH`, `tcp://HOST[:PORT]` or `HOST:PORT`.
    pub fn parse(text: &str) -> Result<Host, Error> {
        let (scheme, rest) = text.trim().split_once("://").unwrap_or(("tcp", text.trim()));
        match scheme {
            "unix" if rest.is_empty() => Host::parse(Self::DEFAULT),
            "unix" => Ok(Host::Unix(PathBuf::from(rest))),
            "tcp" | "http" => {
                let address = rest.trim_end_matches('/');
                let address = if address.is_empty() { "localhost" } else { address };
                let has_port = address
                    .rsplit_once(':')
                    .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
                Ok(Host::Tcp(if has_port {
                    address.to_owned()
                } else {
                    format!("{address}:2375")
                }))
            }
            _ => Err(Error::Host(text.to_owned())),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        for (text, shown) in [
            ("unix:///run/x.sock", "unix:///run/x.sock"),
            ("unix://", Host::DEFAULT),
            ("tcp://1.2.3.4", "tcp://1.2.3.4:2375"),
            ("127.0.0.1:99", "tcp://127.0.0.1:99"),
            ("tcp://[::1]:99", "tcp://[::1]:99"),
        ] {
            assert_eq!(Host::parse(text).unwrap().to_string(), shown);
        }
        assert_eq!(
            Host::parse("ftp://x").unwrap_err().to_string(),
            "unable to parse docker host `ftp://x`"
        );
    }
}
