//! The action `presence`: lists the online users of channels.
//!
//! The number of connections is always exact: stores keep it. Users are counted from records, of which one answer reads
//! at most [`counted_members`](limits::Limits::counted_members) over all its channels, and other connections are served
//! between two pages. At most [`listed_members`](limits::Limits::listed_members) users are listed in one answer, so
//! that it stays below API Gateway's message quota of 128 KiB. Users list only the names that
//! [`presence_names`](crate::app::AccessRules::presence_names) permits, and the numbers of all channels that they may read.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::Poll;

use super::{access, cost};
use crate::app::{ActionError, EventCaller, MessagingApp};
use crate::audience::Audience;
use crate::channel::ChannelName;
use crate::frame::{ChannelMembers, EncodeFrame, MembersFrame, OnlineUser};
use crate::id::{MessageId, UserId};
use crate::identity::Role;
use crate::limits;

/// Page size of listings.
const MEMBERS_PAGE_SIZE: usize = 1_000;

/// Numbers of records that one answer may still read and list, over all its channels.
pub(super) struct MembersBudget {
    /// Records that may still be read to count users.
    records: usize,
    /// Members that may still be listed.
    listed: usize,
}

impl MembersBudget {
    /// Returns the budget of one answer.
    pub(super) const fn of_answer(app: &MessagingApp) -> Self {
        Self { records: app.limits.counted_members, listed: app.limits.listed_members }
    }
}

pub(super) async fn list_presence(
    app: &MessagingApp,
    caller: &EventCaller,
    id: Option<&MessageId>,
    names: Vec<ChannelName>,
) -> Result<String, ActionError> {
    let names = if names.is_empty() {
        let names = caller_channels(app, caller).await?;
        cost::charge_channels(app, caller, names.len());
        names
    } else {
        names
    };
    access::check_read(app, caller, &names).await?;
    let mut channels = BTreeMap::new();
    let mut budget = MembersBudget::of_answer(app);
    for name in names {
        let members = channel_members(app, caller, &name, &mut budget).await?;
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

/// Returns the members of one channel. Users are neither counted nor listed once the budget of records is used up.
pub(super) async fn channel_members(
    app: &MessagingApp,
    caller: &EventCaller,
    name: &ChannelName,
    budget: &mut MembersBudget,
) -> Result<ChannelMembers, ActionError> {
    let audience = Audience::Channel(name.clone().in_tenant(caller.identity.tenant.clone()));
    let mut users: BTreeMap<(UserId, Role), u64> = BTreeMap::new();
    let mut after = None;
    let (connections, complete) = loop {
        // A page of one record returns the number of connections.
        let size = budget.records.clamp(1, MEMBERS_PAGE_SIZE);
        let page = app.connections.list_members(&audience, after.as_deref(), size).await?;
        if budget.records == 0 {
            break (page.total, page.total == 0);
        }
        budget.records = budget.records.saturating_sub(page.items.len());
        cost::charge_records(app, caller, page.items.len());
        for connection in page.items {
            *users.entry((connection.identity.user, connection.identity.role)).or_default() += 1;
        }
        yield_once().await;
        match page.next {
            Some(next) if budget.records > 0 => after = Some(next),
            next => break (page.total, next.is_none()),
        }
    };
    let count = users.len() as u64;
    let member =
        |((user, role), connections): ((UserId, Role), u64)| OnlineUser { user: user.into(), role, connections };
    let lists_names = caller.identity.role != Role::User || app.access.presence_names.lists(name);
    let listed = if lists_names { budget.listed } else { 0 };
    let members: Vec<OnlineUser> = users.into_iter().take(listed).map(member).collect();
    budget.listed -= members.len();
    Ok(ChannelMembers { caught_up: None, connections, users: complete.then_some(count), members })
}

/// Lets the executor run other tasks. Stores in memory never wait, so a large listing would otherwise run to its end.
async fn yield_once() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
