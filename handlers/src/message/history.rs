//! `history`: reading a channel back, a page at a time, from newest to oldest page.

use super::access;
use crate::app::{App, Caller, Failure};
use crate::frame::{Frame, History, HistoryEntry, HistoryRequest};
use crate::id::MessageId;
use crate::limits;
use crate::ports::{Range, Slice};

pub(super) async fn history(
    app: &App,
    caller: &Caller,
    id: Option<&MessageId>,
    request: HistoryRequest,
) -> Result<String, Failure> {
    let HistoryRequest { channel, before, limit } = request;
    access::check_read(app, caller, std::slice::from_ref(&channel)).await?;
    let channel = channel.within(caller.identity.tenant.clone());
    let slice = app.log.read(&channel, Range::Before(before), limit, limits::PAGE_BYTES).await?;
    let history = History {
        id: id.map(MessageId::as_str),
        channel: &channel.name,
        epoch: &slice.head.epoch,
        messages: slice.entries.iter().map(HistoryEntry::entry).collect(),
        first: slice.first,
        head: slice.head.offset,
        more: has_more(&slice),
    };
    Ok(history.text())
}

/// Whether the log has entries before the slice's.
fn has_more(slice: &Slice) -> bool {
    slice.entries.first().is_some_and(|entry| entry.offset > slice.first)
}
