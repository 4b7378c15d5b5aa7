//! `send`: append, deliver, acknowledge.
//!
//! Invariant: an `ack` with an offset means that the message is durable, whoever is or is not there to receive it; and
//! what receivers get is what the log holds, also when a sender repeats an id with another body.

use std::sync::Arc;

use tracing::warn;

use super::access;
use crate::app::{App, Caller, Failure, HandlerError};
use crate::audience::Audience;
use crate::channel::{Channel, ChannelName, Offset};
use crate::frame::{Ack, ErrorCode, Frame, From, MessageFrame, SendRequest};
use crate::id::MessageId;
use crate::identity::Role;
use crate::limits;
use crate::ports::{Append, Appended, LogError, Outgoing, Placement, Priority, Range, Sender};

pub(super) async fn send(
    app: &App,
    caller: &Caller,
    id: Option<&MessageId>,
    request: SendRequest<'_>,
) -> Result<String, Failure> {
    let name = target(caller, request.to)?;
    access::check_write(app, caller, &name).await?;
    let channel = name.within(caller.identity.tenant.clone());
    if request.ephemeral {
        return Ok(pass_on(app, caller, id, &channel, request.body).await);
    }
    let append = Append {
        channel,
        sender: Sender { user: caller.identity.user.clone(), role: caller.identity.role },
        id: id.cloned().map_or_else(|| fresh_id(app), Ok)?,
        sent_at: app.clock.now(),
        body: Arc::from(request.body.to_owned()),
    };
    let appended = app.log.append(append.clone()).await?;
    pass_on_logged(app, caller, &append, &appended).await;
    Ok(ack(&append, &appended))
}

fn target(caller: &Caller, to: Option<ChannelName>) -> Result<ChannelName, Failure> {
    match (to, caller.identity.role) {
        (Some(name), _) => Ok(name),
        (None, Role::User) => Ok(ChannelName::Conversation(caller.identity.user.clone())),
        (None, Role::Admin | Role::Service) => Err(Failure::refused(
            ErrorCode::MissingField,
            "'send' needs 'to' here: name the conversation, for example \"conversation:alice\"",
        )),
    }
}

fn fresh_id(app: &App) -> Result<MessageId, HandlerError> {
    Ok(MessageId::parse(&app.clock.fresh_id())?)
}

fn ack(append: &Append, appended: &Appended) -> String {
    let ack = Ack {
        id: Some(append.id.as_str()),
        channel: &append.channel.name,
        epoch: Some(&appended.position.epoch),
        offset: Some(appended.position.offset),
        sent_at: Some(appended.sent_at),
    };
    ack.text()
}

/// Hands an ephemeral message to whoever is there; that it reached nobody is no error.
async fn pass_on(
    app: &App,
    caller: &Caller,
    id: Option<&MessageId>,
    channel: &Channel,
    body: &serde_json::value::RawValue,
) -> String {
    let id = id.map(MessageId::as_str);
    let from = From { user: caller.identity.user.as_str(), role: caller.identity.role };
    let (epoch, offset, sent_at) = (None, None, app.clock.now());
    let frame = MessageFrame { channel: &channel.name, epoch, offset, id, from, sent_at, body }.encode();
    let outgoing = Outgoing { frame, priority: Priority::Ephemeral, placement: None };
    deliver(app, caller, channel, outgoing).await;
    Ack { id, channel: &channel.name, epoch, offset, sent_at: None }.text()
}

/// Hands a logged message to its channel. A repeated one is handed on again, because nobody knows whether the first
/// attempt came so far; receivers and deliverers drop by offset what they have seen.
async fn pass_on_logged(app: &App, caller: &Caller, append: &Append, appended: &Appended) {
    let frame = if appended.duplicate {
        match logged_frame(app, append, appended).await {
            Ok(Some(frame)) => frame,
            // It has left the log since, so it was long ago.
            Ok(None) => return,
            Err(error) => {
                warn!(connection.id = %caller.connection, error = %errors::chain(&error), "a repeated message is not delivered again");
                return;
            }
        }
    } else {
        MessageFrame::appended(append, appended).encode()
    };
    let placement = Placement { channel: append.channel.clone(), position: appended.position.clone() };
    let outgoing = Outgoing { frame, priority: Priority::of_channel(&append.channel.name), placement: Some(placement) };
    deliver(app, caller, &append.channel, outgoing).await;
}

/// The frame of what the log holds at a repeated append's place: its body may not be what the repetition says.
async fn logged_frame(app: &App, append: &Append, appended: &Appended) -> Result<Option<bytes::Bytes>, LogError> {
    let before = Offset(appended.position.offset.0.saturating_sub(1));
    let slice = app.log.read(&append.channel, Range::After(before), 1, limits::PAGE_BYTES).await?;
    let entry = slice.entries.first().filter(|entry| entry.offset == appended.position.offset);
    Ok(entry.map(|entry| MessageFrame::entry(&append.channel.name, &slice.head.epoch, entry).encode()))
}

/// The message is safe in the log or was worthless when late: receivers catch up by offset, so the sender is not told.
async fn deliver(app: &App, caller: &Caller, channel: &Channel, outgoing: Outgoing) {
    if let Err(error) = app.delivery.deliver(&Audience::Channel(channel.clone()), outgoing).await {
        warn!(connection.id = %caller.connection, error = %errors::chain(&error), "a message is not delivered; its readers have to resume");
    }
}
