//! The action `send`: appends, delivers and acknowledges a message.
//!
//! An `ack` with an offset means that the message is durable, whether or not a receiver is online. Receivers always get
//! the logged body, also when a sender repeats an id with another body.

use std::sync::Arc;

use tracing::warn;

use super::access;
use crate::app::{ActionError, EventCaller, HandlerError, MessagingApp};
use crate::audience::Audience;
use crate::channel::{Channel, ChannelName, Offset};
use crate::frame::{AckFrame, EncodeFrame, ErrorCode, FromField, MessageFrame, SendRequest};
use crate::id::MessageId;
use crate::identity::Role;
use crate::limits;
use crate::ports::{
    AppendOutcome, AppendRequest, LogError, LogRange, MessageSender, OutgoingFrame, Placement, Priority,
};

pub(super) async fn send_message(
    app: &MessagingApp,
    caller: &EventCaller,
    id: Option<&MessageId>,
    request: SendRequest<'_>,
) -> Result<String, ActionError> {
    let name = target_channel(caller, request.to)?;
    access::check_write(app, caller, &name).await?;
    let channel = name.in_tenant(caller.identity.tenant.clone());
    if request.ephemeral {
        return Ok(deliver_ephemeral(app, caller, id, &channel, request.body).await);
    }
    let append = AppendRequest {
        channel,
        sender: MessageSender { user: caller.identity.user.clone(), role: caller.identity.role },
        id: id.cloned().map_or_else(|| new_message_id(app), Ok)?,
        sent_at: app.clock.now(),
        body: Arc::from(request.body.to_owned()),
    };
    let appended = app.log.append(append.clone()).await?;
    deliver_logged(app, caller, &append, &appended).await;
    Ok(encode_ack(&append, &appended))
}

fn target_channel(caller: &EventCaller, to: Option<ChannelName>) -> Result<ChannelName, ActionError> {
    match (to, caller.identity.role) {
        (Some(name), _) => Ok(name),
        (None, Role::User) => Ok(ChannelName::Conversation(caller.identity.user.clone())),
        (None, Role::Admin | Role::Service) => Err(ActionError::client_error(
            ErrorCode::MissingField,
            "'send' requires 'to' for this role: name a channel, for example \"conversation:alice\"",
        )),
    }
}

fn new_message_id(app: &MessagingApp) -> Result<MessageId, HandlerError> {
    Ok(MessageId::parse(&app.clock.fresh_id())?)
}

fn encode_ack(append: &AppendRequest, appended: &AppendOutcome) -> String {
    let ack = AckFrame {
        id: Some(append.id.as_str()),
        channel: &append.channel.name,
        epoch: Some(&appended.position.epoch),
        offset: Some(appended.position.offset),
        sent_at: Some(appended.sent_at),
    };
    ack.encode_text()
}

/// Delivers an ephemeral message to the connected readers. Having no receiver is not an error.
async fn deliver_ephemeral(
    app: &MessagingApp,
    caller: &EventCaller,
    id: Option<&MessageId>,
    channel: &Channel,
    body: &serde_json::value::RawValue,
) -> String {
    let id = id.map(MessageId::as_str);
    let from = FromField { user: caller.identity.user.as_str(), role: caller.identity.role };
    let (epoch, offset, sent_at) = (None, None, app.clock.now());
    let frame = MessageFrame { channel: &channel.name, epoch, offset, id, from, sent_at, body }.encode();
    let outgoing = OutgoingFrame { frame, priority: Priority::Ephemeral, placement: None };
    try_deliver(app, caller, channel, outgoing).await;
    AckFrame { id, channel: &channel.name, epoch, offset, sent_at: None }.encode_text()
}

/// Delivers a logged message. A duplicate is delivered again, because the first attempt may have failed before
/// delivery; receivers and adapters drop known offsets.
async fn deliver_logged(app: &MessagingApp, caller: &EventCaller, append: &AppendRequest, appended: &AppendOutcome) {
    let frame = if appended.duplicate {
        match logged_frame(app, append, appended).await {
            Ok(Some(frame)) => frame,
            // The message has been trimmed since, so the first attempt was long ago.
            Ok(None) => return,
            Err(error) => {
                warn!(connection.id = %caller.connection, error = %errors::chain(&error), "redelivery of a repeated message failed");
                return;
            }
        }
    } else {
        MessageFrame::from_append(append, appended).encode()
    };
    let placement = Placement { channel: append.channel.clone(), position: appended.position.clone() };
    let outgoing =
        OutgoingFrame { frame, priority: Priority::for_channel(&append.channel.name), placement: Some(placement) };
    try_deliver(app, caller, &append.channel, outgoing).await;
}

/// Returns the frame of the logged message at the position of a duplicate append, because the body of the duplicate may
/// differ.
async fn logged_frame(
    app: &MessagingApp,
    append: &AppendRequest,
    appended: &AppendOutcome,
) -> Result<Option<bytes::Bytes>, LogError> {
    let before = Offset(appended.position.offset.0.saturating_sub(1));
    let slice = app.log.read(&append.channel, LogRange::After(before), 1, limits::MAX_PAGE_BYTES).await?;
    let entry = slice.entries.first().filter(|entry| entry.offset == appended.position.offset);
    Ok(entry.map(|entry| MessageFrame::from_entry(&append.channel.name, &slice.head.epoch, entry).encode()))
}

/// Delivers a message and logs a failure. The sender is not notified: readers catch up with logged messages by offset,
/// and ephemeral messages may be lost.
async fn try_deliver(app: &MessagingApp, caller: &EventCaller, channel: &Channel, outgoing: OutgoingFrame) {
    if let Err(error) = app.delivery.deliver(&Audience::Channel(channel.clone()), outgoing).await {
        warn!(connection.id = %caller.connection, error = %errors::chain(&error), "message delivery failed");
    }
}
