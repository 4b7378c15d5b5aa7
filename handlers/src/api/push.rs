//! `POST /v1/messages`: pushing one message or a batch to any audience.
//!
//! A push to a channel, a user (whose conversation it lands in) or everyone is appended to that channel's log and then
//! delivered; a repeat with the same `Idempotency-Key` appends nothing and returns the same offsets. A push to a role
//! or to one connection, and an ephemeral one, is delivered and not logged. Within a batch the order of messages to the
//! same target is kept; different targets go side by side.

mod request;

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, Response};
use serde::Serialize;
use serde_json::value::RawValue;

pub use self::request::PUSH_BYTES;
use self::request::{Push, Pushes, Target};
use super::caller::Caller;
use super::json;
use super::listing;
use super::problem::Problem;
use crate::app::App;
use crate::audience::Audience;
use crate::channel::{Channel, ChannelName, Epoch, Offset};
use crate::frame::{Frame, From, MessageFrame};
use crate::id::MessageId;
use crate::limits;
use crate::ports::{
    Append, Appended, Delivered, DeliveryError, LogError, Outgoing, Placement, Priority, Range, Timestamp,
};

/// How many targets of one batch are worked on at a time: enough to fill a log's group commit, few enough to leave it
/// to others as well.
const TARGETS_AT_ONCE: usize = 16;

/// The status of a message that was accepted.
const ACCEPTED: u16 = 200;

/// What became of one message.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Accepted {
    status: u16,
    id: MessageId,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<ChannelName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<Epoch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<Offset>,
    delivery: Handover,
}

/// Whether the receivers get it now or when they resume.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum Handover {
    Live,
    Deferred,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Outcome {
    Accepted(Accepted),
    Refused(Problem),
}

#[derive(Serialize)]
struct Outcomes {
    results: Vec<Outcome>,
}

/// Answers the call.
pub(super) async fn answer(
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response<Bytes>, Problem> {
    match Pushes::read(headers, body, &*app.clock, &app.limits)? {
        Pushes::One(push) => Ok(json(&one(app, caller, push).await?)),
        Pushes::Batch(pushes) => batch(app, caller, pushes).await,
    }
}

/// One result for each message, in the order of the request. When not one was accepted, the call has failed as a whole
/// and says why the first one did.
async fn batch(app: &App, caller: &Caller, pushes: Vec<Push>) -> Result<Response<Bytes>, Problem> {
    let mut runs: BTreeMap<Target, Vec<(usize, Push)>> = BTreeMap::new();
    for (index, push) in pushes.into_iter().enumerate() {
        runs.entry(push.target.clone()).or_default().push((index, push));
    }
    let runs = runs.into_values().map(|run| in_order(app, caller, run));
    let mut results: Vec<_> = stream::iter(runs).buffer_unordered(TARGETS_AT_ONCE).concat().await;
    results.sort_unstable_by_key(|(index, _)| *index);
    let results: Vec<_> = results.into_iter().map(|(_, outcome)| outcome).collect();
    let accepted = results.iter().any(|outcome| matches!(outcome, Outcome::Accepted(_)));
    match results.first() {
        Some(Outcome::Refused(problem)) if !accepted => Err(problem.clone()),
        _ => Ok(json(&Outcomes { results })),
    }
}

/// The messages to one target, one after the other. Behind one that failed the others are refused like it: a repeat of
/// the call then still writes them in this order.
async fn in_order(app: &App, caller: &Caller, run: Vec<(usize, Push)>) -> Vec<(usize, Outcome)> {
    let mut outcomes = Vec::with_capacity(run.len());
    let mut failed: Option<Problem> = None;
    for (index, push) in run {
        let pushed = match &failed {
            Some(problem) => Err(problem.clone()),
            None => one(app, caller, push).await,
        };
        outcomes.push((index, pushed.map_or_else(Outcome::Refused, Outcome::Accepted)));
        if let Some((_, Outcome::Refused(problem))) = outcomes.last() {
            failed = Some(problem.clone());
        }
    }
    outcomes
}

async fn one(app: &App, caller: &Caller, push: Push) -> Result<Accepted, Problem> {
    let tenant = caller.tenant.clone();
    match push.target.clone() {
        Target::Channel(name) if !push.ephemeral => logged(app, caller, name.within(tenant), push).await,
        Target::Channel(name) => {
            let frame = ephemeral_frame(app, caller, &name, &push);
            unlogged(app, &Audience::Channel(name.clone().within(tenant)), frame, Some(name), push).await
        }
        Target::Role(role) => {
            let frame = direct_frame(app, caller, &push);
            unlogged(app, &Audience::Role(tenant, role), frame, None, push).await
        }
        Target::Connection(id) => {
            listing::of_tenant(app, caller, &id).await?;
            let frame = direct_frame(app, caller, &push);
            unlogged(app, &Audience::Connection(id), frame, None, push).await
        }
    }
}

/// Appends and delivers. Once it is in the log the message is accepted: receivers that a broken delivery leaves out get
/// it when they resume.
async fn logged(app: &App, caller: &Caller, channel: Channel, push: Push) -> Result<Accepted, Problem> {
    let append =
        Append { channel, sender: caller.sender.clone(), id: push.id, sent_at: app.clock.now(), body: push.body };
    let appended = app.log.append(append.clone()).await?;
    let delivery = match deliver_logged(app, &append, &appended).await {
        Ok(()) => Handover::Live,
        Err(error) => {
            tracing::warn!(error = %errors::chain(&error), "a pushed message is logged but not delivered");
            Handover::Deferred
        }
    };
    Ok(Accepted {
        status: ACCEPTED,
        id: append.id,
        channel: Some(append.channel.name),
        epoch: Some(appended.position.epoch),
        offset: Some(appended.position.offset),
        delivery,
    })
}

#[derive(Debug, thiserror::Error)]
enum DeferralCause {
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    #[error(transparent)]
    Log(#[from] LogError),
}

/// A repeat is delivered again, because the first call may have ended between log and delivery; receivers drop by
/// offset what they have. What goes out is what the log holds, should the repeat have another body.
async fn deliver_logged(app: &App, append: &Append, appended: &Appended) -> Result<(), DeferralCause> {
    let name = &append.channel.name;
    let frame = if appended.duplicate {
        let before = Range::After(Offset(appended.position.offset.0.saturating_sub(1)));
        let slice = app.log.read(&append.channel, before, 1, limits::PAGE_BYTES).await?;
        let entry = slice.entries.iter().find(|entry| entry.offset == appended.position.offset);
        let Some(entry) = entry else { return Ok(()) };
        MessageFrame::entry(name, &appended.position.epoch, entry).encode()
    } else {
        MessageFrame::appended(append, appended).encode()
    };
    let placement = Placement { channel: append.channel.clone(), position: appended.position.clone() };
    let outgoing = Outgoing { frame, priority: Priority::of_channel(name), placement: Some(placement) };
    app.delivery.deliver(&Audience::Channel(append.channel.clone()), outgoing).await?;
    Ok(())
}

/// Delivers without a log: what nobody is there to receive is gone.
async fn unlogged(
    app: &App,
    audience: &Audience,
    frame: Bytes,
    channel: Option<ChannelName>,
    push: Push,
) -> Result<Accepted, Problem> {
    let priority = match audience {
        _ if push.ephemeral => Priority::Ephemeral,
        Audience::Connection(_) | Audience::User(..) => Priority::Direct,
        Audience::Role(..) | Audience::Channel(_) => Priority::Broadcast,
    };
    match app.delivery.deliver(audience, Outgoing { frame, priority, placement: None }).await? {
        Delivered::Gone => Err(listing::gone()),
        Delivered::To(_) => {
            Ok(Accepted { status: ACCEPTED, id: push.id, channel, epoch: None, offset: None, delivery: Handover::Live })
        }
    }
}

fn ephemeral_frame(app: &App, caller: &Caller, channel: &ChannelName, push: &Push) -> Bytes {
    let frame = MessageFrame {
        channel,
        epoch: None,
        offset: None,
        id: Some(push.id.as_str()),
        from: From::sender(&caller.sender),
        sent_at: app.clock.now(),
        body: &push.body,
    };
    frame.encode()
}

/// A `message` frame outside of any channel, for a role or one connection: a `message` without `channel`.
#[derive(Serialize)]
#[serde(tag = "type", rename = "message", rename_all = "camelCase")]
struct DirectFrame<'a> {
    id: &'a str,
    from: From<'a>,
    sent_at: Timestamp,
    body: &'a RawValue,
}

impl Frame for DirectFrame<'_> {}

fn direct_frame(app: &App, caller: &Caller, push: &Push) -> Bytes {
    let from = From::sender(&caller.sender);
    DirectFrame { id: push.id.as_str(), from, sent_at: app.clock.now(), body: &push.body }.encode()
}
