//! Budgets of accepted requests per user: the handshakes and messages of all connections of one user to this process.
//!
//! Without them the connections of one user could use up the rates of the whole API, which count the requests of all
//! users. A connection holds the budget of its user, so a message costs one atomic operation and no look-up. A budget
//! survives the connections of its user until it is full again, so reconnecting does not renew it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use foldhash::fast::RandomState;
use gateway::authorizer::{AuthorizerContext, ContextValue};
use gateway::quotas::RateLimit;
use governor::clock::DefaultClock;
use handlers::identity::TENANT_KEY;

use super::throttle::TokenBucket;

/// Interval of the search for budgets that no connection uses, which a handshake performs.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// Limits of one user's requests to this process; `None` admits all.
#[derive(Debug, Clone, Copy, Default)]
pub struct UserLimits {
    /// Handshakes and messages.
    pub requests: Option<RateLimit>,
    /// New connections.
    pub connections: Option<RateLimit>,
}

/// Budget of one user.
pub struct UserBudget {
    requests: Option<TokenBucket>,
    connections: Option<TokenBucket>,
}

/// Budgets of the users that are connected or have been recently: one entry per user, none without limits.
pub(super) struct UserBudgets {
    limits: UserLimits,
    entries: DashMap<UserKey, BudgetEntry, RandomState>,
    started: Instant,
    /// Time of the last sweep, in seconds since `started`.
    last_sweep: AtomicU64,
}

/// Tenant and principal of an authorizer's result. The tenant is empty for functions that set none.
#[derive(PartialEq, Eq, Hash)]
struct UserKey {
    tenant: Box<str>,
    principal: Box<str>,
}

struct BudgetEntry {
    budget: Arc<UserBudget>,
    /// Time of the first sweep that found no connection of the user.
    unused_since: Option<Instant>,
}

impl UserLimits {
    /// Returns the time in which an empty budget is full again.
    fn refill_time(self) -> Duration {
        let time = |rate: RateLimit| Duration::from_secs(u64::from(rate.burst.div_ceil(rate.per_second.max(1))));
        self.requests.into_iter().chain(self.connections).map(time).max().unwrap_or_default()
    }
}

impl UserBudget {
    fn new(limits: UserLimits) -> Self {
        let bucket = |rate: Option<RateLimit>| rate.map(|rate| TokenBucket::new(rate, DefaultClock::default()));
        Self { requests: bucket(limits.requests), connections: bucket(limits.connections) }
    }

    /// Takes a message. Returns `false` if the budget is used up.
    pub fn admits_message(&self) -> bool {
        self.requests.as_ref().is_none_or(TokenBucket::take_token)
    }

    /// Takes a handshake. Returns `false` if the budget is used up.
    pub fn admits_connection(&self) -> bool {
        self.connections.as_ref().is_none_or(TokenBucket::take_token) && self.admits_message()
    }
}

impl UserBudgets {
    pub(super) fn new(limits: UserLimits) -> Self {
        Self { limits, entries: DashMap::default(), started: Instant::now(), last_sweep: AtomicU64::new(0) }
    }

    /// Returns the budget of the user of a connection; `None` without limits, or without an authorizer.
    pub(super) fn budget_of(&self, user: Option<&AuthorizerContext>) -> Option<Arc<UserBudget>> {
        let user = user.filter(|_| self.limits.requests.is_some() || self.limits.connections.is_some())?;
        let now = Instant::now();
        self.sweep_if_due(now);
        let tenant = user.value_of(TENANT_KEY).and_then(ContextValue::as_text).unwrap_or_default();
        let key = UserKey { tenant: tenant.into(), principal: user.principal_id().into() };
        let mut entry = self
            .entries
            .entry(key)
            .or_insert_with(|| BudgetEntry { budget: Arc::new(UserBudget::new(self.limits)), unused_since: None });
        entry.unused_since = None;
        Some(entry.budget.clone())
    }

    /// Evicts unused budgets, at most once per [`SWEEP_INTERVAL`].
    fn sweep_if_due(&self, now: Instant) {
        let (last, elapsed) = (self.last_sweep.load(Ordering::Relaxed), now.duration_since(self.started).as_secs());
        let is_due = elapsed.saturating_sub(last) >= SWEEP_INTERVAL.as_secs();
        if is_due && self.last_sweep.compare_exchange(last, elapsed, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.evict_unused(now);
        }
    }

    /// Evicts the budgets that are full again, because no connection has used them since a sweep before.
    fn evict_unused(&self, now: Instant) {
        let refill_time = self.limits.refill_time();
        self.entries.retain(|_, entry| {
            if Arc::strong_count(&entry.budget) > 1 {
                entry.unused_since = None;
                return true;
            }
            let since = *entry.unused_since.get_or_insert(now);
            now.duration_since(since) <= refill_time
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: RateLimit = RateLimit { per_second: 1, burst: 3 };

    fn user(tenant: &str, principal: &str) -> AuthorizerContext {
        AuthorizerContext::new(principal, vec![(TENANT_KEY.into(), ContextValue::Text(tenant.into()))], 0)
    }

    fn budgets() -> UserBudgets {
        let connections = Some(RateLimit { per_second: 1, burst: 1 });
        UserBudgets::new(UserLimits { requests: Some(RATE), connections })
    }

    fn take_messages(budgets: &UserBudgets, user: &AuthorizerContext) -> usize {
        let budget = budgets.budget_of(Some(user)).unwrap();
        (0..10).filter(|_| budget.admits_message()).count()
    }

    #[test]
    fn the_connections_of_a_user_share_a_budget_and_users_do_not() {
        let budgets = budgets();
        let alice = budgets.budget_of(Some(&user("acme", "alice"))).unwrap();
        assert!(alice.admits_connection() && !alice.admits_connection(), "one new connection");
        assert_eq!(take_messages(&budgets, &user("acme", "alice")), 2, "a handshake is a request");
        assert_eq!(take_messages(&budgets, &user("acme", "bob")), 3);
        assert_eq!(take_messages(&budgets, &user("other", "alice")), 3, "another tenant's user");
        assert!(budgets.budget_of(None).is_none(), "no authorizer");
        assert!(UserBudgets::new(UserLimits::default()).budget_of(Some(&user("acme", "alice"))).is_none());
    }

    #[test]
    fn a_budget_is_evicted_when_it_is_unused_and_full_again() {
        let (budgets, now) = (budgets(), Instant::now());
        let connection = budgets.budget_of(Some(&user("acme", "alice")));
        budgets.budget_of(Some(&user("acme", "bob")));
        budgets.evict_unused(now);
        budgets.evict_unused(now + Duration::from_secs(3));
        assert_eq!(budgets.entries.len(), 2, "not full yet");
        budgets.evict_unused(now + Duration::from_secs(4));
        assert_eq!(budgets.entries.len(), 1, "bob has no connection");
        drop(connection);
        budgets.evict_unused(now + Duration::from_secs(5));
        budgets.evict_unused(now + Duration::from_secs(9));
        assert_eq!(budgets.entries.len(), 0);
    }

    #[test]
    fn a_sweep_runs_once_per_interval() {
        let budgets = budgets();
        budgets.budget_of(Some(&user("acme", "alice")));
        let later = budgets.started + SWEEP_INTERVAL;
        budgets.sweep_if_due(later - Duration::from_secs(1));
        let is_marked = || budgets.entries.iter().all(|entry| entry.unused_since.is_some());
        assert!(!is_marked());
        budgets.sweep_if_due(later);
        assert!(is_marked());
        budgets.sweep_if_due(later + Duration::from_secs(30));
        assert_eq!(budgets.entries.len(), 1);
        budgets.sweep_if_due(later + SWEEP_INTERVAL);
        assert_eq!(budgets.entries.len(), 0);
    }
}
