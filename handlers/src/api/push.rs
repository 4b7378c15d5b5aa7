//! `POST /v1/messages`: pushes one message or a batch to any audience.
//!
//! A push to a channel, to a user (whose conversation receives it) or to everyone is appended to that channel's log and
//! then delivered. Repeating it with the same `Idempotency-Key` appends nothing and returns the same offsets. A push to
//! a role or to one connection, and an ephemeral one, is delivered without logging. A batch keeps the order of messages
//! to the same target; different targets are processed concurrently.

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

/// Maximum targets of one batch that are processed concurrently: enough to fill the group commit of a log without
/// starving other requests.
const MAX_CONCURRENT_TARGETS: usize = 16;

/// Status of an accepted message.
const ACCEPTED_STATUS: u16 = 200;

/// Result of an accepted message.
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

/// State of delivery: now, or when the receivers resume.
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

/// Handles the request.
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

/// Pushes a batch. The response has one result for each message, in the order of the request. If no message is
/// accepted, the request fails with the problem of the first one.
async fn push_batch(
    app: &MessagingApp,
    caller: &ApiCaller,
    pushes: Vec<PushedMessage>,
) -> Result<Response<Bytes>, ProblemDetails> {
    let mut by_target: BTreeMap<PushTarget, Vec<(usize, PushedMessage)>> = BTreeMap::new();
    for (index, push) in pushes.into_iter().enumerate() {
        by_target.entry(push.target.clone()).or_default().push((index, push));
    }
    let runs = by_target.into_values().map(|pushes| push_in_order(app, caller, pushes));
    let mut results: Vec<_> = stream::iter(runs).buffer_unordered(MAX_CONCURRENT_TARGETS).concat().await;
    results.sort_unstable_by_key(|(index, _)| *index);
    let results: Vec<_> = results.into_iter().map(|(_, result)| result).collect();
    let accepted = results.iter().any(|result| matches!(result, PushResult::Accepted(_)));
    match results.first() {
        Some(PushResult::Rejected(problem)) if !accepted => Err(problem.clone()),
        _ => Ok(json_response(&BatchResponse { results })),
    }
}

/// Pushes the messages to one target sequentially. After a failure, the remaining ones fail with the same problem, so
/// that a retry of the request writes them in the same order.
async fn push_in_order(
    app: &MessagingApp,
    caller: &ApiCaller,
    pushes: Vec<(usize, PushedMessage)>,
) -> Vec<(usize, PushResult)> {
    let mut results = Vec::with_capacity(pushes.len());
    let mut failed: Option<ProblemDetails> = None;
    for (index, push) in pushes {
        let result = match &failed {
            Some(problem) => Err(problem.clone()),
            None => push_message(app, caller, push).await,
        };
        results.push((index, result.map_or_else(PushResult::Rejected, PushResult::Accepted)));
        if let Some((_, PushResult::Rejected(problem))) = results.last() {
            failed = Some(problem.clone());
        }
    }
    results
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

/// Appends and delivers a message. A logged message is accepted even if delivery fails, because receivers get it when
/// they resume.
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
            tracing::warn!(error = %errors::chain(&error), "delivery of a logged push failed");
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

/// Delivers a logged message. A duplicate is delivered again, because the first request may have failed before
/// delivery; receivers drop known offsets. The logged body is delivered, even if the repeated request has another one.
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

/// Delivers a message without logging. Without a connected receiver it is lost.
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

/// A `message` frame without `channel`, for a role or one connection.
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
