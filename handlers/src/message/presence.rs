//! The action `presence`: lists the online users of channels.
//!
//! The number of connections is always exact. Users are counted from at most
//! [`counted_members`](limits::Limits::counted_members) records of a channel. At most
//! [`listed_members`](limits::Limits::listed_members) users are listed in one answer, so that it stays below API
//! Gateway's message quota of 128 KiB.

use std::collections::BTreeMap;

use super::access;
use crate::app::{ActionError, EventCaller, MessagingApp};
use crate::audience::Audience;
use crate::channel::ChannelName;
use crate::frame::{ChannelMembers, EncodeFrame, MembersFrame, OnlineUser};
use crate::id::{MessageId, UserId};
use crate::identity::Role;
use crate::limits;

/// Page size of listings.
const MEMBERS_PAGE_SIZE: usize = 1_000;

pub(super) async fn list_presence(
    app: &MessagingApp,
    caller: &EventCaller,
    id: Option<&MessageId>,
    names: Vec<ChannelName>,
) -> Result<String, ActionError> {
    let names = if names.is_empty() { caller_channels(app, caller).await? } else { names };
    access::check_read(app, caller, &names).await?;
    let mut channels = BTreeMap::new();
    let mut remaining = app.limits.listed_members;
    for name in names {
        let members = channel_members(app, caller, &name, &mut remaining).await?;
        channels.insert(name.to_string(), members);
    }
    Ok(MembersFrame { id: id.map(MessageId::as_str), channels }.encode_text())
}

async fn caller_channels(app: &MessagingApp, caller: &EventCaller) -> Result<Vec<ChannelName>, ActionError> {
    let record = access::caller_record(app, caller).await?;
    let mut channels = access::member_channels(caller, &record.channels);
    channels.truncate(limits::MAX_CHANNELS_PER_FRAME);
    Ok(channels)
}

/// Returns the members of one channel. `remaining` is the number of members that the answer may still list.
pub(super) async fn channel_members(
    app: &MessagingApp,
    caller: &EventCaller,
    name: &ChannelName,
    remaining: &mut usize,
) -> Result<ChannelMembers, ActionError> {
    let audience = Audience::Channel(name.clone().in_tenant(caller.identity.tenant.clone()));
    let mut users: BTreeMap<(UserId, Role), u64> = BTreeMap::new();
    let mut counted = 0;
    let mut after = None;
    let (connections, complete) = loop {
        let page = app.connections.list_members(&audience, after.as_deref(), MEMBERS_PAGE_SIZE).await?;
        counted += page.items.len();
        for connection in page.items {
            *users.entry((connection.identity.user, connection.identity.role)).or_default() += 1;
        }
        match page.next {
            Some(next) if counted < app.limits.counted_members => after = Some(next),
            next => break (page.total, next.is_none()),
        }
    };
    let count = users.len() as u64;
    let member =
        |((user, role), connections): ((UserId, Role), u64)| OnlineUser { user: user.into(), role, connections };
    let members: Vec<OnlineUser> = users.into_iter().take(*remaining).map(member).collect();
    *remaining -= members.len();
    Ok(ChannelMembers { caught_up: None, connections, users: complete.then_some(count), members })
}
