//! `resume`: who am I, and what did I miss.
//!
//! The answer is a sequence: `welcome`, then what was missed (with a `gap` wherever something is left out), each through
//! `Delivery`, and `resumed` as the frame's own answer. The channels are held from before `welcome` until they are caught
//! up, so that nothing live comes in between.

use std::collections::BTreeMap;

use super::catch_up::{CaughtUpChannel, catch_up};
use super::{access, channels};
use crate::app::{ActionError, EventCaller, MessagingApp};
use crate::channel::{Channel, ChannelName, Position};
use crate::frame::{ChannelRequest, EncodeFrame, PROTOCOL_VERSION, PresenceState, ResumedFrame, WelcomeFrame};
use crate::id::MessageId;

pub(super) async fn resume_channels(
    app: &MessagingApp,
    caller: &EventCaller,
    id: Option<&MessageId>,
    wanted: &[ChannelRequest],
) -> Result<String, ActionError> {
    access::check_join(caller, wanted.iter().map(|wanted| &wanted.channel))?;
    let resumed = channels::requested_channels(caller, wanted);
    let named = access::implicit_channels(caller);
    let all: Vec<Channel> = resumed.iter().cloned().chain(in_caller_tenant(caller, &named)).collect();
    // First of all, so that nothing is joined while the log is away.
    let mut heads = app.log.heads(&all).await?;
    let ends = heads.split_off(resumed.len());
    let entered = channels::record_joined(app, caller, &resumed).await?;
    let greeting = welcome_frame(app, caller, &named, ends).encode();
    let caught = catch_up(app, caller, wanted, heads, Some(greeting)).await?;
    app.notify_joined_rooms(&caller.connection, &caller.identity, &entered, PresenceState::Online).await;
    let names = wanted.iter().map(|wanted| wanted.channel.to_string());
    let channels = names.zip(caught.into_iter().map(CaughtUpChannel::into)).collect();
    Ok(ResumedFrame { id: id.map(MessageId::as_str), channels }.encode_text())
}

fn in_caller_tenant<'a>(caller: &'a EventCaller, names: &'a [ChannelName]) -> impl Iterator<Item = Channel> + 'a {
    names.iter().map(|name| name.clone().in_tenant(caller.identity.tenant.clone()))
}

fn welcome_frame<'a>(
    app: &MessagingApp,
    caller: &'a EventCaller,
    named: &[ChannelName],
    ends: Vec<Position>,
) -> WelcomeFrame<'a> {
    let channels: BTreeMap<String, Position> = named.iter().map(ToString::to_string).zip(ends).collect();
    WelcomeFrame {
        connection: caller.connection.as_str(),
        user: caller.identity.user.as_str(),
        role: caller.identity.role,
        tenant: caller.identity.tenant.as_str(),
        protocol: PROTOCOL_VERSION,
        server_time: app.clock.now(),
        channels,
    }
}
