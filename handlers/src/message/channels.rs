//! `join`, `subscribe`, `leave`, `unsubscribe`: being in rooms and topics.
//!
//! Invariant: from the answer on, every message behind the position that it names reaches the connection, and none up to
//! there does again. The store's record comes first, then delivery, so that what the record says is never less than what
//! the connection receives.

use std::collections::BTreeMap;

use super::catch_up::{CaughtUpChannel, catch_up};
use super::presence;
use crate::app::{ActionError, EventCaller, MessagingApp};
use crate::channel::{Channel, ChannelName};
use crate::frame::{
    ChannelRequest, EncodeFrame, ErrorCode, LeaveAckFrame, MembersFrame, PresenceState, SubscribeAckFrame,
};
use crate::id::MessageId;
use crate::limits;
use crate::ports::ChannelChange;

pub(super) async fn join_rooms(
    app: &MessagingApp,
    caller: &EventCaller,
    id: Option<&MessageId>,
    wanted: &[ChannelRequest],
) -> Result<String, ActionError> {
    let caught = join_and_catch_up(app, caller, wanted).await?;
    let mut channels = BTreeMap::new();
    let mut listed = app.limits.listed_members;
    for (wanted, caught) in wanted.iter().zip(caught) {
        let mut members = presence::channel_members(app, caller, &wanted.channel, &mut listed).await?;
        members.caught_up = Some(caught.into());
        channels.insert(wanted.channel.to_string(), members);
    }
    Ok(MembersFrame { id: id.map(MessageId::as_str), channels }.encode_text())
}

pub(super) async fn subscribe_topics(
    app: &MessagingApp,
    caller: &EventCaller,
    id: Option<&MessageId>,
    wanted: &[ChannelRequest],
) -> Result<String, ActionError> {
    let caught = join_and_catch_up(app, caller, wanted).await?;
    let names = wanted.iter().map(|wanted| wanted.channel.to_string());
    let channels = names.zip(caught.into_iter().map(CaughtUpChannel::into)).collect();
    Ok(SubscribeAckFrame { id: id.map(MessageId::as_str), channels }.encode_text())
}

pub(super) async fn leave_channels(
    app: &MessagingApp,
    caller: &EventCaller,
    id: Option<&MessageId>,
    names: Vec<ChannelName>,
) -> Result<String, ActionError> {
    let left = names.iter().map(ToString::to_string).collect();
    let leaving: Vec<Channel> = names.into_iter().map(|name| name.in_tenant(caller.identity.tenant.clone())).collect();
    let ChannelChange::Applied { before, .. } =
        app.connections.change_channels(&caller.connection, &[], &leaving).await?
    else {
        return Err(ActionError::connection_gone());
    };
    app.delivery.detach_channels(&caller.connection, &leaving).await?;
    let were_in: Vec<Channel> = leaving.into_iter().filter(|channel| before.contains(channel)).collect();
    app.notify_joined_rooms(&caller.connection, &caller.identity, &were_in, PresenceState::Offline).await;
    Ok(LeaveAckFrame { id: id.map(MessageId::as_str), left }.encode_text())
}

async fn join_and_catch_up(
    app: &MessagingApp,
    caller: &EventCaller,
    wanted: &[ChannelRequest],
) -> Result<Vec<CaughtUpChannel>, ActionError> {
    let channels = requested_channels(caller, wanted);
    // First of all, so that nothing is joined while the log is away.
    let heads = app.log.heads(&channels).await?;
    let entered = record_joined(app, caller, &channels).await?;
    let caught = catch_up(app, caller, wanted, heads, None).await?;
    app.notify_joined_rooms(&caller.connection, &caller.identity, &entered, PresenceState::Online).await;
    Ok(caught)
}

/// The channels of a frame, with the caller's tenant.
pub(super) fn requested_channels(caller: &EventCaller, wanted: &[ChannelRequest]) -> Vec<Channel> {
    wanted.iter().map(|wanted| wanted.channel.clone().in_tenant(caller.identity.tenant.clone())).collect()
}

/// Records the rooms and topics among `channels` on the connection and returns those that are new to it.
pub(super) async fn record_joined(
    app: &MessagingApp,
    caller: &EventCaller,
    channels: &[Channel],
) -> Result<Vec<Channel>, ActionError> {
    let mut joined: Vec<Channel> = channels.iter().filter(|channel| channel.name.requires_join()).cloned().collect();
    if joined.is_empty() {
        return Ok(joined);
    }
    match app.connections.change_channels(&caller.connection, &joined, &[]).await? {
        ChannelChange::Applied { before, .. } => {
            joined.retain(|channel| !before.contains(channel));
            Ok(joined)
        }
        ChannelChange::LimitReached => Err(too_many_channels()),
        ChannelChange::NotFound => Err(ActionError::connection_gone()),
    }
}

fn too_many_channels() -> ActionError {
    let most = limits::MAX_CHANNELS_PER_CONNECTION;
    let text = format!("a connection may be in {most} rooms and topics: leave some first");
    ActionError::client_error(ErrorCode::TooMany, text)
}
