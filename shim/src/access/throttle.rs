//! How often the API may be used: token buckets for the account, for new connections, and for single routes.
//!
//! ```text
//! handshake ─ account ─ new connections ─ $connect        message ─ account ─ its route        @connections ─ account
//! ```
//! Invariant: asking costs one atomic step per bucket, no lock and no look-up by name. The rates are this process's own:
//! several processes together let through several times as much, as API Gateway's are best effort as well (QK-17).

use std::num::NonZeroU32;
use std::time::Duration;

use gateway::api::Api;
use gateway::quotas::Rate;
use gateway::route::Route;
use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

/// A token bucket: full at first, and never blocking.
pub struct Bucket<C: Clock = DefaultClock>(RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>);

/// The rates of one API. A rate that is absent refuses nothing.
pub struct Throttle {
    requests: Option<Bucket>,
    connections: Option<Bucket>,
    connect: Option<Bucket>,
    /// By [`Route::index`]; as short as possible, because most APIs have no such rates.
    routes: Box<[Option<Bucket>]>,
}

impl<C: Clock> Bucket<C> {
    /// A full bucket. A rate of nothing lets one request through per hour: buckets know no standstill.
    #[must_use]
    pub fn new(rate: Rate, clock: C) -> Self {
        let burst = NonZeroU32::new(rate.burst).unwrap_or(NonZeroU32::MIN);
        let quota = match NonZeroU32::new(rate.per_second) {
            Some(per_second) => Quota::per_second(per_second),
            None => Quota::with_period(Duration::from_secs(3600)).unwrap_or(Quota::per_hour(NonZeroU32::MIN)),
        };
        Self(RateLimiter::direct_with_clock(quota.allow_burst(burst), clock))
    }

    /// Takes a token, if there is one.
    pub fn take(&self) -> bool {
        self.0.check().is_ok()
    }
}

impl Throttle {
    /// The rates that `api` and its quotas state.
    #[must_use]
    pub fn new(api: &Api) -> Self {
        let limited = api.routes.messages().filter_map(|route| Some((route.index, route.rate?)));
        let mut routes = Vec::new();
        for (index, rate) in limited {
            routes.resize_with(routes.len().max(index + 1), || None);
            routes[index] = bucket(Some(rate));
        }
        Self {
            requests: bucket(api.quotas.request_rate),
            connections: bucket(api.quotas.connect_rate),
            connect: bucket(api.connect_rate),
            routes: routes.into(),
        }
    }

    /// Whether the account's rate admits one more request, of whatever kind.
    pub fn admits_request(&self) -> bool {
        admits(self.requests.as_ref())
    }

    /// Whether one more connection may begin; its request has been admitted.
    pub fn admits_connection(&self) -> bool {
        admits(self.connections.as_ref()) && admits(self.connect.as_ref())
    }

    /// Whether one more message may be handled by `route`.
    pub fn admits_message(&self, route: &Route) -> bool {
        self.admits_request() && admits(self.routes.get(route.index).and_then(Option::as_ref))
    }
}

fn bucket(rate: Option<Rate>) -> Option<Bucket> {
    rate.map(|rate| Bucket::new(rate, DefaultClock::default()))
}

fn admits(bucket: Option<&Bucket>) -> bool {
    bucket.is_none_or(Bucket::take)
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn taken(bucket: &Bucket<FakeRelativeClock>) -> usize {
        (0..100).filter(|_| bucket.take()).count()
    }

    #[test]
    fn a_bucket_holds_its_burst_and_fills_at_its_rate() {
        let clock = FakeRelativeClock::default();
        let bucket = Bucket::new(Rate { per_second: 10, burst: 5 }, clock.clone());
        assert_eq!(taken(&bucket), 5);
        clock.advance(Duration::from_millis(99));
        assert_eq!(taken(&bucket), 0);
        clock.advance(Duration::from_millis(1));
        assert_eq!(taken(&bucket), 1);
        clock.advance(Duration::from_secs(60));
        assert_eq!(taken(&bucket), 5);
    }

    #[test]
    fn a_rate_of_nothing_lets_its_burst_through_and_no_more() {
        let clock = FakeRelativeClock::default();
        let bucket = Bucket::new(Rate { per_second: 0, burst: 0 }, clock.clone());
        assert_eq!(taken(&bucket), 1);
        clock.advance(Duration::from_secs(60));
        assert_eq!(taken(&bucket), 0);
    }
}
