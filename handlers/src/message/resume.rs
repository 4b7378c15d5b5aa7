//! The action `resume`: returns the client's identity and the messages it missed.
//!
//! The answer is a sequence: `welcome`, the missed messages with a `gap` for every skipped range, each sent through
//! `Delivery`, and `resumed` as the answer of the frame. The channels are paused from before `welcome` until they are
//! caught up, so that no live message arrives in between.

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
    requests: &[ChannelRequest],
) -> Result<String, ActionError> {
    access::check_join(caller, requests.iter().map(|request| &request.channel))?;
    let resumed = channels::requested_channels(caller, requests);
    let implicit = access::implicit_channels(caller);
    let all: Vec<Channel> = resumed.iter().cloned().chain(in_caller_tenant(caller, &implicit)).collect();
    // The heads are read first, so that nothing is joined while the log is unavailable.
    let mut heads = app.log.heads(&all).await?;
    let implicit_heads = heads.split_off(resumed.len());
    let newly_joined = channels::record_joined(app, caller, &resumed).await?;
    let welcome = welcome_frame(app, caller, &implicit, implicit_heads).encode();
    let caught_up = catch_up(app, caller, requests, heads, Some(welcome)).await?;
    app.notify_joined_rooms(&caller.connection, &caller.identity, &newly_joined, PresenceState::Online).await;
    let names = requests.iter().map(|request| request.channel.to_string());
    let channels = names.zip(caught_up.into_iter().map(CaughtUpChannel::into)).collect();
    Ok(ResumedFrame { id: id.map(MessageId::as_str), channels }.encode_text())
}

fn in_caller_tenant<'a>(caller: &'a EventCaller, names: &'a [ChannelName]) -> impl Iterator<Item = Channel> + 'a {
    names.iter().map(|name| name.clone().in_tenant(caller.identity.tenant.clone()))
}

fn welcome_frame<'a>(
    app: &MessagingApp,
    caller: &'a EventCaller,
    implicit: &[ChannelName],
    implicit_heads: Vec<Position>,
) -> WelcomeFrame<'a> {
    let channels: BTreeMap<String, Position> = implicit.iter().map(ToString::to_string).zip(implicit_heads).collect();
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
