//! The actions `join`, `subscribe`, `leave` and `unsubscribe`.
//!
//! After the answer, the connection receives every message after the position that the answer contains, and none up to
//! it. The record is changed before delivery, so that it never lists fewer channels than the connection receives.

use std::collections::BTreeMap;

use super::access;
use super::catch_up::{CaughtUpChannel, catch_up};
use super::presence::{self, MembersBudget};
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
    requests: &[ChannelRequest],
) -> Result<String, ActionError> {
    let caught_up = join_and_catch_up(app, caller, requests).await?;
    let mut channels = BTreeMap::new();
    let mut budget = MembersBudget::of_answer(app);
    for (request, caught_up) in requests.iter().zip(caught_up) {
        let mut members = presence::channel_members(app, caller, &request.channel, &mut budget).await?;
        members.caught_up = Some(caught_up.into());
        channels.insert(request.channel.to_string(), members);
    }
    Ok(MembersFrame { id: id.map(MessageId::as_str), channels }.encode_text())
}

pub(super) async fn subscribe_topics(
    app: &MessagingApp,
    caller: &EventCaller,
    id: Option<&MessageId>,
    requests: &[ChannelRequest],
) -> Result<String, ActionError> {
    let caught_up = join_and_catch_up(app, caller, requests).await?;
    let names = requests.iter().map(|request| request.channel.to_string());
    let channels = names.zip(caught_up.into_iter().map(CaughtUpChannel::into)).collect();
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
    let left_channels: Vec<Channel> = leaving.into_iter().filter(|channel| before.contains(channel)).collect();
    app.notify_joined_rooms(&caller.connection, &caller.identity, &left_channels, PresenceState::Offline).await;
    Ok(LeaveAckFrame { id: id.map(MessageId::as_str), left }.encode_text())
}

async fn join_and_catch_up(
    app: &MessagingApp,
    caller: &EventCaller,
    requests: &[ChannelRequest],
) -> Result<Vec<CaughtUpChannel>, ActionError> {
    access::check_join(caller, requests.iter().map(|request| &request.channel))?;
    let channels = requested_channels(caller, requests);
    // The heads are read first, so that nothing is joined while the log is unavailable.
    let heads = app.log.heads(&channels).await?;
    let newly_joined = record_joined(app, caller, &channels).await?;
    let caught_up = catch_up(app, caller, requests, heads, None).await?;
    app.notify_joined_rooms(&caller.connection, &caller.identity, &newly_joined, PresenceState::Online).await;
    Ok(caught_up)
}

/// Returns the channels of a frame in the caller's tenant.
pub(super) fn requested_channels(caller: &EventCaller, requests: &[ChannelRequest]) -> Vec<Channel> {
    requests.iter().map(|request| request.channel.clone().in_tenant(caller.identity.tenant.clone())).collect()
}

/// Adds the rooms and topics among `channels` to the record of the connection and returns the newly joined ones.
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
    let max = limits::MAX_CHANNELS_PER_CONNECTION;
    let text = format!("a connection may join at most {max} rooms and topics: leave some first");
    ActionError::client_error(ErrorCode::TooMany, text)
}
