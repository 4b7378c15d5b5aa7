//! Budget of each connection for actions that read much or join channels.
//!
//! A token bucket by the generic cell rate algorithm: its whole state is the time at which it will be full again. It
//! is stored in the connection's membership, so it costs no look-up by name and ends with the connection.

use std::sync::Arc;
use std::time::Duration;

use gateway::quotas::RateLimit;
use handlers::id::ConnectionId;
use handlers::ports::ActionBudget;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::ChannelDelivery;
use super::membership::Membership;
use crate::connection::Connection;

/// Budgets of the connections of this process.
pub struct ActionBudgets {
    delivery: ChannelDelivery,
    limit: Option<RateLimit>,
}

/// Units that one connection may use.
#[derive(Debug, Default)]
pub(super) struct UnitBucket {
    /// Time at which the bucket is full again; `None` while it was never used.
    full_at: Mutex<Option<Instant>>,
}

impl ActionBudgets {
    /// Limits the connections of `delivery` to `limit`, in units; without a limit all actions are admitted.
    #[must_use]
    pub const fn new(delivery: ChannelDelivery, limit: Option<RateLimit>) -> Self {
        Self { delivery, limit }
    }

    fn find_connection(&self, id: &ConnectionId) -> Option<(RateLimit, Arc<Connection>)> {
        Some((self.limit?, self.delivery.find_by_connection_id(id)?))
    }
}

impl ActionBudget for ActionBudgets {
    fn take(&self, id: &ConnectionId, cost: u32) -> Result<(), Duration> {
        let Some((limit, connection)) = self.find_connection(id) else { return Ok(()) };
        let Some(membership) = Membership::of(&connection) else { return Ok(()) };
        let outcome = membership.budget.take(limit, cost, Instant::now());
        if outcome.is_err() {
            self.delivery.shared.metrics.limited_actions.inc();
        }
        outcome
    }

    fn charge(&self, id: &ConnectionId, cost: u32) {
        let Some((limit, connection)) = self.find_connection(id) else { return };
        if let Some(membership) = Membership::of(&connection) {
            membership.budget.charge(limit, cost, Instant::now());
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
    use crate::hub::tests::{connect, hub, id};

    const LIMIT: RateLimit = RateLimit { per_second: 10, burst: 100 };

    #[tokio::test(start_paused = true)]
    async fn it_passes_the_contract_suite() {
        run_suite(async || {
            let (delivery, _) = hub();
            let open = |sequence, user| id(&connect(&delivery, sequence, user, Role::User));
            let connections = [open(1, "alice"), open(2, "bob")];
            BudgetFixture {
                budget: Arc::new(ActionBudgets::new(delivery, Some(LIMIT))),
                connections,
                burst: Some(LIMIT.burst),
            }
        })
        .await;
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
