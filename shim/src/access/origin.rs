//! Host names and web origins that may reach a listener.
//!
//! A page that rebinds DNS reaches a loopback listener under its own name, and a page of any site can open a WebSocket
//! to it. The `Host` of the first and the `Origin` of the second cannot be forged by a page.

use std::str::FromStr;

use super::host_name::HostPort;

/// A host name, or all names below a domain: `chat.example`, `*.example`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    Exact(Box<str>),
    /// The domain with its leading dot.
    Below(Box<str>),
}

/// Host names of requests that a listener accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostRule {
    Any,
    /// The names of this machine's loopback addresses, and those of the patterns.
    LoopbackAnd(Vec<HostPattern>),
}

/// A web origin, or all origins of hosts below a domain: `https://chat.example`, `https://*.example:8443`, `null`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginPattern {
    /// The opaque origin of sandboxed frames and of files.
    Null,
    Web {
        scheme: Box<str>,
        host: HostPattern,
        /// Port as browsers send it: absent if it is the scheme's default.
        port: Option<u16>,
    },
}

/// Web origins that a listener accepts. Requests without an `Origin` do not come from a page and are always accepted,
/// and so are those of pages of the same host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginRule {
    Any,
    /// Pages of this machine, on any port.
    Loopback,
    Only(Vec<OriginPattern>),
}

impl HostPattern {
    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *name,
            Self::Below(domain) => name.len() > domain.len() && name.ends_with(&**domain),
        }
    }
}

impl FromStr for HostPattern {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (wildcard, name) = match text.strip_prefix("*.") {
            Some(domain) => (true, domain),
            None => (false, text),
        };
        // An IPv6 address may be written without brackets, since it has no port here.
        let bracketed = if name.parse::<std::net::Ipv6Addr>().is_ok() { format!("[{name}]") } else { name.to_owned() };
        let host = HostPort::parse(bracketed.as_bytes()).filter(|host| host.port.is_none() && !name.ends_with(':'));
        let name = host.filter(|host| !host.name.contains('*')).ok_or(())?.name;
        Ok(if wildcard { Self::Below(format!(".{name}").into()) } else { Self::Exact(name) })
    }
}

impl FromStr for OriginPattern {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text == "null" {
            return Ok(Self::Null);
        }
        let (scheme, authority) = text.split_once("://").ok_or(())?;
        let (scheme, wildcard) = (scheme.to_ascii_lowercase(), authority.starts_with("*."));
        let host = HostPort::parse(authority.strip_prefix("*.").unwrap_or(authority).as_bytes()).ok_or(())?;
        if scheme.is_empty() || !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)) {
            return Err(());
        }
        let port = host.port.filter(|port| Some(*port) != default_port(&scheme));
        let name = host.name;
        let host = if wildcard { HostPattern::Below(format!(".{name}").into()) } else { HostPattern::Exact(name) };
        Ok(Self::Web { scheme: scheme.into(), host, port })
    }
}

impl HostRule {
    /// Returns the host names that the rule lists, without patterns.
    pub fn exact_names(&self) -> impl Iterator<Item = &str> {
        let patterns = match self {
            Self::Any => &[][..],
            Self::LoopbackAnd(patterns) => patterns,
        };
        patterns.iter().filter_map(|pattern| match pattern {
            HostPattern::Exact(name) => Some(&**name),
            HostPattern::Below(_) => None,
        })
    }

    /// Returns whether a request to `host` is accepted; `None` is a request of HTTP/1.0 without `Host`, which no
    /// browser sends.
    #[must_use]
    pub fn admits(&self, host: Option<&HostPort>) -> bool {
        match (self, host) {
            (Self::Any, _) | (_, None) => true,
            (Self::LoopbackAnd(patterns), Some(host)) => {
                host.is_loopback() || patterns.iter().any(|pattern| pattern.matches(&host.name))
            }
        }
    }
}

impl OriginRule {
    /// Returns whether a request of a page with the header `origin` to `host` is accepted.
    #[must_use]
    pub fn admits(&self, origin: &[u8], host: Option<&HostPort>) -> bool {
        if *self == Self::Any {
            return true;
        }
        let Some(origin) = std::str::from_utf8(origin).ok().and_then(|origin| origin.parse().ok()) else {
            return false;
        };
        let OriginPattern::Web { scheme, host: HostPattern::Exact(name), port } = &origin else {
            return matches!(self, Self::Only(patterns) if patterns.contains(&origin));
        };
        let page = HostPort { name: name.clone(), port: *port };
        let same_host = host.is_some_and(|host| {
            host.name == page.name && host.port.filter(|port| Some(*port) != default_port(scheme)) == page.port
        });
        same_host
            || match self {
                Self::Any => true,
                Self::Loopback => page.is_loopback(),
                Self::Only(patterns) => patterns.iter().any(|pattern| match pattern {
                    OriginPattern::Web { scheme: wanted, host, port } => {
                        wanted == scheme && *port == page.port && host.matches(name)
                    }
                    OriginPattern::Null => false,
                }),
            }
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(names: &[&str]) -> Vec<HostPattern> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn host(text: &str) -> HostPort {
        HostPort::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn hosts_are_admitted_by_name_domain_or_loopback() {
        let local = HostRule::LoopbackAnd(hosts(&["chat.example"]));
        for name in ["localhost:8080", "127.0.0.1", "[::1]:8080", "Chat.Example:443"] {
            assert!(local.admits(Some(&host(name))), "{name}");
        }
        for name in ["evil.example", "a.chat.example", "10.0.0.1", "127.0.0.1.nip.io"] {
            assert!(!local.admits(Some(&host(name))), "{name}");
        }
        let listed = HostRule::LoopbackAnd(hosts(&["*.example", "2001:db8::7", "[2001:db8::8]"]));
        for (name, admitted) in [
            ("a.example", true),
            ("a.b.example:1", true),
            ("[2001:db8::7]:1", true),
            ("[2001:db8::8]", true),
            ("example", false),
            ("xexample", false),
        ] {
            assert_eq!(listed.admits(Some(&host(name))), admitted, "{name}");
        }
        assert!(local.admits(None) && HostRule::Any.admits(Some(&host("evil.example"))));
        for invalid in ["", "*", "*.", "a:80", "a:", "http://a", "a b", "a.*"] {
            assert!(invalid.parse::<HostPattern>().is_err(), "{invalid}");
        }
    }

    #[test]
    fn origins_are_admitted_by_scheme_host_and_port() {
        let rule = OriginRule::Only(
            ["https://app.example", "https://*.trusted.example:8443", "null"].map(|text| text.parse().unwrap()).into(),
        );
        let admits = |rule: &OriginRule, origin: &str| rule.admits(origin.as_bytes(), Some(&host("chat.example:8080")));
        for origin in [
            "https://app.example",
            "https://app.example:443",
            "https://a.trusted.example:8443",
            "null",
            "http://chat.example:8080",
        ] {
            assert!(admits(&rule, origin), "{origin}");
        }
        for origin in [
            "http://app.example",
            "https://app.example:444",
            "https://trusted.example:8443",
            "https://chat.example",
            "http://localhost",
            "https://app.example.evil",
            "x",
            "",
        ] {
            assert!(!admits(&rule, origin), "{origin}");
        }
        for origin in ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:5173", "http://app.localhost"] {
            assert!(admits(&OriginRule::Loopback, origin) && admits(&OriginRule::Any, origin), "{origin}");
        }
        for origin in ["http://evil.example", "null", "file://", "http://localhost.evil.example"] {
            assert!(!admits(&OriginRule::Loopback, origin) && admits(&OriginRule::Any, origin), "{origin}");
        }
        assert!(OriginRule::Loopback.admits(b"https://chat.example", Some(&host("chat.example:443"))));
    }
}
