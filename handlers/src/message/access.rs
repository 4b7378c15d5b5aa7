//! Who may read and write what.
//!
//! Invariant: rights follow from the role and the channel's name; only for a user and a room does it also take the
//! connection's record, because rooms are open to those who joined. Nothing here reaches beyond the caller's tenant.

use std::collections::BTreeSet;

use crate::app::{App, Caller, Failure};
use crate::channel::{Channel, ChannelName};
use crate::frame::ErrorCode;
use crate::identity::Role;
use crate::ports::Connection;

/// What a role says about a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Allowed,
    IfJoined,
    Denied,
}

fn write_access(caller: &Caller, channel: &ChannelName) -> Access {
    match (caller.identity.role, channel) {
        (Role::Admin | Role::Service, _) => Access::Allowed,
        (Role::User, ChannelName::Conversation(user)) if *user == caller.identity.user => Access::Allowed,
        (Role::User, ChannelName::Room(_)) => Access::IfJoined,
        (Role::User, _) => Access::Denied,
    }
}

fn read_access(caller: &Caller, channel: &ChannelName) -> Access {
    match (caller.identity.role, channel) {
        (Role::User, ChannelName::Everyone | ChannelName::Topic(_)) => Access::Allowed,
        _ => write_access(caller, channel),
    }
}

/// Passes when the caller may write to the channel.
pub(super) async fn check_write(app: &App, caller: &Caller, channel: &ChannelName) -> Result<(), Failure> {
    match write_access(caller, channel) {
        Access::Allowed => Ok(()),
        Access::IfJoined => check_joined(caller, &record(app, caller).await?, channel),
        Access::Denied => Err(Failure::refused(
            ErrorCode::Forbidden,
            format!("you may not write to '{channel}': a user writes to its own conversation and to rooms it joined"),
        )),
    }
}

/// Passes when the caller may read every channel, before anything is done for one of them.
pub(super) async fn check_read(app: &App, caller: &Caller, channels: &[ChannelName]) -> Result<(), Failure> {
    let mut of_rooms = Vec::new();
    for channel in channels {
        match read_access(caller, channel) {
            Access::Allowed => {}
            Access::IfJoined => of_rooms.push(channel),
            Access::Denied => return Err(denied_reading(channel)),
        }
    }
    if of_rooms.is_empty() {
        return Ok(());
    }
    let record = record(app, caller).await?;
    of_rooms.into_iter().try_for_each(|channel| check_joined(caller, &record, channel))
}

/// Passes when the caller may enter every channel or belongs to it. Rooms and topics are open to the whole tenant.
pub(super) fn check_enter<'a>(
    caller: &Caller,
    mut channels: impl Iterator<Item = &'a ChannelName>,
) -> Result<(), Failure> {
    channels.try_for_each(|channel| match read_access(caller, channel) {
        Access::Allowed | Access::IfJoined => Ok(()),
        Access::Denied => Err(denied_reading(channel)),
    })
}

/// The caller's record. None means that the connection's end is already being handled, or that it outlived its record.
pub(super) async fn record(app: &App, caller: &Caller) -> Result<Connection, Failure> {
    app.connections.find(&caller.connection).await?.ok_or_else(Failure::gone)
}

/// The channels that the caller is in: those of its name first, then what it joined.
pub(super) fn own_channels(caller: &Caller, joined: &BTreeSet<Channel>) -> Vec<ChannelName> {
    let mut own = named_channels(caller);
    own.extend(joined.iter().map(|channel| channel.name.clone()));
    own
}

/// The channels that the caller belongs to by name. An admin belongs to every conversation as well; those are not listed.
pub(super) fn named_channels(caller: &Caller) -> Vec<ChannelName> {
    match caller.identity.role {
        Role::User => vec![ChannelName::Conversation(caller.identity.user.clone()), ChannelName::Everyone],
        Role::Admin | Role::Service => vec![ChannelName::Everyone],
    }
}

fn check_joined(caller: &Caller, record: &Connection, channel: &ChannelName) -> Result<(), Failure> {
    if record.channels.contains(&channel.clone().within(caller.identity.tenant.clone())) {
        return Ok(());
    }
    let text = format!("this connection is not in '{channel}': 'join' it first");
    Err(Failure::refused(ErrorCode::NotJoined, text))
}

fn denied_reading(channel: &ChannelName) -> Failure {
    let text = format!("you may not read '{channel}': a user reads its own conversation, everyone, topics and rooms");
    Failure::refused(ErrorCode::Forbidden, text)
}
