//! Catch-up of a connection with its channels: sends missed messages in order, then resumes live delivery, without
//! repeating a message.
//!
//! ```text
//! pause ──► read heads ──► read and send pages ──► resume ── Live ──► done
//!                                ▲                    │
//!                                └─── HeadAdvanced ───┘
//! ```
//!
//! Invariant: every paused channel is resumed, also after an error, unless the connection is gone. Every range of
//! messages that is skipped between the position of the client and live delivery is reported by a `gap` at its place in
//! the order. The messages sent are limited in number, bytes and time ([`crate::limits`]).

mod resume_writer;

use bytes::Bytes;
use tracing::warn;

use self::resume_writer::ResumeWriter;
use super::cost;
use crate::app::{ActionError, EventCaller, MessagingApp};
use crate::channel::{Channel, Offset, Position};
use crate::frame::{ChannelRequest, ClientPosition, GapReason, MessageFrame, ResumedChannel};
use crate::limits;
use crate::ports::{DeliveryOutcome, LogEntry, LogRange, LogSlice, ResumeOutcome};

/// Maximum rounds of reading a channel whose head keeps advancing, before the rest is reported as a gap.
const MAX_CATCH_UP_ROUNDS: usize = 16;

/// Result of the catch-up of one channel.
#[derive(Debug, Clone)]
pub(super) struct CaughtUpChannel {
    position: Position,
    count: u64,
}

impl From<CaughtUpChannel> for ResumedChannel {
    fn from(channel: CaughtUpChannel) -> Self {
        Self { position: channel.position, count: channel.count }
    }
}

/// Progress of the catch-up of one channel.
struct CatchUpCursor {
    channel: Channel,
    /// Position of the client, until [`find_start`] takes it. A client without a position starts at the head.
    since: Option<ClientPosition>,
    /// Everything up to this position was sent or reported as a gap.
    position: Position,
    /// Newest known head of the channel.
    head: Position,
    count: u64,
    paused: bool,
}

/// Catches the connection up from the positions in `requests` to live delivery. Sends `welcome` first, after all
/// channels are paused, so that no live message precedes it. `heads` are the heads of the channels before this call.
pub(super) async fn catch_up(
    app: &MessagingApp,
    caller: &EventCaller,
    requests: &[ChannelRequest],
    heads: Vec<Position>,
    welcome: Option<Bytes>,
) -> Result<Vec<CaughtUpChannel>, ActionError> {
    let cursor = |(request, head): (&ChannelRequest, Position)| CatchUpCursor::new(caller, request, head);
    let mut cursors: Vec<CatchUpCursor> = requests.iter().zip(heads).map(cursor).collect();
    let mut writer = ResumeWriter::new(app, caller);
    pause_delivery(app, caller, &mut cursors).await?;
    let outcome = run_catch_up(&mut writer, &mut cursors, welcome).await;
    cost::charge_bytes(app, caller, writer.sent_bytes);
    if let Err(error) = outcome {
        // A connection that is gone has no paused channels.
        for cursor in cursors.iter_mut().filter(|cursor| cursor.paused && !error.is_connection_gone()) {
            resume_with_gap(&mut writer, cursor).await;
        }
        return Err(error);
    }
    Ok(cursors.into_iter().map(|CatchUpCursor { position, count, .. }| CaughtUpChannel { position, count }).collect())
}

async fn pause_delivery(
    app: &MessagingApp,
    caller: &EventCaller,
    cursors: &mut [CatchUpCursor],
) -> Result<(), ActionError> {
    if cursors.is_empty() {
        return Ok(());
    }
    let channels: Vec<Channel> = cursors.iter().map(|cursor| cursor.channel.clone()).collect();
    if app.delivery.pause_channels(&caller.connection, &channels).await? == DeliveryOutcome::ConnectionGone {
        return Err(ActionError::connection_gone());
    }
    cursors.iter_mut().for_each(|cursor| cursor.paused = true);
    Ok(())
}

async fn run_catch_up(
    writer: &mut ResumeWriter<'_>,
    cursors: &mut [CatchUpCursor],
    welcome: Option<Bytes>,
) -> Result<(), ActionError> {
    if let Some(welcome) = welcome {
        writer.send_frame(welcome).await?;
    }
    refresh_heads(writer, cursors).await?;
    for cursor in cursors {
        find_start(writer, cursor).await?;
        send_until_live(writer, cursor).await?;
    }
    Ok(())
}

/// Reads the heads again. Heads read after the pause guarantee that no message between the pages and live delivery is
/// missed. Where nothing is paused, as on AWS, they must also be read after `welcome`, because a client ignores
/// messages of these channels before `welcome`.
async fn refresh_heads(writer: &ResumeWriter<'_>, cursors: &mut [CatchUpCursor]) -> Result<(), ActionError> {
    if cursors.is_empty() {
        return Ok(());
    }
    let channels: Vec<Channel> = cursors.iter().map(|cursor| cursor.channel.clone()).collect();
    let heads = writer.app.log.heads(&channels).await?;
    cursors.iter_mut().zip(heads).for_each(|(cursor, head)| cursor.reset_to(head));
    Ok(())
}

/// Sets the cursor to the position of the client, or to the oldest message that will be sent. A second call does
/// nothing.
async fn find_start(writer: &mut ResumeWriter<'_>, cursor: &mut CatchUpCursor) -> Result<(), ActionError> {
    let Some(since) = cursor.since.take() else { return Ok(()) };
    let head = cursor.head.clone();
    let is_stale = since.epoch.is_some_and(|epoch| epoch != head.epoch) || since.offset > head.offset;
    let offset = if is_stale { Offset::START } else { since.offset };
    cursor.position = Position { epoch: head.epoch, offset };
    let oldest = Offset(head.offset.0.saturating_sub(writer.app.limits.resume_messages)).max(offset);
    if is_stale {
        writer.send_gap(&cursor.channel.name, &mut cursor.position, oldest, GapReason::Epoch).await
    } else {
        skip_to(writer, cursor, oldest, GapReason::TooMany).await
    }
}

/// Sends missed messages until live delivery is resumed.
async fn send_until_live(writer: &mut ResumeWriter<'_>, cursor: &mut CatchUpCursor) -> Result<(), ActionError> {
    for round in 0..2 * MAX_CATCH_UP_ROUNDS {
        let reason =
            if round < MAX_CATCH_UP_ROUNDS { send_missed_messages(writer, cursor).await? } else { GapReason::TooMany };
        skip_to(writer, cursor, cursor.head.offset, reason).await?;
        match writer.resume_channel(&cursor.channel, &cursor.position).await? {
            ResumeOutcome::Live => {
                cursor.paused = false;
                return Ok(());
            }
            ResumeOutcome::HeadAdvanced(offset) => cursor.head.offset = cursor.head.offset.max(offset),
        }
    }
    Err(ActionError::unavailable("resuming a channel with this much traffic"))
}

/// Sends pages up to the head. Returns the reason to report if it stopped before the head.
async fn send_missed_messages(
    writer: &mut ResumeWriter<'_>,
    cursor: &mut CatchUpCursor,
) -> Result<GapReason, ActionError> {
    while cursor.position.offset < cursor.head.offset {
        if writer.budget_exhausted() {
            return Ok(GapReason::TooMany);
        }
        let range = LogRange::After(cursor.position.offset);
        let slice =
            writer.app.log.read(&cursor.channel, range, limits::MAX_PAGE_ENTRIES, limits::MAX_PAGE_BYTES).await?;
        if slice.head.epoch != cursor.position.epoch {
            restart_in_epoch(writer, cursor, &slice).await?;
            continue;
        }
        skip_to(writer, cursor, Offset(slice.first.0.saturating_sub(1)), GapReason::Trimmed).await?;
        if slice.entries.is_empty() {
            return Ok(GapReason::Unavailable);
        }
        for entry in &slice.entries {
            if writer.budget_exhausted() {
                return Ok(GapReason::TooMany);
            }
            send_entry(writer, cursor, entry).await?;
        }
    }
    Ok(GapReason::TooMany)
}

async fn send_entry(
    writer: &mut ResumeWriter<'_>,
    cursor: &mut CatchUpCursor,
    entry: &LogEntry,
) -> Result<(), ActionError> {
    writer.send_message(&MessageFrame::from_entry(&cursor.channel.name, &cursor.position.epoch, entry)).await?;
    cursor.position.offset = entry.offset;
    cursor.count += 1;
    Ok(())
}

/// Handles a log that was reset while it was read: messages already sent remain valid, and the new epoch is sent from
/// its start.
async fn restart_in_epoch(
    writer: &mut ResumeWriter<'_>,
    cursor: &mut CatchUpCursor,
    slice: &LogSlice,
) -> Result<(), ActionError> {
    cursor.head = slice.head.clone();
    cursor.position = Position { epoch: slice.head.epoch.clone(), offset: Offset::START };
    writer.send_gap(&cursor.channel.name, &mut cursor.position, Offset::START, GapReason::Epoch).await
}

/// Skips messages up to `to` and reports them as a gap, if there are any.
async fn skip_to(
    writer: &mut ResumeWriter<'_>,
    cursor: &mut CatchUpCursor,
    to: Offset,
    reason: GapReason,
) -> Result<(), ActionError> {
    if cursor.position.offset < to {
        writer.send_gap(&cursor.channel.name, &mut cursor.position, to, reason).await?;
    }
    Ok(())
}

/// Resumes live delivery after an error and reports a gap for everything that was not sent. A further error is only
/// logged, because the client receives the first one and resumes again.
async fn resume_with_gap(writer: &mut ResumeWriter<'_>, cursor: &mut CatchUpCursor) {
    let mut outcome = find_start(writer, cursor).await;
    for _ in 0..MAX_CATCH_UP_ROUNDS {
        let skipped = skip_to(writer, cursor, cursor.head.offset, GapReason::Unavailable).await;
        outcome = outcome.and(skipped);
        match writer.resume_channel(&cursor.channel, &cursor.position).await {
            Ok(ResumeOutcome::Live) => {
                cursor.paused = false;
                break;
            }
            Ok(ResumeOutcome::HeadAdvanced(offset)) => cursor.head.offset = cursor.head.offset.max(offset),
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    if outcome.is_err() || cursor.paused {
        warn!(connection.id = %writer.caller.connection, "recovery of a failed resume failed: a gap was not sent, or delivery is still paused");
    }
}

impl CatchUpCursor {
    fn new(caller: &EventCaller, request: &ChannelRequest, head: Position) -> Self {
        Self {
            channel: request.channel.clone().in_tenant(caller.identity.tenant.clone()),
            since: request.since.clone(),
            position: head.clone(),
            head,
            count: 0,
            paused: false,
        }
    }

    /// Moves position and head to `head`, before the catch-up starts.
    fn reset_to(&mut self, head: Position) {
        self.position = head.clone();
        self.head = head;
    }
}

#[cfg(test)]
mod tests;
