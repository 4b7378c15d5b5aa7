//! Budgets of rejected requests per client address.
//!
//! Only rejections cost: a request with valid credentials is never limited here, so many users of one address, for
//! example of a company's proxy, can connect at a time, and a client that floods the server with rejected requests
//! takes nothing from them. A rejection above the budget is answered with 429.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gateway::quotas::RateLimit;

/// Number of budgets. Addresses share them by a keyed hash, so that memory is constant (128 KiB) and no client can
/// choose with whom it shares.
const ADDRESS_SLOTS: usize = 16 * 1024;
/// Prefix length of an IPv6 address that counts as one client: providers assign at least a /64 to each (RFC 6177).
const CLIENT_PREFIX_BITS: u32 = 64;

/// Cost of a rejected request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectionCost {
    /// A rejected handshake, an unknown path, a request that is not an upgrade.
    Request,
    /// A wrong token, key or signature of a backend: ten requests, because backends rarely send one.
    Credential,
}

/// The budget of an address is used up; it is sufficient again after this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many rejected requests from this address")]
pub struct BudgetExceededError {
    /// Time until the same rejection is within the budget.
    pub retry_after: Duration,
}

/// Token buckets of rejected requests (generic cell rate algorithm), one per client address. No call blocks.
pub struct AddressBudgets {
    buckets: Option<AddressBuckets>,
}

struct AddressBuckets {
    /// Theoretical arrival time of the next request, in nanoseconds since `started`.
    arrivals: Box<[AtomicU64]>,
    hasher: RandomState,
    started: Instant,
    nanos_per_token: u64,
    burst: u64,
}

impl RejectionCost {
    const fn tokens(self) -> u64 {
        match self {
            Self::Request => 1,
            Self::Credential => 10,
        }
    }
}

impl BudgetExceededError {
    /// Returns the value of `Retry-After`: whole seconds, at least one.
    #[must_use]
    pub fn retry_after_seconds(self) -> u64 {
        self.retry_after.as_millis().div_ceil(1000).max(1).try_into().unwrap_or(u64::MAX)
    }
}

impl AddressBudgets {
    /// Creates full budgets; `None` admits everything. A burst smaller than the largest cost is raised to it.
    #[must_use]
    pub fn new(rate: Option<RateLimit>) -> Self {
        let buckets = rate.map(|rate| AddressBuckets {
            arrivals: (0..ADDRESS_SLOTS).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
            started: Instant::now(),
            nanos_per_token: 1_000_000_000 / u64::from(rate.per_second.max(1)),
            burst: u64::from(rate.burst).max(RejectionCost::Credential.tokens()),
        });
        Self { buckets }
    }

    /// Counts a rejected request of a client.
    ///
    /// # Errors
    /// [`BudgetExceededError`] if the budget does not cover the cost; nothing is taken from it then.
    pub fn charge_rejection(&self, address: IpAddr, cost: RejectionCost) -> Result<(), BudgetExceededError> {
        let Some(buckets) = &self.buckets else { return Ok(()) };
        buckets.take_tokens(address, cost.tokens(), buckets.elapsed_nanos())
    }

    /// Checks that a rejection would be within the budget, without counting one. For credentials whose verification is
    /// expensive: a function's.
    ///
    /// # Errors
    /// [`BudgetExceededError`] if the budget does not cover the cost.
    pub fn check_budget(&self, address: IpAddr, cost: RejectionCost) -> Result<(), BudgetExceededError> {
        let Some(buckets) = &self.buckets else { return Ok(()) };
        let arrival = buckets.arrival_of(address).load(Ordering::Relaxed);
        buckets.next_arrival(arrival, cost.tokens(), buckets.elapsed_nanos()).map(drop)
    }
}

impl AddressBuckets {
    fn elapsed_nanos(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn arrival_of(&self, address: IpAddr) -> &AtomicU64 {
        let hash = self.hasher.hash_one(client_prefix(address));
        &self.arrivals[hash as usize % self.arrivals.len()]
    }

    fn take_tokens(&self, address: IpAddr, tokens: u64, now: u64) -> Result<(), BudgetExceededError> {
        let slot = self.arrival_of(address);
        let mut arrival = slot.load(Ordering::Relaxed);
        loop {
            let next = self.next_arrival(arrival, tokens, now)?;
            match slot.compare_exchange_weak(arrival, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(changed) => arrival = changed,
            }
        }
    }

    fn next_arrival(&self, arrival: u64, tokens: u64, now: u64) -> Result<u64, BudgetExceededError> {
        let next = arrival.max(now) + tokens * self.nanos_per_token;
        match next.checked_sub(now + self.burst * self.nanos_per_token) {
            Some(excess) if excess > 0 => Err(BudgetExceededError { retry_after: Duration::from_nanos(excess) }),
            _ => Ok(next),
        }
    }
}

/// Returns the part of an address that identifies a client: IPv4 addresses completely, also IPv4-mapped ones; IPv6
/// addresses up to the /64.
fn client_prefix(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> CLIENT_PREFIX_BITS << CLIENT_PREFIX_BITS))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn buckets(per_second: u32, burst: u32) -> AddressBuckets {
        AddressBudgets::new(Some(RateLimit { per_second, burst })).buckets.unwrap()
    }

    fn admitted(buckets: &AddressBuckets, address: &str, tokens: u64, now: u64) -> usize {
        (0..100).filter(|_| buckets.take_tokens(address.parse().unwrap(), tokens, now).is_ok()).count()
    }

    #[test]
    fn each_address_has_its_burst_and_refills_at_its_rate() {
        let buckets = buckets(20, 40);
        assert_eq!(admitted(&buckets, "192.0.2.1", 1, 0), 40);
        assert_eq!(admitted(&buckets, "192.0.2.2", 10, 0), 4);
        assert_eq!(admitted(&buckets, "192.0.2.1", 1, SECOND), 20);
        assert_eq!(admitted(&buckets, "192.0.2.1", 1, 60 * SECOND), 40);
        let error = buckets.take_tokens("192.0.2.1".parse().unwrap(), 10, 60 * SECOND).unwrap_err();
        assert_eq!((error.retry_after, error.retry_after_seconds()), (Duration::from_millis(500), 1));
    }

    #[test]
    fn a_client_is_an_ipv4_address_or_an_ipv6_64() {
        let prefix = |text: &str| client_prefix(text.parse().unwrap()).to_string();
        assert_eq!(prefix("192.0.2.1"), "192.0.2.1");
        assert_eq!(prefix("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(prefix("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_ne!(prefix("2001:db8:1:2::1"), prefix("2001:db8:1:3::1"));
    }

    #[test]
    fn without_a_rate_nothing_is_limited_and_a_check_takes_nothing() {
        let address = IpAddr::V4([192, 0, 2, 1].into());
        let unlimited = AddressBudgets::new(None);
        assert!((0..1000).all(|_| unlimited.charge_rejection(address, RejectionCost::Credential).is_ok()));
        let budgets = AddressBudgets::new(Some(RateLimit { per_second: 1, burst: 10 }));
        assert!((0..1000).all(|_| budgets.check_budget(address, RejectionCost::Credential).is_ok()));
        assert_eq!(budgets.charge_rejection(address, RejectionCost::Credential), Ok(()));
        assert!(budgets.check_budget(address, RejectionCost::Request).is_err());
    }
}
