//! `GET /v1/channels/{channel}/history`: one page of a channel's log, after an offset or before one.

use bytes::Bytes;
use http::{Response, Uri};
use serde::Serialize;

use super::caller::ApiCaller;
use super::json_response;
use super::problem::ProblemDetails;
use super::query::ListingQuery;
use crate::app::MessagingApp;
use crate::channel::{ChannelName, Epoch, Offset};
use crate::frame::HistoryEntry;
use crate::limits::{MAX_PAGE_BYTES, MAX_PAGE_ENTRIES};
use crate::ports::{LogRange, LogSlice};

/// Response body. Messages have the same fields as in the `history` frame.
#[derive(Serialize)]
struct HistoryPage<'a> {
    channel: ChannelName,
    epoch: &'a Epoch,
    first: Offset,
    head: Offset,
    messages: Vec<HistoryEntry<'a>>,
    more: bool,
}

/// Handles the request. A channel without messages has an empty history.
pub(super) async fn channel_history(
    app: &MessagingApp,
    caller: &ApiCaller,
    name: ChannelName,
    uri: &Uri,
) -> Result<Response<Bytes>, ProblemDetails> {
    let query = ListingQuery::parse(uri, &["before", "after", "limit"])?;
    let range = requested_range(&query)?;
    let channel = name.clone().in_tenant(caller.tenant.clone());
    let slice = app.log.read(&channel, range, query.page_limit(MAX_PAGE_ENTRIES)?, MAX_PAGE_BYTES).await?;
    let more = has_more(range, &slice);
    Ok(json_response(&HistoryPage {
        channel: name,
        epoch: &slice.head.epoch,
        first: slice.first,
        head: slice.head.offset,
        messages: slice.entries.iter().map(HistoryEntry::from_entry).collect(),
        more,
    }))
}

fn requested_range(query: &ListingQuery) -> Result<LogRange, ProblemDetails> {
    let offset = |text: &str| text.parse().map(Offset).map_err(|_| "must be an offset, a whole number from 0");
    match (query.parse_value("before", offset)?, query.parse_value("after", offset)?) {
        (Some(_), Some(_)) => Err(ProblemDetails::invalid_parameter("after", "cannot be combined with before")),
        (_, Some(after)) => Ok(LogRange::After(after)),
        (before, None) => Ok(LogRange::Before(before)),
    }
}

/// Returns whether the log has more messages in the direction of reading.
fn has_more(range: LogRange, slice: &LogSlice) -> bool {
    match (range, slice.entries.first(), slice.entries.last()) {
        (LogRange::After(_), _, Some(last)) => last.offset < slice.head.offset,
        (LogRange::Before(_), Some(first), _) => first.offset > slice.first,
        _ => false,
    }
}
