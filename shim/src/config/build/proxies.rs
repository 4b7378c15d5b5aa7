//! Reader of the proxies in front of the server, and of the hosts and origins of requests.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::super::ConfigValue;
use super::super::values::{self, ParseResult};
use super::ConfigReader;
use crate::access::client_address::{ForwardedHeader, ProxyConfig, TrustedProxies};
use crate::access::origin::{HostRule, OriginRule};

impl ConfigReader<'_> {
    /// Reads `server.trusted_proxies`, `server.forwarded_header` and `server.proxy_protocol`.
    pub(super) fn read_proxies(&mut self) -> Option<ProxyConfig> {
        let trusted = self.read_required("server.trusted_proxies", parse_trusted_proxies);
        let header = self.read_required("server.forwarded_header", |value| {
            let headers =
                [("x-forwarded-for", ForwardedHeader::XForwardedFor), ("forwarded", ForwardedHeader::Forwarded)];
            values::parse_choice(value, &headers)
        });
        let protocol = self.read_required("server.proxy_protocol", |value| {
            values::parse_choice(value, &[("off", false), ("required", true)])
        });
        Some(ProxyConfig { trusted: trusted?, header: header?, requires_proxy_protocol: protocol? })
    }

    /// Rejects a PROXY header of any peer of a listener that other machines reach: each of them could choose its address.
    pub(super) fn check_proxy_peers(&mut self, listen: SocketAddr, proxies: &ProxyConfig) {
        let trusts_all_peers = matches!(proxies.trusted, TrustedProxies::Hops(_));
        if proxies.requires_proxy_protocol && trusts_all_peers && !listen.ip().to_canonical().is_loopback() {
            self.add_error(
                "server.proxy_protocol: required needs the networks of the balancers in server.trusted_proxies, such as \
                 10.0.0.0/16, because otherwise every machine that reaches server.listen can send a PROXY header and \
                 choose its address",
            );
        }
    }
}

/// Parses a number of proxies, or their networks and addresses.
fn parse_trusted_proxies(value: &ConfigValue) -> ParseResult<TrustedProxies> {
    const RULE: &str = "must be the number of proxies, at most 255, or their networks, such as 10.0.0.0/8,fd00::/8";
    let items = values::parse_list(value)?;
    if let [number] = &items[..]
        && number.bytes().all(|byte| byte.is_ascii_digit())
    {
        return number.parse().map(TrustedProxies::Hops).map_err(|_| RULE.to_owned());
    }
    let network = |item: &String| {
        let address = || item.parse::<IpAddr>().ok().map(IpNet::from);
        item.parse::<IpNet>().ok().or_else(address).ok_or_else(|| format!("{RULE}; {item:?} is neither"))
    };
    items.iter().map(network).collect::<Result<_, _>>().map(TrustedProxies::Networks)
}

pub(super) fn parse_hosts(value: &ConfigValue) -> ParseResult<HostRule> {
    let items = values::parse_list(value)?;
    if items.iter().any(|item| item == "*") {
        return Ok(HostRule::Any);
    }
    let host = |item: &String| {
        item.parse().map_err(|()| {
            format!("{item:?} must be a host name without scheme and port, such as chat.example or *.example, or *")
        })
    };
    items.iter().map(host).collect::<Result<_, _>>().map(HostRule::LoopbackAnd)
}

pub(super) fn parse_origins(value: &ConfigValue) -> ParseResult<OriginRule> {
    let items = values::parse_list(value)?;
    if items.iter().any(|item| item == "*") {
        return Ok(OriginRule::Any);
    }
    let origin = |item: &String| {
        item.parse().map_err(|()| {
            format!("{item:?} must be an origin, such as https://chat.example or https://*.example, or null, or *")
        })
    };
    items.iter().map(origin).collect::<Result<_, _>>().map(OriginRule::Only)
}
