//! How often the API may be used: token buckets for the account, for new connections, and for single routes.
//!
//! ```text
//! handshake ─ account ─ new connections ─ $connect        message ─ account ─ its route        @connections ─ account
//! ```
//! Invariant: asking costs one atomic step per bucket, no lock and no look-up by name. The rates are this process's own:
//! several processes together let through several times as much, as API Gateway's are best effort as well (QK-17).

use std::num::NonZeroU32;
use std::time::Duration;

use gateway::api::WebSocketApi;
use gateway::quotas::RateLimit;
use gateway::route::Route;
use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

/// A token bucket: full at first, and never blocking.
pub struct TokenBucket<C: Clock = DefaultClock>(RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>);

/// The rates of one API. A rate that is absent refuses nothing.
pub struct Throttle {
    requests: Option<TokenBucket>,
    new_connections: Option<TokenBucket>,
    connect_route: Option<TokenBucket>,
    /// By [`Route::index`]; as short as possible, because most APIs have no such rates.
    routes: Box<[Option<TokenBucket>]>,
}

impl<C: Clock> TokenBucket<C> {
    /// A full bucket. A rate of nothing lets one request through per hour: buckets know no standstill.
    #[must_use]
    pub fn new(rate: RateLimit, clock: C) -> Self {
        let burst = NonZeroU32::new(rate.burst).unwrap_or(NonZeroU32::MIN);
        let quota = match NonZeroU32::new(rate.per_second) {
            Some(per_second) => Quota::per_second(per_second),
            None => Quota::with_period(Duration::from_secs(3600)).unwrap_or(Quota::per_hour(NonZeroU32::MIN)),
        };
        Self(RateLimiter::direct_with_clock(quota.allow_burst(burst), clock))
    }

    /// Takes a token, if there is one.
    pub fn take_token(&self) -> bool {
        self.0.check().is_ok()
    }
}

impl Throttle {
    /// The rates that `api` and its quotas state.
    #[must_use]
    pub fn new(api: &WebSocketApi) -> Self {
        let limited = api.routes.message_routes().filter_map(|route| Some((route.index, route.rate?)));
        let mut routes = Vec::new();
        for (index, rate) in limited {
            routes.resize_with(routes.len().max(index + 1), || None);
            routes[index] = token_bucket(Some(rate));
        }
        Self {
            requests: token_bucket(api.quotas.request_rate),
            new_connections: token_bucket(api.quotas.connect_rate),
            connect_route: token_bucket(api.connect_rate),
            routes: routes.into(),
        }
    }

    /// Whether the account's rate admits one more request, of whatever kind.
    pub fn admits_request(&self) -> bool {
        bucket_admits(self.requests.as_ref())
    }

    /// Whether one more connection may begin; its request has been admitted.
    pub fn admits_connection(&self) -> bool {
        bucket_admits(self.new_connections.as_ref()) && bucket_admits(self.connect_route.as_ref())
    }

    /// Whether one more message may be handled by `route`.
    pub fn admits_message(&self, route: &Route) -> bool {
        self.admits_request() && bucket_admits(self.routes.get(route.index).and_then(Option::as_ref))
    }
}

fn token_bucket(rate: Option<RateLimit>) -> Option<TokenBucket> {
    rate.map(|rate| TokenBucket::new(rate, DefaultClock::default()))
}

fn bucket_admits(bucket: Option<&TokenBucket>) -> bool {
    bucket.is_none_or(TokenBucket::take_token)
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn taken(bucket: &TokenBucket<FakeRelativeClock>) -> usize {
        (0..100).filter(|_| bucket.take_token()).count()
    }

    #[test]
    fn a_bucket_holds_its_burst_and_fills_at_its_rate() {
        let clock = FakeRelativeClock::default();
        let bucket = TokenBucket::new(RateLimit { per_second: 10, burst: 5 }, clock.clone());
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
        let bucket = TokenBucket::new(RateLimit { per_second: 0, burst: 0 }, clock.clone());
        assert_eq!(taken(&bucket), 1);
        clock.advance(Duration::from_secs(60));
        assert_eq!(taken(&bucket), 0);
    }
}
