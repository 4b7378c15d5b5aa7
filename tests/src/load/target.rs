//! Target of the load: a `ws://` URL on the loopback interface, and nothing else.
//!
//! A `Target` has loopback addresses only. Names other than `localhost` are not resolved, so that no name service can
//! direct the load at another host.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, ensure};

/// Loopback endpoints of one service: addresses that connections alternate between, and a path with query.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// Addresses to connect to, at least one.
    pub addresses: Vec<SocketAddr>,
    /// Path of the request line, beginning with `/`.
    pub path: String,
}

impl Target {
    /// Parses `ws://127.0.0.1:PORT/path?query`; the host may be any loopback address or `localhost`, or several
    /// `host:port` separated by commas.
    ///
    /// # Errors
    /// The URL does not have that form, or is not on the loopback interface.
    pub fn parse(url: &str) -> anyhow::Result<Self> {
        let rest = url.strip_prefix("ws://");
        let rest = rest.with_context(|| format!("`{url}` does not begin with ws:// (TLS is not supported)"))?;
        let (hosts, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let addresses = hosts.split(',').map(address).collect::<anyhow::Result<_>>()?;
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { addresses, path })
    }

    /// Returns the address of connection number `number`.
    pub fn address(&self, number: usize) -> SocketAddr {
        self.addresses[number % self.addresses.len()]
    }
}

fn address(text: &str) -> anyhow::Result<SocketAddr> {
    let authority: http::uri::Authority = text.parse().with_context(|| format!("`{text}` is not HOST:PORT"))?;
    let port = authority.port_u16().with_context(|| format!("`{text}` has no port"))?;
    let ip = match authority.host().trim_matches(['[', ']']) {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        literal => literal.parse().with_context(|| format!("`{literal}` is neither localhost nor an address"))?,
    };
    ensure!(ip.is_loopback(), "`{ip}` is not a loopback address: this generator only loads servers on the same host");
    Ok(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_urls_are_accepted() {
        let target = Target::parse("ws://127.0.0.1:8080/prod?room=a").unwrap();
        assert_eq!((target.address(0).to_string().as_str(), target.path.as_str()), ("127.0.0.1:8080", "/prod?room=a"));
        assert_eq!(Target::parse("ws://localhost:1").unwrap().path, "/");
        assert!(Target::parse("ws://[::1]:1/").unwrap().address(7).is_ipv6());
    }

    #[test]
    fn connections_alternate_between_several_addresses() {
        let target = Target::parse("ws://127.0.0.1:1,127.0.0.2:2,localhost:3?q=/").unwrap();
        let ports: Vec<u16> = (0..4).map(|number| target.address(number).port()).collect();
        assert_eq!((ports, target.path.as_str()), (vec![1, 2, 3, 1], "/?q=/"));
    }

    #[test]
    fn all_other_urls_are_rejected() {
        for url in [
            "ws://10.0.0.1:80/",
            "ws://example.org:80/",
            "wss://127.0.0.1:1/",
            "ws://127.0.0.1/",
            "127.0.0.1:80",
            "ws://127.0.0.1:1,10.0.0.1:1/",
            "ws://127.0.0.1:1,/",
        ] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }
}
