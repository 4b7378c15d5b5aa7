//! Budgets of each connection and of each user for actions that read much or join channels.
//!
//! A token bucket by the generic cell rate algorithm: its whole state is the time at which it will be full again. That
//! of a connection is stored in its membership and ends with it. That of a user is shared by the user's connections to
//! this process, and survives them until it is full again, so that a reconnect does not renew it. Full budgets are
//! evicted with the idle channels; the others are as many as the users that have read within the time that refills a
//! budget.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use foldhash::fast::RandomState;
use gateway::quotas::RateLimit;
use handlers::id::{ConnectionId, TenantId, UserId};
use handlers::identity::Identity;
use handlers::ports::ActionBudget;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::ChannelDelivery;
use super::membership::Membership;
use crate::connection::Connection;

/// Budgets of the connections of this process and of their users.
pub struct ActionBudgets {
    delivery: ChannelDelivery,
    limits: ActionLimits,
}

/// Limits of the actions, in units; `None` admits all.
#[derive(Debug, Clone, Copy, Default)]
pub struct ActionLimits {
    /// Limit of each connection.
    pub connection: Option<RateLimit>,
    /// Limit of the connections of one user together.
    pub user: Option<RateLimit>,
}

/// Budgets of the users that have read recently.
#[derive(Default)]
pub(super) struct UserBudgets(DashMap<(TenantId, UserId), UnitBucket, RandomState>);

/// Units that one connection, or one user, may use.
#[derive(Debug, Default)]
pub(super) struct UnitBucket {
    /// Time at which the bucket is full again; `None` while it was never used.
    full_at: Mutex<Option<Instant>>,
}

impl ActionBudgets {
    /// Limits the connections of `delivery`.
    #[must_use]
    pub const fn new(delivery: ChannelDelivery, limits: ActionLimits) -> Self {
        Self { delivery, limits }
    }

    fn find_connection(&self, id: &ConnectionId) -> Option<Arc<Connection>> {
        let is_limited = self.limits.connection.is_some() || self.limits.user.is_some();
        if is_limited { self.delivery.find_by_connection_id(id) } else { None }
    }

    /// Takes the units from both budgets, or from none.
    fn take_from_both(&self, membership: &Membership, cost: u32, now: Instant) -> Result<(), Duration> {
        let ActionLimits { connection, user } = self.limits;
        if let Some(limit) = connection {
            membership.budget.take(limit, cost, now)?;
        }
        let taken = user.map_or(Ok(()), |limit| {
            self.delivery.shared.user_budgets.with_bucket(&membership.identity, |bucket| bucket.take(limit, cost, now))
        });
        if let (Err(_), Some(limit)) = (taken, connection) {
            membership.budget.give_back(limit, cost);
        }
        taken
    }
}

impl UserBudgets {
    /// Runs `action` on the budget of a user, which is full if the user has read nothing recently.
    fn with_bucket<R>(&self, identity: &Identity, action: impl FnOnce(&UnitBucket) -> R) -> R {
        action(&self.0.entry((identity.tenant.clone(), identity.user.clone())).or_default())
    }

    /// Evicts the budgets that are full.
    pub(super) fn evict_full(&self, now: Instant) {
        self.0.retain(|_, bucket| !bucket.is_full(now));
    }
}

impl ActionBudget for ActionBudgets {
    fn take(&self, id: &ConnectionId, cost: u32) -> Result<(), Duration> {
        let Some(connection) = self.find_connection(id) else { return Ok(()) };
        let Some(membership) = Membership::of(&connection) else { return Ok(()) };
        let outcome = self.take_from_both(membership, cost, Instant::now());
        if outcome.is_err() {
            self.delivery.shared.metrics.limited_actions.inc();
        }
        outcome
    }

    fn charge(&self, id: &ConnectionId, cost: u32) {
        let Some(connection) = self.find_connection(id) else { return };
        let Some(membership) = Membership::of(&connection) else { return };
        let now = Instant::now();
        if let Some(limit) = self.limits.connection {
            membership.budget.charge(limit, cost, now);
        }
        if let Some(limit) = self.limits.user {
            let users = &self.delivery.shared.user_budgets;
            users.with_bucket(&membership.identity, |bucket| bucket.charge(limit, cost, now));
        }
    }
}

impl UnitBucket {
    /// Takes `cost` units, at most the burst, so that every action is admitted by a full bucket. Returns the time until
    /// they are available if the bucket has fewer.
    fn take(&self, limit: RateLimit, cost: u32, now: Instant) -> Result<(), Duration> {
        let mut full_at = self.full_at.lock();
        let filled = full_at.map_or(now, |full_at| full_at.max(now)) + time_for(limit, cost.min(limit.burst));
        let wait = (filled - now).saturating_sub(time_for(limit, limit.burst));
        if !wait.is_zero() {
            return Err(wait);
        }
        *full_at = Some(filled);
        Ok(())
    }

    /// Deducts `cost` units. Beyond an empty bucket, the debt is at most one more burst.
    fn charge(&self, limit: RateLimit, cost: u32, now: Instant) {
        let mut full_at = self.full_at.lock();
        let filled = full_at.map_or(now, |full_at| full_at.max(now)) + time_for(limit, cost.min(limit.burst));
        *full_at = Some(filled.min(now + 2 * time_for(limit, limit.burst)));
    }

    /// Returns units that were just taken.
    fn give_back(&self, limit: RateLimit, cost: u32) {
        let mut full_at = self.full_at.lock();
        *full_at = full_at.and_then(|full_at| full_at.checked_sub(time_for(limit, cost.min(limit.burst))));
    }

    fn is_full(&self, now: Instant) -> bool {
        self.full_at.lock().is_none_or(|full_at| full_at <= now)
    }
}

/// Returns the time in which a bucket receives `units` units. A rate of zero is treated as one unit per second.
fn time_for(limit: RateLimit, units: u32) -> Duration {
    Duration::from_secs(1) * units / limit.per_second.max(1)
}

#[cfg(test)]
mod tests {
    use handlers::conformance::budget::{BudgetFixture, run_suite};
    use handlers::identity::Role;

    use super::*;
    use crate::hub::tests::{close, connect, connect_on_node, hub, id};

    const LIMIT: RateLimit = RateLimit { per_second: 10, burst: 100 };

    #[tokio::test(start_paused = true)]
    async fn it_passes_the_contract_suite() {
        run_suite(async || {
            let (delivery, _) = hub();
            let open = |sequence, user| id(&connect(&delivery, sequence, user, Role::User));
            let connections = [open(1, "alice"), open(2, "bob")];
            BudgetFixture {
                budget: Arc::new(ActionBudgets::new(delivery, ActionLimits { connection: Some(LIMIT), user: None })),
                connections,
                burst: Some(LIMIT.burst),
            }
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_connections_of_a_user_share_a_budget_that_reconnecting_does_not_renew() {
        let (hub, _) = hub();
        let user = RateLimit { per_second: 10, burst: 250 };
        let budgets = ActionBudgets::new(hub.clone(), ActionLimits { connection: Some(LIMIT), user: Some(user) });
        let alice: Vec<_> = (1..=4).map(|number| connect_on_node(&hub, number, 1, "alice", Role::User)).collect();
        assert_eq!(budgets.take(&id(&alice[0]), 100), Ok(()));
        assert_eq!(budgets.take(&id(&alice[0]), 1), Err(Duration::from_millis(100)), "the budget of the connection");
        assert_eq!(budgets.take(&id(&alice[1]), 100), Ok(()));
        assert_eq!(budgets.take(&id(&alice[2]), 60), Err(Duration::from_secs(1)), "50 units of the user are left");
        assert_eq!(budgets.take(&id(&alice[2]), 50), Ok(()), "a rejected action takes nothing from the connection");
        let bob = connect_on_node(&hub, 9, 1, "bob", Role::User);
        assert_eq!(budgets.take(&id(&bob), 100), Ok(()), "other users have their own budget");
        alice.iter().for_each(|connection| close(&hub, connection));
        hub.evict_idle_channels();
        let again = connect_on_node(&hub, 5, 1, "alice", Role::User);
        assert_eq!(budgets.take(&id(&again), 1), Err(Duration::from_millis(100)));
        tokio::time::advance(Duration::from_secs(25)).await;
        assert_eq!(budgets.take(&id(&again), 100), Ok(()));
        tokio::time::advance(Duration::from_secs(25)).await;
        hub.evict_idle_channels();
        assert_eq!(hub.shared.user_budgets.0.len(), 0, "full budgets use no memory");
    }

    #[test]
    fn a_bucket_has_its_burst_and_refills_at_its_rate() {
        let (bucket, now) = (UnitBucket::default(), Instant::now());
        assert_eq!(bucket.take(LIMIT, 64, now), Ok(()));
        assert_eq!(bucket.take(LIMIT, 64, now), Err(Duration::from_millis(2_800)), "28 units are missing");
        assert_eq!(bucket.take(LIMIT, 36, now), Ok(()), "a rejected action takes nothing");
        assert_eq!(bucket.take(LIMIT, 1, now), Err(Duration::from_millis(100)));
        assert_eq!(bucket.take(LIMIT, 1, now + Duration::from_millis(100)), Ok(()));
        assert_eq!(bucket.take(LIMIT, 100, now + Duration::from_secs(3_600)), Ok(()));
        assert!(bucket.take(LIMIT, 1, now + Duration::from_secs(3_600)).is_err(), "a bucket never exceeds its burst");
    }

    #[test]
    fn work_that_was_larger_than_expected_is_paid_later() {
        let (bucket, now) = (UnitBucket::default(), Instant::now());
        assert_eq!(bucket.take(LIMIT, 1, now), Ok(()));
        bucket.charge(LIMIT, 5_000, now);
        assert_eq!(bucket.take(LIMIT, 1, now), Err(Duration::from_millis(200)));
        bucket.charge(LIMIT, 5_000, now);
        bucket.charge(LIMIT, 5_000, now);
        assert_eq!(bucket.take(LIMIT, 1, now), Err(Duration::from_millis(10_100)), "the debt is limited");
    }

    #[test]
    fn an_action_that_costs_more_than_the_burst_is_admitted_by_a_full_bucket() {
        assert_eq!(UnitBucket::default().take(LIMIT, 1_000, Instant::now()), Ok(()));
    }
}
