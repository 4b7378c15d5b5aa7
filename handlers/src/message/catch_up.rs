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

mod line;

use bytes::Bytes;
use tracing::warn;

use self::line::Line;
use crate::app::{App, Caller, Failure};
use crate::channel::{Channel, Offset, Position};
use crate::frame::{GapReason, MessageFrame, ResumedChannel, Since, Wanted};
use crate::limits;
use crate::ports::{Delivered, Entry, Range, Released, Slice};

/// How often a channel that keeps moving on is read after, before the rest is told as a gap.
const ROUNDS: usize = 16;

/// How far one channel was caught up.
#[derive(Debug, Clone)]
pub(super) struct Caught {
    position: Position,
    count: u64,
}

impl From<Caught> for ResumedChannel {
    fn from(caught: Caught) -> Self {
        Self { position: caught.position, count: caught.count }
    }
}

/// Where the work on one channel stands.
struct Cursor {
    channel: Channel,
    /// The client's position until the work starts there; a client without one starts at the head.
    since: Option<Since>,
    /// Everything up to here was sent or told as a gap.
    position: Position,
    /// Up to here at least there is something to send.
    head: Position,
    count: u64,
    held: bool,
}

/// Brings the connection from the positions of `wanted` to live, and says `greeting` first, once nothing live can come
/// before it any more. `heads` are the channels' ends as they were before this call.
pub(super) async fn catch_up(
    app: &App,
    caller: &Caller,
    wanted: &[Wanted],
    heads: Vec<Position>,
    greeting: Option<Bytes>,
) -> Result<Vec<Caught>, Failure> {
    let cursor = |(wanted, head): (&Wanted, Position)| Cursor::new(caller, wanted, head);
    let mut cursors: Vec<Cursor> = wanted.iter().zip(heads).map(cursor).collect();
    let mut line = Line::new(app, caller);
    hold(app, caller, &mut cursors).await?;
    if let Err(failure) = bring_live(&mut line, &mut cursors, greeting).await {
        // Nothing is withheld from a connection that is gone.
        for cursor in cursors.iter_mut().filter(|cursor| cursor.held && !failure.is_gone()) {
            abandon(&mut line, cursor).await;
        }
        return Err(failure);
    }
    Ok(cursors.into_iter().map(|Cursor { position, count, .. }| Caught { position, count }).collect())
}

async fn hold(app: &App, caller: &Caller, cursors: &mut [Cursor]) -> Result<(), Failure> {
    if cursors.is_empty() {
        return Ok(());
    }
    let channels: Vec<Channel> = cursors.iter().map(|cursor| cursor.channel.clone()).collect();
    if app.delivery.hold(&caller.connection, &channels).await? == Delivered::Gone {
        return Err(Failure::gone());
    }
    cursors.iter_mut().for_each(|cursor| cursor.held = true);
    Ok(())
}

async fn bring_live(line: &mut Line<'_>, cursors: &mut [Cursor], greeting: Option<Bytes>) -> Result<(), Failure> {
    if let Some(greeting) = greeting {
        line.say(greeting).await?;
    }
    look_again(line, cursors).await?;
    for cursor in cursors {
        start(line, cursor).await?;
        follow(line, cursor).await?;
    }
    Ok(())
}

/// Only ends that are read after the hold leave nothing out between the pages and live traffic. And only those read after
/// the greeting do where nothing is held, as on AWS: there a client ignores what comes before the greeting.
async fn look_again(line: &Line<'_>, cursors: &mut [Cursor]) -> Result<(), Failure> {
    if cursors.is_empty() {
        return Ok(());
    }
    let channels: Vec<Channel> = cursors.iter().map(|cursor| cursor.channel.clone()).collect();
    let heads = line.app.log.heads(&channels).await?;
    cursors.iter_mut().zip(heads).for_each(|(cursor, head)| cursor.move_head(head));
    Ok(())
}

/// Puts the cursor where the client left off, or where there is still something to read. A second call does nothing.
async fn start(line: &mut Line<'_>, cursor: &mut Cursor) -> Result<(), Failure> {
    let Some(since) = cursor.since.take() else { return Ok(()) };
    let head = cursor.head.clone();
    let foreign = since.epoch.is_some_and(|epoch| epoch != head.epoch) || since.offset > head.offset;
    let offset = if foreign { Offset::START } else { since.offset };
    cursor.position = Position { epoch: head.epoch, offset };
    let oldest = Offset(head.offset.0.saturating_sub(line.app.limits.resume_messages)).max(offset);
    if foreign {
        line.gap(&cursor.channel.name, &mut cursor.position, oldest, GapReason::Epoch).await
    } else {
        skip(line, cursor, oldest, GapReason::TooMany).await
    }
}

/// Sends what was missed until live messages can follow.
async fn follow(line: &mut Line<'_>, cursor: &mut Cursor) -> Result<(), Failure> {
    for round in 0..2 * ROUNDS {
        let rest = if round < ROUNDS { send_missed(line, cursor).await? } else { GapReason::TooMany };
        skip(line, cursor, cursor.head.offset, rest).await?;
        match line.release(&cursor.channel, &cursor.position).await? {
            Released::Live => {
                cursor.held = false;
                return Ok(());
            }
            Released::Behind(offset) => cursor.head.offset = cursor.head.offset.max(offset),
        }
    }
    Err(Failure::unavailable("catching up with a busy channel"))
}

/// Sends page after page up to the head. Says why it stopped short, for the case that it did.
async fn send_missed(line: &mut Line<'_>, cursor: &mut Cursor) -> Result<GapReason, Failure> {
    while cursor.position.offset < cursor.head.offset {
        if line.is_spent() {
            return Ok(GapReason::TooMany);
        }
        let range = Range::After(cursor.position.offset);
        let slice = line.app.log.read(&cursor.channel, range, limits::PAGE_ENTRIES, limits::PAGE_BYTES).await?;
        if slice.head.epoch != cursor.position.epoch {
            begin_anew(line, cursor, &slice).await?;
            continue;
        }
        skip(line, cursor, Offset(slice.first.0.saturating_sub(1)), GapReason::Trimmed).await?;
        if slice.entries.is_empty() {
            return Ok(GapReason::Unavailable);
        }
        for entry in &slice.entries {
            if line.is_spent() {
                return Ok(GapReason::TooMany);
            }
            send_entry(line, cursor, entry).await?;
        }
    }
    Ok(GapReason::TooMany)
}

async fn send_entry(line: &mut Line<'_>, cursor: &mut Cursor, entry: &Entry) -> Result<(), Failure> {
    line.say_entry(&MessageFrame::entry(&cursor.channel.name, &cursor.position.epoch, entry)).await?;
    cursor.position.offset = entry.offset;
    cursor.count += 1;
    Ok(())
}

/// The log was reset while it was read: what was sent stands, and its new incarnation is sent from the start.
async fn begin_anew(line: &mut Line<'_>, cursor: &mut Cursor, slice: &Slice) -> Result<(), Failure> {
    cursor.head = slice.head.clone();
    cursor.position = Position { epoch: slice.head.epoch.clone(), offset: Offset::START };
    line.gap(&cursor.channel.name, &mut cursor.position, Offset::START, GapReason::Epoch).await
}

/// Leaves out what is before `to`, if anything is, and says so.
async fn skip(line: &mut Line<'_>, cursor: &mut Cursor, to: Offset, reason: GapReason) -> Result<(), Failure> {
    if cursor.position.offset < to {
        line.gap(&cursor.channel.name, &mut cursor.position, to, reason).await?;
    }
    Ok(())
}

/// Lets live messages flow after a failure, with a gap for everything that could not be sent. What fails here as well is
/// only logged: the client is told of the first failure and will resume.
async fn abandon(line: &mut Line<'_>, cursor: &mut Cursor) {
    let mut abandoned = start(line, cursor).await;
    for _ in 0..ROUNDS {
        let skipped = skip(line, cursor, cursor.head.offset, GapReason::Unavailable).await;
        abandoned = abandoned.and(skipped);
        match line.release(&cursor.channel, &cursor.position).await {
            Ok(Released::Live) => {
                cursor.held = false;
                break;
            }
            Ok(Released::Behind(offset)) => cursor.head.offset = cursor.head.offset.max(offset),
            Err(failure) => {
                abandoned = Err(failure);
                break;
            }
        }
    }
    if abandoned.is_err() || cursor.held {
        warn!(connection.id = %line.caller.connection, "a channel of a failed resume stays behind");
    }
}

impl Cursor {
    fn new(caller: &Caller, wanted: &Wanted, head: Position) -> Self {
        Self {
            channel: wanted.channel.clone().within(caller.identity.tenant.clone()),
            since: wanted.since.clone(),
            position: head.clone(),
            head,
            count: 0,
            held: false,
        }
    }

    /// Takes over the end of the log before the work starts.
    fn move_head(&mut self, head: Position) {
        self.position = head.clone();
        self.head = head;
    }
}

#[cfg(test)]
mod tests;
