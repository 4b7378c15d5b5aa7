//! Catching a connection up with channels: what was missed, in order, then live, nothing twice.
//!
//! ```text
//! hold ──► read heads ──► read and send pages ──► release ── Live ──► done
//!                               ▲                    │
//!                               └────── Behind ──────┘
//! ```
//!
//! Invariant: a channel that was held is released, also when something fails on the way, unless the connection ended; and whatever is left out between
//! the client's position and live traffic is told as a `gap` in its place. What is sent is bounded in entries, bytes and
//! time ([`crate::limits`]).

mod resume_writer;

use bytes::Bytes;
use tracing::warn;

use self::resume_writer::ResumeWriter;
use crate::app::{ActionError, EventCaller, MessagingApp};
use crate::channel::{Channel, Offset, Position};
use crate::frame::{ChannelRequest, ClientPosition, GapReason, MessageFrame, ResumedChannel};
use crate::limits;
use crate::ports::{DeliveryOutcome, LogEntry, LogRange, LogSlice, ResumeOutcome};

/// How often a channel that keeps moving on is read after, before the rest is told as a gap.
const MAX_CATCH_UP_ROUNDS: usize = 16;

/// How far one channel was caught up.
#[derive(Debug, Clone)]
pub(super) struct CaughtUpChannel {
    position: Position,
    count: u64,
}

impl From<CaughtUpChannel> for ResumedChannel {
    fn from(caught: CaughtUpChannel) -> Self {
        Self { position: caught.position, count: caught.count }
    }
}

/// Where the work on one channel stands.
struct CatchUpCursor {
    channel: Channel,
    /// The client's position until the work starts there; a client without one starts at the head.
    since: Option<ClientPosition>,
    /// Everything up to here was sent or told as a gap.
    position: Position,
    /// Up to here at least there is something to send.
    head: Position,
    count: u64,
    paused: bool,
}

/// Brings the connection from the positions of `wanted` to live, and says `greeting` first, once nothing live can come
/// before it any more. `heads` are the channels' ends as they were before this call.
pub(super) async fn catch_up(
    app: &MessagingApp,
    caller: &EventCaller,
    wanted: &[ChannelRequest],
    heads: Vec<Position>,
    greeting: Option<Bytes>,
) -> Result<Vec<CaughtUpChannel>, ActionError> {
    let cursor = |(wanted, head): (&ChannelRequest, Position)| CatchUpCursor::new(caller, wanted, head);
    let mut cursors: Vec<CatchUpCursor> = wanted.iter().zip(heads).map(cursor).collect();
    let mut line = ResumeWriter::new(app, caller);
    pause_delivery(app, caller, &mut cursors).await?;
    if let Err(failure) = run_catch_up(&mut line, &mut cursors, greeting).await {
        // Nothing is withheld from a connection that is gone.
        for cursor in cursors.iter_mut().filter(|cursor| cursor.paused && !failure.is_connection_gone()) {
            resume_with_gap(&mut line, cursor).await;
        }
        return Err(failure);
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
    line: &mut ResumeWriter<'_>,
    cursors: &mut [CatchUpCursor],
    greeting: Option<Bytes>,
) -> Result<(), ActionError> {
    if let Some(greeting) = greeting {
        line.send_frame(greeting).await?;
    }
    refresh_heads(line, cursors).await?;
    for cursor in cursors {
        find_start(line, cursor).await?;
        send_until_live(line, cursor).await?;
    }
    Ok(())
}

/// Only ends that are read after the hold leave nothing out between the pages and live traffic. And only those read after
/// the greeting do where nothing is held, as on AWS: there a client ignores what comes before the greeting.
async fn refresh_heads(line: &ResumeWriter<'_>, cursors: &mut [CatchUpCursor]) -> Result<(), ActionError> {
    if cursors.is_empty() {
        return Ok(());
    }
    let channels: Vec<Channel> = cursors.iter().map(|cursor| cursor.channel.clone()).collect();
    let heads = line.app.log.heads(&channels).await?;
    cursors.iter_mut().zip(heads).for_each(|(cursor, head)| cursor.reset_to(head));
    Ok(())
}

/// Puts the cursor where the client left off, or where there is still something to read. A second call does nothing.
async fn find_start(line: &mut ResumeWriter<'_>, cursor: &mut CatchUpCursor) -> Result<(), ActionError> {
    let Some(since) = cursor.since.take() else { return Ok(()) };
    let head = cursor.head.clone();
    let foreign = since.epoch.is_some_and(|epoch| epoch != head.epoch) || since.offset > head.offset;
    let offset = if foreign { Offset::START } else { since.offset };
    cursor.position = Position { epoch: head.epoch, offset };
    let oldest = Offset(head.offset.0.saturating_sub(line.app.limits.resume_messages)).max(offset);
    if foreign {
        line.send_gap(&cursor.channel.name, &mut cursor.position, oldest, GapReason::Epoch).await
    } else {
        skip_to(line, cursor, oldest, GapReason::TooMany).await
    }
}

/// Sends what was missed until live messages can follow.
async fn send_until_live(line: &mut ResumeWriter<'_>, cursor: &mut CatchUpCursor) -> Result<(), ActionError> {
    for round in 0..2 * MAX_CATCH_UP_ROUNDS {
        let rest =
            if round < MAX_CATCH_UP_ROUNDS { send_missed_messages(line, cursor).await? } else { GapReason::TooMany };
        skip_to(line, cursor, cursor.head.offset, rest).await?;
        match line.resume_channel(&cursor.channel, &cursor.position).await? {
            ResumeOutcome::Live => {
                cursor.paused = false;
                return Ok(());
            }
            ResumeOutcome::HeadAdvanced(offset) => cursor.head.offset = cursor.head.offset.max(offset),
        }
    }
    Err(ActionError::unavailable("catching up with a busy channel"))
}

/// Sends page after page up to the head. Says why it stopped short, for the case that it did.
async fn send_missed_messages(
    line: &mut ResumeWriter<'_>,
    cursor: &mut CatchUpCursor,
) -> Result<GapReason, ActionError> {
    while cursor.position.offset < cursor.head.offset {
        if line.budget_exhausted() {
            return Ok(GapReason::TooMany);
        }
        let range = LogRange::After(cursor.position.offset);
        let slice = line.app.log.read(&cursor.channel, range, limits::MAX_PAGE_ENTRIES, limits::MAX_PAGE_BYTES).await?;
        if slice.head.epoch != cursor.position.epoch {
            restart_in_epoch(line, cursor, &slice).await?;
            continue;
        }
        skip_to(line, cursor, Offset(slice.first.0.saturating_sub(1)), GapReason::Trimmed).await?;
        if slice.entries.is_empty() {
            return Ok(GapReason::Unavailable);
        }
        for entry in &slice.entries {
            if line.budget_exhausted() {
                return Ok(GapReason::TooMany);
            }
            send_entry(line, cursor, entry).await?;
        }
    }
    Ok(GapReason::TooMany)
}

async fn send_entry(
    line: &mut ResumeWriter<'_>,
    cursor: &mut CatchUpCursor,
    entry: &LogEntry,
) -> Result<(), ActionError> {
    line.send_message(&MessageFrame::from_entry(&cursor.channel.name, &cursor.position.epoch, entry)).await?;
    cursor.position.offset = entry.offset;
    cursor.count += 1;
    Ok(())
}

/// The log was reset while it was read: what was sent stands, and its new incarnation is sent from the start.
async fn restart_in_epoch(
    line: &mut ResumeWriter<'_>,
    cursor: &mut CatchUpCursor,
    slice: &LogSlice,
) -> Result<(), ActionError> {
    cursor.head = slice.head.clone();
    cursor.position = Position { epoch: slice.head.epoch.clone(), offset: Offset::START };
    line.send_gap(&cursor.channel.name, &mut cursor.position, Offset::START, GapReason::Epoch).await
}

/// Leaves out what is before `to`, if anything is, and says so.
async fn skip_to(
    line: &mut ResumeWriter<'_>,
    cursor: &mut CatchUpCursor,
    to: Offset,
    reason: GapReason,
) -> Result<(), ActionError> {
    if cursor.position.offset < to {
        line.send_gap(&cursor.channel.name, &mut cursor.position, to, reason).await?;
    }
    Ok(())
}

/// Lets live messages flow after a failure, with a gap for everything that could not be sent. What fails here as well is
/// only logged: the client is told of the first failure and will resume.
async fn resume_with_gap(line: &mut ResumeWriter<'_>, cursor: &mut CatchUpCursor) {
    let mut abandoned = find_start(line, cursor).await;
    for _ in 0..MAX_CATCH_UP_ROUNDS {
        let skipped = skip_to(line, cursor, cursor.head.offset, GapReason::Unavailable).await;
        abandoned = abandoned.and(skipped);
        match line.resume_channel(&cursor.channel, &cursor.position).await {
            Ok(ResumeOutcome::Live) => {
                cursor.paused = false;
                break;
            }
            Ok(ResumeOutcome::HeadAdvanced(offset)) => cursor.head.offset = cursor.head.offset.max(offset),
            Err(failure) => {
                abandoned = Err(failure);
                break;
            }
        }
    }
    if abandoned.is_err() || cursor.paused {
        warn!(connection.id = %line.caller.connection, "a channel of a failed resume stays behind");
    }
}

impl CatchUpCursor {
    fn new(caller: &EventCaller, wanted: &ChannelRequest, head: Position) -> Self {
        Self {
            channel: wanted.channel.clone().in_tenant(caller.identity.tenant.clone()),
            since: wanted.since.clone(),
            position: head.clone(),
            head,
            count: 0,
            paused: false,
        }
    }

    /// Takes over the end of the log before the work starts.
    fn reset_to(&mut self, head: Position) {
        self.position = head.clone();
        self.head = head;
    }
}

#[cfg(test)]
mod tests;
