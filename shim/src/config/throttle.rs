//! How often the API may be used.
//!
//! Invariant: what is not set is the profile's. Nothing here counts; `access::throttle` does.

use std::collections::BTreeMap;

use gateway::quotas::RateLimit;

/// How often the API may be used; what is not set is the profile's.
#[derive(Debug, Clone, Default)]
pub struct ThrottleConfig {
    /// Requests of every kind.
    pub requests: RateConfig,
    /// New connections.
    pub connections: RateConfig,
    /// Single routes, by key.
    pub routes: BTreeMap<String, RateLimit>,
}

/// A rate as far as it is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateConfig {
    /// Per second.
    pub per_second: Option<PerSecond>,
    /// At once.
    pub burst: Option<u32>,
}

/// How often per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PerSecond {
    /// Without a limit.
    Unlimited,
    /// So many.
    Limited(u32),
}

impl RateConfig {
    /// No limit, whatever the profile says.
    pub const UNLIMITED: Self = Self { per_second: Some(PerSecond::Unlimited), burst: None };

    /// What is set, over the profile's rate. A rate without a burst has a burst of one second; a burst without any rate
    /// limits nothing.
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
