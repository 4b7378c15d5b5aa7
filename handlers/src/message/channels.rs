//! `join`, `subscribe`, `leave`, `unsubscribe`: being in rooms and topics.
//!
//! Invariant: from the answer on, every message behind the position that it names reaches the connection, and none up to
//! there does again. The store's record comes first, then delivery, so that what the record says is never less than what
//! the connection receives.

use std::collections::BTreeMap;

use super::catch_up::{Caught, catch_up};
use super::presence;
use crate::app::{App, Caller, Failure};
use crate::channel::{Channel, ChannelName};
use crate::frame::{ErrorCode, Frame, Left, Members, PresenceState, Subscribed, Wanted};
use crate::id::MessageId;
use crate::limits;
use crate::ports::Changed;

pub(super) async fn join(
    app: &App,
    caller: &Caller,
    id: Option<&MessageId>,
    wanted: &[Wanted],
) -> Result<String, Failure> {
    let caught = enter_and_catch_up(app, caller, wanted).await?;
    let mut channels = BTreeMap::new();
    let mut listed = app.limits.listed_members;
    for (wanted, caught) in wanted.iter().zip(caught) {
        let mut members = presence::members(app, caller, &wanted.channel, &mut listed).await?;
        members.caught_up = Some(caught.into());
        channels.insert(wanted.channel.to_string(), members);
    }
    Ok(Members { id: id.map(MessageId::as_str), channels }.text())
}

pub(super) async fn subscribe(
    app: &App,
    caller: &Caller,
    id: Option<&MessageId>,
    wanted: &[Wanted],
) -> Result<String, Failure> {
    let caught = enter_and_catch_up(app, caller, wanted).await?;
    let names = wanted.iter().map(|wanted| wanted.channel.to_string());
    let channels = names.zip(caught.into_iter().map(Caught::into)).collect();
    Ok(Subscribed { id: id.map(MessageId::as_str), channels }.text())
}

pub(super) async fn leave(
    app: &App,
    caller: &Caller,
    id: Option<&MessageId>,
    names: Vec<ChannelName>,
) -> Result<String, Failure> {
    let left = names.iter().map(ToString::to_string).collect();
    let leaving: Vec<Channel> = names.into_iter().map(|name| name.within(caller.identity.tenant.clone())).collect();
    let Changed::To { before, .. } = app.connections.change_channels(&caller.connection, &[], &leaving).await? else {
        return Err(Failure::gone());
    };
    app.delivery.detach(&caller.connection, &leaving).await?;
    let were_in: Vec<Channel> = leaving.into_iter().filter(|channel| before.contains(channel)).collect();
    app.announce_rooms(&caller.connection, &caller.identity, &were_in, PresenceState::Offline).await;
    Ok(Left { id: id.map(MessageId::as_str), left }.text())
}

async fn enter_and_catch_up(app: &App, caller: &Caller, wanted: &[Wanted]) -> Result<Vec<Caught>, Failure> {
    let channels = within(caller, wanted);
    // First of all, so that nothing is joined while the log is away.
    let heads = app.log.heads(&channels).await?;
    let entered = enter(app, caller, &channels).await?;
    let caught = catch_up(app, caller, wanted, heads, None).await?;
    app.announce_rooms(&caller.connection, &caller.identity, &entered, PresenceState::Online).await;
    Ok(caught)
}

/// The channels of a frame, with the caller's tenant.
pub(super) fn within(caller: &Caller, wanted: &[Wanted]) -> Vec<Channel> {
    wanted.iter().map(|wanted| wanted.channel.clone().within(caller.identity.tenant.clone())).collect()
}

/// Records the rooms and topics among `channels` on the connection and returns those that are new to it.
pub(super) async fn enter(app: &App, caller: &Caller, channels: &[Channel]) -> Result<Vec<Channel>, Failure> {
    let mut joined: Vec<Channel> = channels.iter().filter(|channel| channel.name.is_joined()).cloned().collect();
    if joined.is_empty() {
        return Ok(joined);
    }
    match app.connections.change_channels(&caller.connection, &joined, &[]).await? {
        Changed::To { before, .. } => {
            joined.retain(|channel| !before.contains(channel));
            Ok(joined)
        }
        Changed::Full => Err(too_many()),
        Changed::Absent => Err(Failure::gone()),
    }
}

fn too_many() -> Failure {
    let most = limits::CHANNELS_PER_CONNECTION;
    let text = format!("a connection may be in {most} rooms and topics: leave some first");
    Failure::refused(ErrorCode::TooMany, text)
}
