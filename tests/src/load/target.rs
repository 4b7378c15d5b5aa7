//! Where load is sent: a `ws://` URL on the loopback interface, and nowhere else.
//!
//! Invariant: a `Target` that exists is a loopback address. Names other than `localhost` are not resolved, so that no name
//! service can point the generator at somebody's server.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, bail, ensure};

/// A loopback endpoint: address, and path with query.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// The address to connect to.
    pub address: SocketAddr,
    /// What the request line names, beginning with `/`.
    pub path: String,
}

impl Target {
    /// Reads `ws://127.0.0.1:PORT/path?query`; the host may be any loopback address or `localhost`.
    ///
    /// # Errors
    /// When the URL is not of that form, or not on the loopback interface.
    pub fn parse(url: &str) -> anyhow::Result<Self> {
        let uri: http::Uri = url.parse().with_context(|| format!("`{url}` is not a URL"))?;
        ensure!(uri.scheme_str() == Some("ws"), "`{url}` does not begin with ws:// (TLS is not measured here)");
        let port = uri.port_u16().with_context(|| format!("`{url}` names no port"))?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let ip = match host {
            "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            literal => literal.parse().with_context(|| format!("`{literal}` is neither localhost nor an address"))?,
        };
        if !ip.is_loopback() {
            bail!("`{ip}` is not a loopback address: this generator only loads servers on its own machine");
        }
        let path = uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
        Ok(Self { address: SocketAddr::new(ip, port), path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_urls_are_taken() {
        let target = Target::parse("ws://127.0.0.1:8080/prod?room=a").unwrap();
        assert_eq!((target.address.to_string().as_str(), target.path.as_str()), ("127.0.0.1:8080", "/prod?room=a"));
        assert_eq!(Target::parse("ws://localhost:1").unwrap().path, "/");
        assert!(Target::parse("ws://[::1]:1/").unwrap().address.is_ipv6());
    }

    #[test]
    fn everything_else_is_refused() {
        for url in
            ["ws://10.0.0.1:80/", "ws://example.org:80/", "wss://127.0.0.1:1/", "ws://127.0.0.1/", "127.0.0.1:80"]
        {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }
}
