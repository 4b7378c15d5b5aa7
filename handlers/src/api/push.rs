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

pub use self::request::MAX_PUSH_BYTES;
use self::request::{PushRequest, PushTarget, PushedMessage};
use super::caller::ApiCaller;
use super::json_response;
use super::listing;
use super::problem::ProblemDetails;
use crate::app::MessagingApp;
use crate::audience::Audience;
use crate::channel::{Channel, ChannelName, Epoch, Offset};
use crate::frame::{EncodeFrame, FromField, MessageFrame};
use crate::id::MessageId;
use crate::limits;
use crate::ports::{
    AppendOutcome, AppendRequest, DeliveryError, DeliveryOutcome, LogError, LogRange, OutgoingFrame, Placement,
    Priority, Timestamp,
};

/// How many targets of one batch are worked on at a time: enough to fill a log's group commit, few enough to leave it
/// to others as well.
const MAX_CONCURRENT_TARGETS: usize = 16;

/// The status of a message that was accepted.
const ACCEPTED_STATUS: u16 = 200;

/// What became of one message.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AcceptedMessage {
    status: u16,
    id: MessageId,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<ChannelName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<Epoch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<Offset>,
    delivery: DeliveryStatus,
}

/// Whether the receivers get it now or when they resume.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum DeliveryStatus {
    Live,
    Deferred,
}

#[derive(Serialize)]
#[serde(untagged)]
enum PushResult {
    Accepted(AcceptedMessage),
    Rejected(ProblemDetails),
}

#[derive(Serialize)]
struct BatchResponse {
    results: Vec<PushResult>,
}

/// Answers the call.
pub(super) async fn handle_push(
    app: &MessagingApp,
    caller: &ApiCaller,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response<Bytes>, ProblemDetails> {
    match PushRequest::from_body(headers, body, &*app.clock, &app.limits)? {
        PushRequest::One(push) => Ok(json_response(&push_message(app, caller, push).await?)),
        PushRequest::Batch(pushes) => push_batch(app, caller, pushes).await,
    }
}

/// One result for each message, in the order of the request. When not one was accepted, the call has failed as a whole
/// and says why the first one did.
async fn push_batch(
    app: &MessagingApp,
    caller: &ApiCaller,
    pushes: Vec<PushedMessage>,
) -> Result<Response<Bytes>, ProblemDetails> {
    let mut runs: BTreeMap<PushTarget, Vec<(usize, PushedMessage)>> = BTreeMap::new();
    for (index, push) in pushes.into_iter().enumerate() {
        runs.entry(push.target.clone()).or_default().push((index, push));
    }
    let runs = runs.into_values().map(|run| push_in_order(app, caller, run));
    let mut results: Vec<_> = stream::iter(runs).buffer_unordered(MAX_CONCURRENT_TARGETS).concat().await;
    results.sort_unstable_by_key(|(index, _)| *index);
    let results: Vec<_> = results.into_iter().map(|(_, outcome)| outcome).collect();
    let accepted = results.iter().any(|outcome| matches!(outcome, PushResult::Accepted(_)));
    match results.first() {
        Some(PushResult::Rejected(problem)) if !accepted => Err(problem.clone()),
        _ => Ok(json_response(&BatchResponse { results })),
    }
}

/// The messages to one target, one after the other. Behind one that failed the others are refused like it: a repeat of
/// the call then still writes them in this order.
async fn push_in_order(
    app: &MessagingApp,
    caller: &ApiCaller,
    run: Vec<(usize, PushedMessage)>,
) -> Vec<(usize, PushResult)> {
    let mut outcomes = Vec::with_capacity(run.len());
    let mut failed: Option<ProblemDetails> = None;
    for (index, push) in run {
        let pushed = match &failed {
            Some(problem) => Err(problem.clone()),
            None => push_message(app, caller, push).await,
        };
        outcomes.push((index, pushed.map_or_else(PushResult::Rejected, PushResult::Accepted)));
        if let Some((_, PushResult::Rejected(problem))) = outcomes.last() {
            failed = Some(problem.clone());
        }
    }
    outcomes
}

async fn push_message(
    app: &MessagingApp,
    caller: &ApiCaller,
    push: PushedMessage,
) -> Result<AcceptedMessage, ProblemDetails> {
    let tenant = caller.tenant.clone();
    match push.target.clone() {
        PushTarget::Channel(name) if !push.ephemeral => {
            append_and_deliver(app, caller, name.in_tenant(tenant), push).await
        }
        PushTarget::Channel(name) => {
            let frame = ephemeral_frame(app, caller, &name, &push);
            deliver_unlogged(app, &Audience::Channel(name.clone().in_tenant(tenant)), frame, Some(name), push).await
        }
        PushTarget::Role(role) => {
            let frame = direct_frame(app, caller, &push);
            deliver_unlogged(app, &Audience::Role(tenant, role), frame, None, push).await
        }
        PushTarget::Connection(id) => {
            listing::check_tenant(app, caller, &id).await?;
            let frame = direct_frame(app, caller, &push);
            deliver_unlogged(app, &Audience::Connection(id), frame, None, push).await
        }
    }
}

/// Appends and delivers. Once it is in the log the message is accepted: receivers that a broken delivery leaves out get
/// it when they resume.
async fn append_and_deliver(
    app: &MessagingApp,
    caller: &ApiCaller,
    channel: Channel,
    push: PushedMessage,
) -> Result<AcceptedMessage, ProblemDetails> {
    let append = AppendRequest {
        channel,
        sender: caller.sender.clone(),
        id: push.id,
        sent_at: app.clock.now(),
        body: push.body,
    };
    let appended = app.log.append(append.clone()).await?;
    let delivery = match deliver_logged(app, &append, &appended).await {
        Ok(()) => DeliveryStatus::Live,
        Err(error) => {
            tracing::warn!(error = %errors::chain(&error), "a pushed message is logged but not delivered");
            DeliveryStatus::Deferred
        }
    };
    Ok(AcceptedMessage {
        status: ACCEPTED_STATUS,
        id: append.id,
        channel: Some(append.channel.name),
        epoch: Some(appended.position.epoch),
        offset: Some(appended.position.offset),
        delivery,
    })
}

#[derive(Debug, thiserror::Error)]
enum DeferralError {
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    #[error(transparent)]
    Log(#[from] LogError),
}

/// A repeat is delivered again, because the first call may have ended between log and delivery; receivers drop by
/// offset what they have. What goes out is what the log holds, should the repeat have another body.
async fn deliver_logged(
    app: &MessagingApp,
    append: &AppendRequest,
    appended: &AppendOutcome,
) -> Result<(), DeferralError> {
    let name = &append.channel.name;
    let frame = if appended.duplicate {
        let before = LogRange::After(Offset(appended.position.offset.0.saturating_sub(1)));
        let slice = app.log.read(&append.channel, before, 1, limits::MAX_PAGE_BYTES).await?;
        let entry = slice.entries.iter().find(|entry| entry.offset == appended.position.offset);
        let Some(entry) = entry else { return Ok(()) };
        MessageFrame::from_entry(name, &appended.position.epoch, entry).encode()
    } else {
        MessageFrame::from_append(append, appended).encode()
    };
    let placement = Placement { channel: append.channel.clone(), position: appended.position.clone() };
    let outgoing = OutgoingFrame { frame, priority: Priority::for_channel(name), placement: Some(placement) };
    app.delivery.deliver(&Audience::Channel(append.channel.clone()), outgoing).await?;
    Ok(())
}

/// Delivers without a log: what nobody is there to receive is gone.
async fn deliver_unlogged(
    app: &MessagingApp,
    audience: &Audience,
    frame: Bytes,
    channel: Option<ChannelName>,
    push: PushedMessage,
) -> Result<AcceptedMessage, ProblemDetails> {
    let priority = match audience {
        _ if push.ephemeral => Priority::Ephemeral,
        Audience::Connection(_) | Audience::User(..) => Priority::Direct,
        Audience::Role(..) | Audience::Channel(_) => Priority::Broadcast,
    };
    match app.delivery.deliver(audience, OutgoingFrame { frame, priority, placement: None }).await? {
        DeliveryOutcome::ConnectionGone => Err(listing::connection_not_found()),
        DeliveryOutcome::Delivered(_) => Ok(AcceptedMessage {
            status: ACCEPTED_STATUS,
            id: push.id,
            channel,
            epoch: None,
            offset: None,
            delivery: DeliveryStatus::Live,
        }),
    }
}

fn ephemeral_frame(app: &MessagingApp, caller: &ApiCaller, channel: &ChannelName, push: &PushedMessage) -> Bytes {
    let frame = MessageFrame {
        channel,
        epoch: None,
        offset: None,
        id: Some(push.id.as_str()),
        from: FromField::from_sender(&caller.sender),
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
    from: FromField<'a>,
    sent_at: Timestamp,
    body: &'a RawValue,
}

impl EncodeFrame for DirectFrame<'_> {}

fn direct_frame(app: &MessagingApp, caller: &ApiCaller, push: &PushedMessage) -> Bytes {
    let from = FromField::from_sender(&caller.sender);
    DirectFrame { id: push.id.as_str(), from, sent_at: app.clock.now(), body: &push.body }.encode()
}
