//! Access rules: which roles may read and write which channels.
//!
//! Permissions depend on the role, the channel's name, and the rooms and topics that the token grants. Only rooms of users require the connection's record, because
//! rooms are accessible to connections that joined. No rule grants access outside the caller's tenant.

use std::collections::BTreeSet;

use crate::app::{ActionError, EventCaller, MessagingApp};
use crate::channel::{Channel, ChannelName};
use crate::frame::ErrorCode;
use crate::identity::Role;
use crate::ports::ClientConnection;

/// Permission of a role for a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChannelAccess {
    Allowed,
    IfJoined,
    NotGranted,
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
        (Role::User, ChannelName::Room(_) | ChannelName::Topic(_)) if !caller.grants.allows(channel) => {
            ChannelAccess::NotGranted
        }
        (Role::User, ChannelName::Everyone | ChannelName::Topic(_)) => ChannelAccess::Allowed,
        _ => write_access(caller, channel),
    }
}

/// Checks that the caller may write to the channel.
pub(super) async fn check_write(
    app: &MessagingApp,
    caller: &EventCaller,
    channel: &ChannelName,
) -> Result<(), ActionError> {
    match write_access(caller, channel) {
        ChannelAccess::Allowed => Ok(()),
        ChannelAccess::IfJoined => check_joined(caller, &caller_record(app, caller).await?, channel),
        ChannelAccess::Denied | ChannelAccess::NotGranted => Err(ActionError::client_error(
            ErrorCode::Forbidden,
            format!(
                "writing to '{channel}' is forbidden: users may write to their own conversation and to rooms they joined"
            ),
        )),
    }
}

/// Checks that the caller may read every channel, before any of them is processed.
pub(super) async fn check_read(
    app: &MessagingApp,
    caller: &EventCaller,
    channels: &[ChannelName],
) -> Result<(), ActionError> {
    let mut rooms = Vec::new();
    for channel in channels {
        match read_access(caller, channel) {
            ChannelAccess::Allowed => {}
            ChannelAccess::IfJoined => rooms.push(channel),
            ChannelAccess::NotGranted => return Err(not_granted(channel)),
            ChannelAccess::Denied => return Err(read_denied(channel)),
        }
    }
    if rooms.is_empty() {
        return Ok(());
    }
    let record = caller_record(app, caller).await?;
    rooms.into_iter().try_for_each(|channel| check_joined(caller, &record, channel))
}

/// Checks that the caller may join or already reads every channel. Users may join the rooms and topics that their token
/// grants, others all of the tenant.
pub(super) fn check_join<'a>(
    caller: &EventCaller,
    mut channels: impl Iterator<Item = &'a ChannelName>,
) -> Result<(), ActionError> {
    channels.try_for_each(|channel| match read_access(caller, channel) {
        ChannelAccess::Allowed | ChannelAccess::IfJoined => Ok(()),
        ChannelAccess::NotGranted => Err(not_granted(channel)),
        ChannelAccess::Denied => Err(read_denied(channel)),
    })
}

/// Returns the caller's record. It is missing if `$disconnect` was already handled or the record expired; the error is
/// then [`ActionError::connection_gone`].
pub(super) async fn caller_record(app: &MessagingApp, caller: &EventCaller) -> Result<ClientConnection, ActionError> {
    app.connections.find_connection(&caller.connection).await?.ok_or_else(ActionError::connection_gone)
}

/// Returns the caller's channels: implicit ones first, then joined ones.
pub(super) fn member_channels(caller: &EventCaller, joined: &BTreeSet<Channel>) -> Vec<ChannelName> {
    let mut channels = implicit_channels(caller);
    channels.extend(joined.iter().map(|channel| channel.name.clone()));
    channels
}

/// Returns the channels that the caller reads by identity. For an admin, the conversations are not listed.
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
    let text = format!("this connection has not joined '{channel}': send 'join' first");
    Err(ActionError::client_error(ErrorCode::NotJoined, text))
}

fn not_granted(channel: &ChannelName) -> ActionError {
    let text =
        format!("'{channel}' is forbidden: the token does not grant it; obtain one whose list of channels has it");
    ActionError::client_error(ErrorCode::Forbidden, text)
}

fn read_denied(channel: &ChannelName) -> ActionError {
    let text =
        format!("reading '{channel}' is forbidden: users may read their own conversation, everyone, topics and rooms");
    ActionError::client_error(ErrorCode::Forbidden, text)
}
