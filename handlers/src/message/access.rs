//! Who may read and write what.
//!
//! Invariant: rights follow from the role and the channel's name; only for a user and a room does it also take the
//! connection's record, because rooms are open to those who joined. Nothing here reaches beyond the caller's tenant.

use std::collections::BTreeSet;

use crate::app::{ActionError, EventCaller, MessagingApp};
use crate::channel::{Channel, ChannelName};
use crate::frame::ErrorCode;
use crate::identity::Role;
use crate::ports::ClientConnection;

/// What a role says about a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChannelAccess {
    Allowed,
    IfJoined,
    Denied,
}

fn write_access(caller: &EventCaller, channel: &ChannelName) -> ChannelAccess {
    match (caller.identity.role, channel) {
        (Role::Admin | Role::Service, _) => ChannelAccess::Allowed,
        (Role::User, ChannelName::Conversation(user)) if *user == caller.identity.user => ChannelAccess::Allowed,
        (Role::User, ChannelName::Room(_)) => ChannelAccess::IfJoined,
        (Role::User, _) => ChannelAccess::Denied,
    }
}

fn read_access(caller: &EventCaller, channel: &ChannelName) -> ChannelAccess {
    match (caller.identity.role, channel) {
        (Role::User, ChannelName::Everyone | ChannelName::Topic(_)) => ChannelAccess::Allowed,
        _ => write_access(caller, channel),
    }
}

/// Passes when the caller may write to the channel.
pub(super) async fn check_write(
    app: &MessagingApp,
    caller: &EventCaller,
    channel: &ChannelName,
) -> Result<(), ActionError> {
    match write_access(caller, channel) {
        ChannelAccess::Allowed => Ok(()),
        ChannelAccess::IfJoined => check_joined(caller, &caller_record(app, caller).await?, channel),
        ChannelAccess::Denied => Err(ActionError::client_error(
            ErrorCode::Forbidden,
            format!("you may not write to '{channel}': a user writes to its own conversation and to rooms it joined"),
        )),
    }
}

/// Passes when the caller may read every channel, before anything is done for one of them.
pub(super) async fn check_read(
    app: &MessagingApp,
    caller: &EventCaller,
    channels: &[ChannelName],
) -> Result<(), ActionError> {
    let mut of_rooms = Vec::new();
    for channel in channels {
        match read_access(caller, channel) {
            ChannelAccess::Allowed => {}
            ChannelAccess::IfJoined => of_rooms.push(channel),
            ChannelAccess::Denied => return Err(read_denied(channel)),
        }
    }
    if of_rooms.is_empty() {
        return Ok(());
    }
    let record = caller_record(app, caller).await?;
    of_rooms.into_iter().try_for_each(|channel| check_joined(caller, &record, channel))
}

/// Passes when the caller may enter every channel or belongs to it. Rooms and topics are open to the whole tenant.
pub(super) fn check_join<'a>(
    caller: &EventCaller,
    mut channels: impl Iterator<Item = &'a ChannelName>,
) -> Result<(), ActionError> {
    channels.try_for_each(|channel| match read_access(caller, channel) {
        ChannelAccess::Allowed | ChannelAccess::IfJoined => Ok(()),
        ChannelAccess::Denied => Err(read_denied(channel)),
    })
}

/// The caller's record. None means that the connection's end is already being handled, or that it outlived its record.
pub(super) async fn caller_record(app: &MessagingApp, caller: &EventCaller) -> Result<ClientConnection, ActionError> {
    app.connections.find_connection(&caller.connection).await?.ok_or_else(ActionError::connection_gone)
}

/// The channels that the caller is in: those of its name first, then what it joined.
pub(super) fn member_channels(caller: &EventCaller, joined: &BTreeSet<Channel>) -> Vec<ChannelName> {
    let mut own = implicit_channels(caller);
    own.extend(joined.iter().map(|channel| channel.name.clone()));
    own
}

/// The channels that the caller belongs to by name. An admin belongs to every conversation as well; those are not listed.
pub(super) fn implicit_channels(caller: &EventCaller) -> Vec<ChannelName> {
    match caller.identity.role {
        Role::User => vec![ChannelName::Conversation(caller.identity.user.clone()), ChannelName::Everyone],
        Role::Admin | Role::Service => vec![ChannelName::Everyone],
    }
}

fn check_joined(caller: &EventCaller, record: &ClientConnection, channel: &ChannelName) -> Result<(), ActionError> {
    if record.channels.contains(&channel.clone().in_tenant(caller.identity.tenant.clone())) {
        return Ok(());
    }
    let text = format!("this connection is not in '{channel}': 'join' it first");
    Err(ActionError::client_error(ErrorCode::NotJoined, text))
}

fn read_denied(channel: &ChannelName) -> ActionError {
    let text = format!("you may not read '{channel}': a user reads its own conversation, everyone, topics and rooms");
    ActionError::client_error(ErrorCode::Forbidden, text)
}
