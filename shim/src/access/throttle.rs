//! Rate limits of an API: token buckets for the account, for new connections, for single routes, for each user, and for
//! the messages of each connection.
//!
//! ```text
//! accepted handshake ─ its user ─ account ─ new connections ─ $connect
//! message ─ its connection ─ its user ─ account ─ its route
//! authorized @connections request ─ account
//! ```
//!
//! A check costs one atomic operation per bucket, without a lock or a look-up by name. The limits apply per process, so
//! several processes together admit a multiple; API Gateway's limits are best effort as well (QK-17).

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use gateway::api::WebSocketApi;
use gateway::authorizer::AuthorizerContext;
use gateway::quotas::RateLimit;
use gateway::route::Route;
use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use super::user_budget::{UserBudget, UserBudgets, UserLimits};

/// A non-blocking token bucket, initially full; `None` for one without capacity, which is always empty.
pub struct TokenBucket<C: Clock = DefaultClock>(
    Option<RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>>,
);

/// Rate limits of one API. Without a limit all requests are admitted.
pub struct RequestThrottle {
    requests: Option<TokenBucket>,
    new_connections: Option<TokenBucket>,
    connect_route: Option<TokenBucket>,
    /// Handshakes whose authorizer is a function: they are limited before it has accepted them.
    authorizations: Option<TokenBucket>,
    /// Limit of each connection's messages.
    connection_rate: Option<RateLimit>,
    users: UserBudgets,
    /// Buckets by [`Route::index`], up to the last route with a limit: most APIs have none.
    routes: Box<[Option<TokenBucket>]>,
}

impl<C: Clock> TokenBucket<C> {
    /// Creates a full bucket. A burst of zero admits nothing, as on AWS. A rate of zero is treated as one request per
    /// hour, because the quota must be positive.
    #[must_use]
    pub fn new(rate: RateLimit, clock: C) -> Self {
        let Some(burst) = NonZeroU32::new(rate.burst) else { return Self(None) };
        let quota = match NonZeroU32::new(rate.per_second) {
            Some(per_second) => Quota::per_second(per_second),
            None => Quota::with_period(Duration::from_secs(3600)).unwrap_or(Quota::per_hour(NonZeroU32::MIN)),
        };
        Self(Some(RateLimiter::direct_with_clock(quota.allow_burst(burst), clock)))
    }

    /// Takes a token. Returns `false` if the bucket is empty.
    pub fn take_token(&self) -> bool {
        self.0.as_ref().is_some_and(|limiter| limiter.check().is_ok())
    }
}

impl RequestThrottle {
    /// Creates the buckets for the limits of `api` and its quotas.
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
            authorizations: token_bucket(api.quotas.connect_rate),
            connection_rate: None,
            users: UserBudgets::new(UserLimits::default()),
            routes: routes.into(),
        }
    }

    /// Limits the messages of each connection.
    #[must_use]
    pub fn with_connection_rate(self, rate: Option<RateLimit>) -> Self {
        Self { connection_rate: rate, ..self }
    }

    /// Limits the handshakes and messages of each user.
    #[must_use]
    pub fn with_user_limits(self, limits: UserLimits) -> Self {
        Self { users: UserBudgets::new(limits), ..self }
    }

    /// Returns the budget of a connection's user; `None` if users are not limited, or without an authorizer.
    pub fn user_budget(&self, user: Option<&AuthorizerContext>) -> Option<Arc<UserBudget>> {
        self.users.budget_of(user)
    }

    /// Returns the bucket of a new connection, if the messages of a connection are limited.
    pub fn connection_bucket(&self) -> Option<TokenBucket> {
        token_bucket(self.connection_rate)
    }

    /// Returns whether a handshake may invoke a function as its authorizer.
    pub fn admits_authorization(&self) -> bool {
        bucket_admits(self.authorizations.as_ref())
    }

    /// Returns whether the account's rate limit admits a request of any kind.
    pub fn admits_request(&self) -> bool {
        bucket_admits(self.requests.as_ref())
    }

    /// Returns whether the limits of the user, of the account and of new connections admit an accepted handshake.
    pub fn admits_handshake(&self, user: Option<&AuthorizerContext>) -> bool {
        self.user_budget(user).is_none_or(|budget| budget.admits_connection())
            && self.admits_request()
            && self.admits_connection()
    }

    fn admits_connection(&self) -> bool {
        bucket_admits(self.new_connections.as_ref()) && bucket_admits(self.connect_route.as_ref())
    }

    /// Returns whether the limits of the account and of `route` admit a message.
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

    fn take_all(bucket: &TokenBucket<FakeRelativeClock>) -> usize {
        (0..100).filter(|_| bucket.take_token()).count()
    }

    #[test]
    fn a_bucket_has_its_burst_and_refills_at_its_rate() {
        let clock = FakeRelativeClock::default();
        let bucket = TokenBucket::new(RateLimit { per_second: 10, burst: 5 }, clock.clone());
        assert_eq!(take_all(&bucket), 5);
        clock.advance(Duration::from_millis(99));
        assert_eq!(take_all(&bucket), 0);
        clock.advance(Duration::from_millis(1));
        assert_eq!(take_all(&bucket), 1);
        clock.advance(Duration::from_secs(60));
        assert_eq!(take_all(&bucket), 5);
    }

    #[test]
    fn a_burst_of_zero_admits_nothing_and_a_rate_of_zero_its_burst() {
        let clock = FakeRelativeClock::default();
        let closed = |per_second| TokenBucket::new(RateLimit { per_second, burst: 0 }, clock.clone());
        let (closed, drained) =
            ([closed(0), closed(10)], TokenBucket::new(RateLimit { per_second: 0, burst: 2 }, clock.clone()));
        assert_eq!(take_all(&drained), 2);
        clock.advance(Duration::from_secs(60));
        assert_eq!((take_all(&drained), take_all(&closed[0]), take_all(&closed[1])), (0, 0, 0));
    }
}
