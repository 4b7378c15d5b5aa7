//! `presence`: who is online.
//!
//! Connections are always counted exactly. Users are counted through the channel's records, at most
//! [`counted_members`](limits::Limits::counted_members) of them, and listed up to [`listed_members`](limits::Limits::listed_members) in one
//! answer, so that it stays below API Gateway's 128 KiB.

use std::collections::BTreeMap;

use super::access;
use crate::app::{App, Caller, Failure};
use crate::audience::Audience;
use crate::channel::ChannelName;
use crate::frame::{ChannelMembers, Frame, Member, Members};
use crate::id::{MessageId, UserId};
use crate::identity::Role;
use crate::limits;

/// How many records are read at a time.
const PAGE: usize = 1_000;

pub(super) async fn presence(
    app: &App,
    caller: &Caller,
    id: Option<&MessageId>,
    names: Vec<ChannelName>,
) -> Result<String, Failure> {
    let names = if names.is_empty() { own(app, caller).await? } else { names };
    access::check_read(app, caller, &names).await?;
    let mut channels = BTreeMap::new();
    let mut listed = app.limits.listed_members;
    for name in names {
        let members = members(app, caller, &name, &mut listed).await?;
        channels.insert(name.to_string(), members);
    }
    Ok(Members { id: id.map(MessageId::as_str), channels }.text())
}

async fn own(app: &App, caller: &Caller) -> Result<Vec<ChannelName>, Failure> {
    let record = access::record(app, caller).await?;
    let mut own = access::own_channels(caller, &record.channels);
    own.truncate(limits::CHANNELS_PER_FRAME);
    Ok(own)
}

/// The members of one channel; `listed` is how many the answer may still list.
pub(super) async fn members(
    app: &App,
    caller: &Caller,
    name: &ChannelName,
    listed: &mut usize,
) -> Result<ChannelMembers, Failure> {
    let audience = Audience::Channel(name.clone().within(caller.identity.tenant.clone()));
    let mut users: BTreeMap<(UserId, Role), u64> = BTreeMap::new();
    let mut counted = 0;
    let mut after = None;
    let (connections, complete) = loop {
        let page = app.connections.members(&audience, after.as_deref(), PAGE).await?;
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
    let member = |((user, role), connections): ((UserId, Role), u64)| Member { user: user.into(), role, connections };
    let members: Vec<Member> = users.into_iter().take(*listed).map(member).collect();
    *listed -= members.len();
    Ok(ChannelMembers { caught_up: None, connections, users: complete.then_some(count), members })
}
