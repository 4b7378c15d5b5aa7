//! Watch of a host name that a provider moves to another server, as in the failover of a managed Redis or PostgreSQL.
//!
//! Connections to the former server stay open, and it may even accept writes for a while. So a client replaces its
//! connections as soon as the name resolves to other addresses only. A name that rotates between several addresses has
//! not moved.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::{Instant, sleep, timeout};

/// Interval between two lookups.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(1);
/// Timeout of a lookup.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for which an address counts as known after it was returned.
const ADDRESS_MEMORY: Duration = Duration::from_secs(60);

/// Watch of one host name.
pub(crate) struct HostWatch {
    host: String,
    port: u16,
    history: AddressHistory,
}

impl HostWatch {
    /// Returns a watch of `host`; `None` for an IP address, which never moves.
    pub(crate) fn new(host: &str, port: u16) -> Option<Self> {
        let is_address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
        (!is_address).then(|| Self { host: host.to_owned(), port, history: AddressHistory::default() })
    }

    /// Waits until the name resolves to other addresses only. Failed lookups change nothing.
    pub(crate) async fn wait_moved(&mut self) {
        loop {
            let lookup = timeout(LOOKUP_TIMEOUT, lookup_host((self.host.as_str(), self.port))).await;
            if let Ok(Ok(addresses)) = lookup
                && self.history.record(Instant::now(), addresses.map(|address| address.ip()))
            {
                return;
            }
            sleep(LOOKUP_INTERVAL).await;
        }
    }
}

/// Addresses of a name, with the time of the latest lookup that returned them.
#[derive(Default)]
struct AddressHistory(HashMap<IpAddr, Instant>);

impl AddressHistory {
    /// Records the addresses of a lookup. Returns whether none of them was known although others were.
    fn record(&mut self, now: Instant, addresses: impl Iterator<Item = IpAddr>) -> bool {
        let addresses: Vec<IpAddr> = addresses.collect();
        let is_new = |address: &IpAddr| !self.0.contains_key(address);
        let moved = !self.0.is_empty() && !addresses.is_empty() && addresses.iter().all(is_new);
        // Addresses expire only while lookups succeed, so that an outage of the name server looks like no move.
        if !addresses.is_empty() {
            self.0.extend(addresses.into_iter().map(|address| (address, now)));
            self.0.retain(|_, returned_at| now.duration_since(*returned_at) < ADDRESS_MEMORY);
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn a_name_that_resolves_to_another_server_has_moved() {
        let (mut history, start) = (AddressHistory::default(), Instant::now());
        let mut record = |seconds, found: &[u8]| {
            history.record(start + Duration::from_secs(seconds), found.iter().map(|last| address(*last)))
        };
        assert!(!record(0, &[1]), "the first lookup");
        assert!(!record(1, &[]), "a lookup without a result");
        assert!(!record(2, &[1, 2]), "one more address");
        assert!(record(3, &[3]));
        assert!(!record(4, &[3]), "reported once");
        assert!(!record(5, &[1]) && !record(6, &[3]), "a name that rotates");
        assert!(!record(200, &[3]) && record(201, &[1]), "back, after the address was forgotten");
    }

    #[tokio::test]
    async fn a_name_is_looked_up_and_an_address_is_not_watched() {
        assert!(HostWatch::new("127.0.0.1", 6379).is_none() && HostWatch::new("[::1]", 6379).is_none());
        let mut watch = HostWatch::new("localhost", 6379).unwrap();
        watch.history.0.insert(address(1), Instant::now());
        watch.wait_moved().await;
    }
}
