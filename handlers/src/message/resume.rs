//! `resume`: who am I, and what did I miss.
//!
//! The answer is a sequence: `welcome`, then what was missed (with a `gap` wherever something is left out), each through
//! `Delivery`, and `resumed` as the frame's own answer. The channels are held from before `welcome` until they are caught
//! up, so that nothing live comes in between.

use std::collections::BTreeMap;

use super::catch_up::{Caught, catch_up};
use super::{access, channels};
use crate::app::{App, Caller, Failure};
use crate::channel::{Channel, ChannelName, Position};
use crate::frame::{Frame, PROTOCOL_VERSION, PresenceState, Resumed, Wanted, Welcome};
use crate::id::MessageId;

pub(super) async fn resume(
    app: &App,
    caller: &Caller,
    id: Option<&MessageId>,
    wanted: &[Wanted],
) -> Result<String, Failure> {
    access::check_enter(caller, wanted.iter().map(|wanted| &wanted.channel))?;
    let resumed = channels::within(caller, wanted);
    let named = access::named_channels(caller);
    let all: Vec<Channel> = resumed.iter().cloned().chain(with_tenant(caller, &named)).collect();
    // First of all, so that nothing is joined while the log is away.
    let mut heads = app.log.heads(&all).await?;
    let ends = heads.split_off(resumed.len());
    let entered = channels::enter(app, caller, &resumed).await?;
    let greeting = welcome(app, caller, &named, ends).encode();
    let caught = catch_up(app, caller, wanted, heads, Some(greeting)).await?;
    app.announce_rooms(&caller.connection, &caller.identity, &entered, PresenceState::Online).await;
    let names = wanted.iter().map(|wanted| wanted.channel.to_string());
    let channels = names.zip(caught.into_iter().map(Caught::into)).collect();
    Ok(Resumed { id: id.map(MessageId::as_str), channels }.text())
}

fn with_tenant<'a>(caller: &'a Caller, names: &'a [ChannelName]) -> impl Iterator<Item = Channel> + 'a {
    names.iter().map(|name| name.clone().within(caller.identity.tenant.clone()))
}

fn welcome<'a>(app: &App, caller: &'a Caller, named: &[ChannelName], ends: Vec<Position>) -> Welcome<'a> {
    let channels: BTreeMap<String, Position> = named.iter().map(ToString::to_string).zip(ends).collect();
    Welcome {
        connection: caller.connection.as_str(),
        user: caller.identity.user.as_str(),
        role: caller.identity.role,
        tenant: caller.identity.tenant.as_str(),
        protocol: PROTOCOL_VERSION,
        server_time: app.clock.now(),
        channels,
    }
}
