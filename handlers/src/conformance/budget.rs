//! The contract of [`ActionBudget`].

use std::sync::Arc;
use std::time::Duration;

use crate::id::ConnectionId;
use crate::ports::ActionBudget;

/// Budgets under test, with connections that have used nothing.
pub struct BudgetFixture {
    pub budget: Arc<dyn ActionBudget>,
    /// Two open connections, as the adapter knows them.
    pub connections: [ConnectionId; 2],
    /// Units that a connection may use at once; `None` if the adapter sets no limit.
    pub burst: Option<u32>,
}

/// Runs every case, each on a new fixture. The adapter's time must not pass during a case.
pub async fn run_suite(fresh: impl AsyncFn() -> BudgetFixture) {
    a_connection_may_use_its_burst(fresh().await);
    a_rejected_action_takes_nothing(fresh().await);
    charged_units_delay_later_actions(fresh().await);
    connections_have_separate_budgets(fresh().await);
    an_unknown_connection_has_no_limit(fresh().await);
}

impl BudgetFixture {
    fn take(&self, cost: u32) -> Result<(), Duration> {
        self.budget.take(&self.connections[0], cost)
    }
}

/// The burst is available at once. A rejection has the time to wait, which is not zero.
pub fn a_connection_may_use_its_burst(fixture: BudgetFixture) {
    let burst = fixture.burst.unwrap_or(u32::MAX);
    assert_eq!(fixture.take(burst - 1), Ok(()));
    assert_eq!(fixture.take(1), Ok(()), "the whole burst is available");
    match fixture.take(1) {
        Ok(()) => assert_eq!(fixture.burst, None, "more than the burst was taken"),
        Err(wait) => assert!(fixture.burst.is_some() && !wait.is_zero(), "rejected with a wait of {wait:?}"),
    }
}

/// A rejected action leaves the remaining units to smaller ones.
pub fn a_rejected_action_takes_nothing(fixture: BudgetFixture) {
    let Some(burst) = fixture.burst else { return };
    assert_eq!(fixture.take(burst - 1), Ok(()));
    assert!(fixture.take(2).is_err());
    assert_eq!(fixture.take(1), Ok(()), "the rejected action took units");
}

/// Work whose amount was known only afterwards counts.
pub fn charged_units_delay_later_actions(fixture: BudgetFixture) {
    let Some(burst) = fixture.burst else { return };
    fixture.budget.charge(&fixture.connections[0], burst);
    let wait = fixture.take(1).expect_err("the burst is used up");
    fixture.budget.charge(&fixture.connections[0], 1);
    assert!(fixture.take(1).expect_err("the budget is negative") > wait, "a debt takes longer");
}

/// One client never uses the units of another.
pub fn connections_have_separate_budgets(fixture: BudgetFixture) {
    fixture.budget.charge(&fixture.connections[0], u32::MAX);
    assert_eq!(fixture.budget.take(&fixture.connections[1], 1), Ok(()));
}

/// An action of a connection that has closed is not rejected.
pub fn an_unknown_connection_has_no_limit(fixture: BudgetFixture) {
    let unknown = super::connection_id("unknown");
    fixture.budget.charge(&unknown, u32::MAX);
    assert_eq!(fixture.budget.take(&unknown, u32::MAX), Ok(()));
}
