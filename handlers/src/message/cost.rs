//! Cost of the actions in units of the connection's [`ActionBudget`](crate::ports::ActionBudget).
//!
//! | work | units |
//! |---|---|
//! | the action itself | [`ClientAction::base_units`] |
//! | messages in the answer of `history` or sent by a catch-up | 1 for each 16 KiB |
//! | connection records read for `members` | 1 for each 25 |

use crate::app::{ActionError, EventCaller, MessagingApp};
use crate::frame::ClientAction;

/// Bytes of messages that cost one unit.
const BYTES_PER_UNIT: usize = 16 * 1024;
/// Connection records that cost one unit.
const RECORDS_PER_UNIT: usize = 25;

/// Takes the units that an action costs whatever its result.
///
/// # Errors
/// [`ErrorCode::RateLimited`](crate::frame::ErrorCode::RateLimited), with the time after which the client may repeat
/// the frame.
pub(super) fn take_action(
    app: &MessagingApp,
    caller: &EventCaller,
    action: &ClientAction<'_>,
) -> Result<(), ActionError> {
    match action.base_units() {
        0 => Ok(()),
        count => app.access.budget.take(&caller.connection, units(count)).map_err(ActionError::rate_limited),
    }
}

/// Deducts the units of channels that the frame does not name.
pub(super) fn charge_channels(app: &MessagingApp, caller: &EventCaller, channels: usize) {
    charge(app, caller, channels);
}

/// Deducts the units of messages that were read for the client.
pub(super) fn charge_bytes(app: &MessagingApp, caller: &EventCaller, bytes: usize) {
    charge(app, caller, bytes.div_ceil(BYTES_PER_UNIT));
}

/// Deducts the units of connection records that were read for the client.
pub(super) fn charge_records(app: &MessagingApp, caller: &EventCaller, records: usize) {
    charge(app, caller, records.div_ceil(RECORDS_PER_UNIT));
}

fn charge(app: &MessagingApp, caller: &EventCaller, count: usize) {
    if count > 0 {
        app.access.budget.charge(&caller.connection, units(count));
    }
}

fn units(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
