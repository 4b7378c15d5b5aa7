//! Configured rate limits. `access::throttle` enforces them.

use std::collections::BTreeMap;

use gateway::quotas::RateLimit;

/// Rate limits of the API; unset values are those of the quota profile.
#[derive(Debug, Clone, Default)]
pub struct ThrottleConfig {
    /// Handshakes, messages and `@connections` requests together.
    pub requests: RateConfig,
    /// New connections.
    pub connections: RateConfig,
    /// Messages of each connection.
    pub connection_messages: RateConfig,
    /// Handshakes and messages of each user; unset values are half of those of `requests` for the messaging application.
    pub user_requests: RateConfig,
    /// New connections of each user; unset values are half of those of `connections` for the messaging application.
    pub user_connections: RateConfig,
    /// Rejected requests of each client address.
    pub address_rejections: RateConfig,
    /// Units of work that one connection's actions may cause.
    pub actions: RateConfig,
    /// Units of work that the actions of one user's connections may cause together.
    pub user_actions: RateConfig,
    /// Limits of single routes, by route key.
    pub routes: BTreeMap<String, RateLimit>,
}

/// A rate limit whose parts may be unset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateConfig {
    pub per_second: Option<PerSecond>,
    /// Burst size, in requests.
    pub burst: Option<u32>,
}

/// Rate in requests per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PerSecond {
    Unlimited,
    Limited(u32),
}

impl RateConfig {
    /// No limit, regardless of the profile.
    pub const UNLIMITED: Self = Self { per_second: Some(PerSecond::Unlimited), burst: None };

    /// Returns the effective limit: the configured parts, completed from the profile. A configured rate without a burst
    /// gets a burst of one second's worth; a burst without any rate has no effect.
    #[must_use]
    pub fn or_profile_rate(self, profile: Option<RateLimit>) -> Option<RateLimit> {
        match self.per_second {
            Some(PerSecond::Unlimited) => None,
            Some(PerSecond::Limited(per_second)) => {
                Some(RateLimit { per_second, burst: self.burst.unwrap_or(per_second) })
            }
            None => profile.map(|rate| RateLimit { burst: self.burst.unwrap_or(rate.burst), ..rate }),
        }
    }
}
