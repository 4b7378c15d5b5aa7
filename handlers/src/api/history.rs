//! `GET /v1/channels/{channel}/history`: one page of a channel's log, upwards from an offset or downwards from one.

use bytes::Bytes;
use http::{Response, Uri};
use serde::Serialize;

use super::caller::Caller;
use super::json;
use super::problem::Problem;
use super::query::Query;
use crate::app::App;
use crate::channel::{ChannelName, Epoch, Offset};
use crate::frame::HistoryEntry;
use crate::limits::{PAGE_BYTES, PAGE_ENTRIES};
use crate::ports::{Range, Slice};

/// The page; its messages have the form that the `history` frame gives them.
#[derive(Serialize)]
struct Page<'a> {
    channel: ChannelName,
    epoch: &'a Epoch,
    first: Offset,
    head: Offset,
    messages: Vec<HistoryEntry<'a>>,
    more: bool,
}

/// Answers the call. A channel that nobody wrote to has an empty history.
pub(super) async fn answer(
    app: &App,
    caller: &Caller,
    name: ChannelName,
    uri: &Uri,
) -> Result<Response<Bytes>, Problem> {
    let query = Query::parse(uri, &["before", "after", "limit"])?;
    let range = range(&query)?;
    let channel = name.clone().within(caller.tenant.clone());
    let slice = app.log.read(&channel, range, query.limit(PAGE_ENTRIES)?, PAGE_BYTES).await?;
    let more = more(range, &slice);
    Ok(json(&Page {
        channel: name,
        epoch: &slice.head.epoch,
        first: slice.first,
        head: slice.head.offset,
        messages: slice.entries.iter().map(HistoryEntry::entry).collect(),
        more,
    }))
}

fn range(query: &Query) -> Result<Range, Problem> {
    let offset = |text: &str| text.parse().map(Offset).map_err(|_| "must be an offset, a whole number from 0");
    match (query.parsed("before", offset)?, query.parsed("after", offset)?) {
        (Some(_), Some(_)) => Err(Problem::parameter("after", "cannot be combined with before")),
        (_, Some(after)) => Ok(Range::After(after)),
        (before, None) => Ok(Range::Before(before)),
    }
}

/// Whether the log has more in the direction that was read.
fn more(range: Range, slice: &Slice) -> bool {
    match (range, slice.entries.first(), slice.entries.last()) {
        (Range::After(_), _, Some(last)) => last.offset < slice.head.offset,
        (Range::Before(_), Some(first), _) => first.offset > slice.first,
        _ => false,
    }
}
