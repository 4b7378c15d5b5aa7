//! The budget of each connection, and of its user, for actions that cause much more work than their frame has bytes.

use std::time::Duration;

use crate::id::ConnectionId;

/// Budget of each connection, and of all connections of a user, for reading and for joining channels, in units (see
/// [`ClientAction::base_units`](crate::frame::ClientAction::base_units)).
///
/// A frame of 100 bytes can request megabytes of messages, or the members of 64 channels. The budget limits what one
/// client can cause, whatever the rate of its messages. Both methods read memory only; a connection that is not known
/// has no limit.
///
/// ```
/// use handlers::id::ConnectionId;
/// use handlers::ports::{ActionBudget, UnlimitedBudget};
///
/// let connection = ConnectionId::parse("abcDEF-_1234567=")?;
/// assert_eq!(UnlimitedBudget.take(&connection, 64), Ok(()));
/// # Ok::<_, handlers::id::InvalidIdError>(())
/// ```
pub trait ActionBudget: Send + Sync {
    /// Takes `cost` units before an action.
    ///
    /// # Errors
    /// The time until the units are available. Nothing is taken then.
    fn take(&self, connection: &ConnectionId, cost: u32) -> Result<(), Duration>;

    /// Deducts units of work whose amount is known only afterwards. The budget may become negative, so that later
    /// actions wait for it.
    fn charge(&self, connection: &ConnectionId, cost: u32);
}

/// The budget of deployments whose processes have no memory of a connection, such as Lambda functions.
#[derive(Debug, Clone, Copy, Default)]
pub struct UnlimitedBudget;

impl ActionBudget for UnlimitedBudget {
    fn take(&self, _: &ConnectionId, _: u32) -> Result<(), Duration> {
        Ok(())
    }

    fn charge(&self, _: &ConnectionId, _: u32) {}
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::conformance::budget::{BudgetFixture, run_suite};

    #[tokio::test]
    async fn it_passes_the_contract_suite() {
        let connections = ["a", "b"].map(|id| ConnectionId::parse(&format!("{id:A<15}=")).unwrap());
        run_suite(async || BudgetFixture {
            budget: Arc::new(UnlimitedBudget),
            connections: connections.clone(),
            burst: None,
        })
        .await;
    }
}
