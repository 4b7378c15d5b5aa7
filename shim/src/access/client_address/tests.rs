//! Table of headers that proxies and clients send.

use super::*;

const PEER: &str = "10.0.0.1";

fn hops(count: u8) -> ProxyConfig {
    ProxyConfig { trusted: TrustedProxies::Hops(count), ..ProxyConfig::NONE }
}

fn networks(networks: &[&str]) -> ProxyConfig {
    let networks = networks.iter().map(|network| network.parse().unwrap()).collect();
    ProxyConfig { trusted: TrustedProxies::Networks(networks), ..ProxyConfig::NONE }
}

fn client(config: &ProxyConfig, peer: &str, lines: &[(&'static str, &str)]) -> (String, String) {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    let client = config.client_of(peer.parse().unwrap(), &headers);
    (client.ip.to_string(), client.forwarded_for())
}

/// Returns the client for lines of `X-Forwarded-For`.
fn forwarded(config: &ProxyConfig, lines: &[&str]) -> String {
    let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
    client(config, PEER, &lines).0
}

#[test]
fn without_proxies_no_header_is_trusted() {
    for header in ["x-forwarded-for", "forwarded", "x-real-ip"] {
        let found = client(&ProxyConfig::NONE, PEER, &[(header, "for=203.0.113.7"), (header, "203.0.113.7")]);
        assert_eq!(found, (PEER.to_owned(), PEER.to_owned()));
    }
    assert_eq!(client(&ProxyConfig::NONE, "::ffff:127.0.0.1", &[]).0, "127.0.0.1");
}

#[test]
fn hops_are_counted_from_the_right_over_all_lines() {
    let forged = "203.0.113.66";
    for (count, lines, expected) in [
        (1, &[][..], PEER),
        (1, &["198.51.100.9"], "198.51.100.9"),
        (1, &["203.0.113.66, 198.51.100.9"], "198.51.100.9"),
        (1, &[forged, "198.51.100.9"], "198.51.100.9"),
        (2, &[forged, "198.51.100.9", "10.0.0.2"], "198.51.100.9"),
        (2, &["203.0.113.66,198.51.100.9 ,\t10.0.0.2"], "198.51.100.9"),
        // Fewer entries than proxies: the client reached an inner proxy directly.
        (3, &["198.51.100.9"], "198.51.100.9"),
        (1, &["203.0.113.66, 198.51.100.9, , "], "198.51.100.9"),
    ] {
        assert_eq!(forwarded(&hops(count), lines), expected, "{count} {lines:?}");
    }
}

#[test]
fn networks_are_left_at_the_first_untrusted_address() {
    let config = networks(&["10.0.0.0/8", "2001:db8::/32"]);
    for (lines, expected) in [
        (&[][..], PEER),
        (&["203.0.113.66, 198.51.100.9, 10.0.0.3, 10.0.0.2"], "198.51.100.9"),
        (&["198.51.100.9", "[2001:db8::5]:443, 10.0.0.2:80"], "198.51.100.9"),
        (&["10.9.9.9, 10.0.0.2"], "10.9.9.9"),
    ] {
        assert_eq!(forwarded(&config, lines), expected, "{lines:?}");
    }
    let direct = client(&config, "198.51.100.1", &[("x-forwarded-for", "203.0.113.66")]);
    assert_eq!(direct.0, "198.51.100.1", "not through a proxy");
    assert_eq!(client(&config, "::ffff:10.0.0.1", &[("x-forwarded-for", "198.51.100.9")]).0, "198.51.100.9");
}

#[test]
fn every_spelling_of_an_address_is_parsed() {
    for (entry, expected) in [
        ("203.0.113.9:51008", "203.0.113.9"),
        ("[2001:db8::7]:443", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("2001:DB8::7", "2001:db8::7"),
        ("2001:db8::7:443", "2001:db8::7:443"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("[::ffff:203.0.113.9]:1", "203.0.113.9"),
        ("[fe80::1%25eth0]:1", "fe80::1"),
        ("fe80::1%eth0", "fe80::1"),
    ] {
        assert_eq!(forwarded(&hops(1), &[entry]), expected, "{entry}");
    }
}

#[test]
fn an_entry_that_is_no_address_ends_the_walk() {
    for entry in [
        "unknown",
        "_hidden",
        "a.example",
        "203.0.113",
        "[2001:db8::7",
        "[203.0.113.9]",
        "203.0.113.9:x",
        "\"203.0.113.9\"",
    ] {
        assert_eq!(forwarded(&hops(1), &[entry]), PEER, "{entry}");
        assert_eq!(forwarded(&hops(2), &[&format!("{entry}, 10.0.0.2")]), "10.0.0.2", "{entry}");
    }
}

#[test]
fn events_show_the_client_and_the_proxies_behind_it() {
    let lines = [("x-forwarded-for", "203.0.113.66, 198.51.100.9:80, [2001:db8::5]:1, 10.0.0.2")];
    let found = client(&hops(3), PEER, &lines);
    assert_eq!(found, ("198.51.100.9".to_owned(), "198.51.100.9, 2001:db8::5, 10.0.0.2".to_owned()));
}

#[test]
fn forwarded_is_parsed_strictly() {
    let config = ProxyConfig { header: ForwardedHeader::Forwarded, ..hops(1) };
    for (line, expected) in [
        ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
        ("For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
        ("for=203.0.113.66, for=198.51.100.9", "198.51.100.9"),
        ("for=203.0.113.66,proto=https; FOR=198.51.100.9", "198.51.100.9"),
        ("for=\"198.51.100.9:80\";host=\"a,b;c\\\"\"", "198.51.100.9"),
        // Empty elements and parameters are skipped.
        (", for=198.51.100.9", "198.51.100.9"),
        ("for=203.0.113.66,, ,for=198.51.100.9 , ", "198.51.100.9"),
        ("for=198.51.100.9;", "198.51.100.9"),
        (";for=198.51.100.9;;proto=https ; ,", "198.51.100.9"),
        (" , ; ,", PEER),
        ("for=unknown", PEER),
        ("for=_hidden", PEER),
        ("proto=https", PEER),
        ("for=203.0.113.66, proto=https", PEER),
        // An unbalanced quote, which swallows what the proxy appended, and other violations.
        ("for=203.0.113.66;x=\", for=198.51.100.9", PEER),
        ("for=203.0.113.66;x=\", for=\"198.51.100.9\"", PEER),
        ("for=203.0.113.66;for=198.51.100.9", PEER),
        ("for=198.51.100.9 x", PEER),
        ("for", PEER),
        ("for=[2001:db8::1]", PEER),
    ] {
        assert_eq!(client(&config, PEER, &[("forwarded", line)]).0, expected, "{line}");
    }
    let two = [("forwarded", "for=203.0.113.66"), ("forwarded", "for=198.51.100.9")];
    assert_eq!(client(&config, PEER, &two).0, "198.51.100.9");
    let appended = [("forwarded", ", "), ("forwarded", "for=198.51.100.9")];
    assert_eq!(client(&config, PEER, &appended).0, "198.51.100.9");
    assert_eq!(client(&config, PEER, &[("x-forwarded-for", "203.0.113.66")]).0, PEER, "the other header is not read");
    assert_eq!(client(&hops(1), PEER, &[("forwarded", "for=203.0.113.66")]).0, PEER);
}
