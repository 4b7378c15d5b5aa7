//! The action `history`: reads one page of a channel, from the newest page backwards.

use super::{access, cost};
use crate::app::{ActionError, EventCaller, MessagingApp};
use crate::frame::{EncodeFrame, HistoryEntry, HistoryFrame, HistoryRequest};
use crate::id::MessageId;
use crate::limits;
use crate::ports::{LogRange, LogSlice};

pub(super) async fn read_history(
    app: &MessagingApp,
    caller: &EventCaller,
    id: Option<&MessageId>,
    request: HistoryRequest,
) -> Result<String, ActionError> {
    let HistoryRequest { channel, before, limit } = request;
    access::check_read(app, caller, std::slice::from_ref(&channel)).await?;
    let channel = channel.in_tenant(caller.identity.tenant.clone());
    let slice = app.log.read(&channel, LogRange::Before(before), limit, limits::MAX_PAGE_BYTES).await?;
    let history = HistoryFrame {
        id: id.map(MessageId::as_str),
        channel: &channel.name,
        epoch: &slice.head.epoch,
        messages: slice.entries.iter().map(HistoryEntry::from_entry).collect(),
        first: slice.first,
        head: slice.head.offset,
        more: has_more(&slice),
    };
    let text = history.encode_text();
    cost::charge_bytes(app, caller, text.len());
    Ok(text)
}

/// Returns whether the log has older entries than the slice.
fn has_more(slice: &LogSlice) -> bool {
    slice.entries.first().is_some_and(|entry| entry.offset > slice.first)
}
