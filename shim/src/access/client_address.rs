//! Address of the client behind trusted proxies: `X-Forwarded-For`, or `Forwarded` (RFC 7239).
//!
//! Each proxy appends the address that it saw, so only the entries at the right end are evidence. The walk starts at
//! the peer of the socket and goes from right to left, over all lines of the header (RFC 9110 section 5.3), as long as
//! the address reached so far belongs to a trusted proxy. It ends at the first entry that is no address.

use std::net::{IpAddr, Ipv4Addr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

/// Proxies in front of the server whose entries are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrustedProxies {
    /// This number of proxies; 0 for none.
    Hops(u8),
    /// Proxies with an address in one of these networks.
    Networks(Vec<IpNet>),
}

/// Header in which the proxies name the client. Clients can send the other one unchanged, so only one is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` of RFC 7239.
    Forwarded,
}

/// Proxies in front of the traffic port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyConfig {
    pub trusted: TrustedProxies,
    pub header: ForwardedHeader,
    /// Whether every connection must begin with a header of the PROXY protocol.
    pub requires_proxy_protocol: bool,
}

/// Address of a client, canonical: never an IPv4 address in the form of an IPv6 one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAddress {
    pub ip: IpAddr,
    /// Trusted proxies between the client and the peer of the socket, the peer excluded, nearest to the server first.
    proxies: Vec<IpAddr>,
}

impl ProxyConfig {
    /// No proxies: the client is the peer of the socket.
    pub const NONE: Self = Self {
        trusted: TrustedProxies::Hops(0),
        header: ForwardedHeader::XForwardedFor,
        requires_proxy_protocol: false,
    };

    /// Returns whether clients connect through proxies.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.requires_proxy_protocol
            || match &self.trusted {
                TrustedProxies::Hops(hops) => *hops > 0,
                TrustedProxies::Networks(networks) => !networks.is_empty(),
            }
    }

    /// Returns whether a connection from `peer` may begin with a header of the PROXY protocol.
    #[must_use]
    pub fn trusts_peer(&self, peer: IpAddr) -> bool {
        match &self.trusted {
            TrustedProxies::Hops(_) => true,
            TrustedProxies::Networks(networks) => networks.iter().any(|network| network.contains(&peer)),
        }
    }

    /// Returns the client of a request that arrived from `peer`.
    #[must_use]
    pub fn client_of(&self, peer: IpAddr, headers: &HeaderMap) -> ClientAddress {
        let mut client = ClientAddress::of_peer(peer);
        if !self.trusts(client.ip, 0) {
            return client;
        }
        let mut hops = 0;
        for entry in self.entries(headers) {
            let Some(address) = entry else { break };
            if hops > 0 {
                client.proxies.push(client.ip);
            }
            client.ip = address;
            hops += 1;
            if !self.trusts(client.ip, hops) {
                break;
            }
        }
        client
    }

    fn trusts(&self, address: IpAddr, hops: usize) -> bool {
        match &self.trusted {
            TrustedProxies::Hops(trusted) => hops < usize::from(*trusted),
            TrustedProxies::Networks(networks) => networks.iter().any(|network| network.contains(&address)),
        }
    }

    /// Returns the entries of the header from right to left; `None` for one that is not an address.
    fn entries<'h>(&self, headers: &'h HeaderMap) -> Box<dyn Iterator<Item = Option<IpAddr>> + 'h> {
        let lines = |name: HeaderName| headers.get_all(name).into_iter().rev();
        match self.header {
            ForwardedHeader::XForwardedFor => {
                Box::new(lines(HeaderName::from_static("x-forwarded-for")).flat_map(list_entries))
            }
            ForwardedHeader::Forwarded => Box::new(lines(FORWARDED).flat_map(forwarded_entries)),
        }
    }
}

impl ClientAddress {
    /// Returns the address of a client that connected without proxies.
    #[must_use]
    pub fn of_peer(peer: IpAddr) -> Self {
        Self { ip: peer.to_canonical(), proxies: Vec::new() }
    }

    /// Returns the `X-Forwarded-For` of events: the client, then the proxies after it, the peer of the socket excluded.
    #[must_use]
    pub fn forwarded_for(&self) -> String {
        let addresses = std::iter::once(self.ip).chain(self.proxies.iter().rev().copied());
        addresses.map(|address| address.to_string()).collect::<Vec<_>>().join(", ")
    }
}

/// Returns the entries of a line of `X-Forwarded-For` from right to left. Empty ones are skipped (RFC 9110
/// section 5.6.1).
fn list_entries(line: &HeaderValue) -> impl Iterator<Item = Option<IpAddr>> {
    let entries = line.as_bytes().rsplit(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    entries.filter(|entry| !entry.is_empty()).map(|entry| parse_node(std::str::from_utf8(entry).ok()?))
}

/// Returns the `for` parameters of a line of `Forwarded` from right to left; a single `None` if the line violates the
/// grammar of RFC 7239 section 4, because an unbalanced quote of the client could hide what a proxy appended.
fn forwarded_entries(line: &HeaderValue) -> impl Iterator<Item = Option<IpAddr>> {
    let elements = line.to_str().ok().and_then(parse_forwarded).unwrap_or_else(|| vec![None]);
    elements.into_iter().rev().map(|node| parse_node(&node?))
}

/// Parses `for=192.0.2.1;proto=https, for="[2001:db8::1]:443"` into the value of `for` of each element, `None` for an
/// element without one. Empty elements and parameters are skipped (RFC 9110 sections 5.6.1.2 and 5.6.6).
fn parse_forwarded(line: &str) -> Option<Vec<Option<String>>> {
    let (mut elements, mut element, mut rest) = (Vec::new(), ForwardedElement::default(), line.trim_start());
    loop {
        if !rest.is_empty() && !rest.starts_with([';', ',']) {
            rest = element.parse_parameter(rest)?.trim_start();
        }
        match rest.as_bytes().first() {
            Some(b';') => {}
            Some(b',') => elements.extend(std::mem::take(&mut element).into_node()),
            Some(_) => return None,
            None => {
                elements.extend(element.into_node());
                return Some(elements);
            }
        }
        rest = rest[1..].trim_start();
    }
}

/// An element of `Forwarded`, as far as it has been parsed.
#[derive(Default)]
struct ForwardedElement {
    has_parameters: bool,
    /// Value of `for`.
    node: Option<String>,
}

impl ForwardedElement {
    /// Parses the parameter at the start of `text`, and returns the rest; `None` if it violates the grammar or is a
    /// second `for`.
    fn parse_parameter<'t>(&mut self, text: &'t str) -> Option<&'t str> {
        let (name, value) = text.split_once('=')?;
        let (value, rest) = parse_value(value)?;
        self.has_parameters = true;
        let is_repeated = name.eq_ignore_ascii_case("for") && self.node.replace(value).is_some();
        (is_token(name) && !is_repeated).then_some(rest)
    }

    /// Returns the value of `for`, if any; `None` for an empty element.
    fn into_node(self) -> Option<Option<String>> {
        self.has_parameters.then_some(self.node)
    }
}

/// Parses a token or a quoted string at the start of `text`, and returns the rest.
fn parse_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|c: char| ";, \t".contains(c)).unwrap_or(text.len());
        return is_token(&text[..end]).then(|| (text[..end].to_owned(), &text[end..]));
    };
    let (mut value, mut characters) = (String::new(), quoted.char_indices());
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            _ => value.push(character),
        }
    }
    None
}

/// Returns whether `text` is a token of RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Parses an address with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`,
/// `[2001:db8::1]:80`. `unknown`, obfuscated names and everything else are no addresses.
fn parse_node(text: &str) -> Option<IpAddr> {
    let address = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (address, port) = bracketed.split_once(']')?;
            if !port.is_empty() && !port.strip_prefix(':').is_some_and(is_port) {
                return None;
            }
            IpAddr::V6(without_zone(address).parse().ok()?)
        }
        None => match text.split_once(':') {
            Some((address, port)) if is_port(port) => IpAddr::V4(address.parse::<Ipv4Addr>().ok()?),
            _ => without_zone(text).parse().ok()?,
        },
    };
    Some(address.to_canonical())
}

/// Removes the zone of a link-local address (RFC 4007 section 11).
fn without_zone(address: &str) -> &str {
    address.split_once('%').map_or(address, |(address, _)| address)
}

/// Returns whether `text` is a port, or an obfuscated one (RFC 7239 section 6).
fn is_port(text: &str) -> bool {
    let digits = (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    digits || (text.starts_with('_') && is_token(text))
}

#[cfg(test)]
mod tests;
