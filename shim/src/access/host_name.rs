//! Host names in `Host` headers and origins (RFC 9110 section 7.2, RFC 3986 section 3.2).

use std::net::IpAddr;

use http::uri::Authority;
use http::{HeaderMap, HeaderValue};

/// Host and port of a `Host` header or of an origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// Lower-case name, IPv4 address, or IPv6 address without brackets.
    pub name: Box<str>,
    /// Port as written; `None` without one.
    pub port: Option<u16>,
}

impl HostPort {
    /// Parses `uri-host [ ":" port ]`. Returns `None` for everything else, an empty host and user information included.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let authority = Authority::try_from(text).ok()?;
        let (host, whole) = (authority.host(), authority.as_str());
        let rest = whole.strip_prefix(host)?;
        let port = match rest.strip_prefix(':') {
            Some("") => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
            None if rest.is_empty() => None,
            _ => return None,
        };
        let name = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        // A comma is valid in a name (RFC 3986), but in practice a sign of joined headers.
        (!name.is_empty() && !name.contains(',')).then(|| Self { name: name.to_ascii_lowercase().into(), port })
    }

    /// Returns whether the host is this machine's own: `localhost`, a name below it (RFC 6761 section 6.3), or a
    /// loopback address.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let name = self.name.strip_suffix('.').unwrap_or(&self.name);
        name == "localhost"
            || name.ends_with(".localhost")
            || name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
    }
}

/// Returns the only value of a header; `None` when it is absent or repeated.
#[must_use]
pub fn single_value(headers: &HeaderMap, name: http::HeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses_with_an_optional_port() {
        let host = |text: &str| HostPort::parse(text.as_bytes()).map(|host| (host.name.to_string(), host.port));
        let found = |name: &str, port| Some((name.to_owned(), port));
        assert_eq!(host("a.Example:8080"), found("a.example", Some(8080)));
        assert_eq!(host("a.example:"), found("a.example", None));
        assert_eq!(host("[::1]:80"), found("::1", Some(80)));
        assert_eq!(host("[2001:db8::7]"), found("2001:db8::7", None));
        for invalid in ["", ":80", "a b", "user@a", "a:b", "a:99999", "a/b", "a,b", "::1", "[::1", "a:1:2", "ä"] {
            assert_eq!(host(invalid), None, "{invalid:?}");
        }
    }

    #[test]
    fn only_loopback_names_and_addresses_are_local() {
        let local = |text: &str| HostPort::parse(text.as_bytes()).is_some_and(|host| host.is_loopback());
        for name in
            ["localhost", "LOCALHOST:1", "localhost.", "app.localhost", "127.0.0.1:8082", "127.8.9.1", "[::1]:1"]
        {
            assert!(local(name), "{name}");
        }
        assert!(local("[::ffff:127.0.0.1]"));
        for name in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "0.0.0.0",
            "10.0.0.1",
            "[::2]",
            "notlocalhost",
        ] {
            assert!(!local(name), "{name}");
        }
    }
}
