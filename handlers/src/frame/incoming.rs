//! What clients send: `{"action": A, "id"?: string, …}`.
//!
//! [`ClientFrame::parse`] never panics and never copies the body. A frame that cannot be read is [`FrameParseError`] with a code,
//! a sentence that says what to do, and the frame's `id` when that much could be read.

use serde_json::error::Category;
use serde_json::value::RawValue;

use super::error::{ClientError, ErrorCode, FrameParseError};
use super::fields::{FrameFields, bad_field, is_object, missing_field, parse_string};
use crate::channel::{ChannelName, Epoch, Offset};
use crate::id::MessageId;
use crate::limits::Limits;

/// A frame that was read.
#[derive(Debug)]
pub struct ClientFrame<'a> {
    /// The client's id of it; the answer repeats it.
    pub id: Option<MessageId>,
    /// What it asks for.
    pub action: ClientAction<'a>,
}

/// What a client asks for.
#[derive(Debug)]
pub enum ClientAction<'a> {
    /// Write a message.
    Send(SendRequest<'a>),
    /// Enter rooms.
    Join(Vec<ChannelRequest>),
    /// Leave rooms.
    Leave(Vec<ChannelName>),
    /// Follow topics.
    Subscribe(Vec<ChannelRequest>),
    /// Stop following topics.
    Unsubscribe(Vec<ChannelName>),
    /// Say who I am and send what I missed.
    Resume(Vec<ChannelRequest>),
    /// Read back.
    History(HistoryRequest),
    /// Who is online; empty for the channels that the caller is in.
    Presence(Vec<ChannelName>),
    /// Are you there.
    Ping,
}

/// A `send`.
#[derive(Debug)]
pub struct SendRequest<'a> {
    /// To which channel; a user's own conversation when absent.
    pub to: Option<ChannelName>,
    /// The message.
    pub body: &'a RawValue,
    /// Skip the log.
    pub ephemeral: bool,
}

/// A `history`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryRequest {
    /// Of which channel.
    pub channel: ChannelName,
    /// The entries right before this offset; the newest when absent.
    pub before: Option<Offset>,
    /// How many, 1 to [`Limits::history_messages`].
    pub limit: usize,
}

/// A channel to enter or resume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelRequest {
    /// Which one.
    pub channel: ChannelName,
    /// The last place that the client saw; absent, it starts at the end.
    pub since: Option<ClientPosition>,
}

/// The last place of a channel that a client saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientPosition {
    /// The epoch, when the client knows it.
    pub epoch: Option<Epoch>,
    /// The offset.
    pub offset: Offset,
}

/// How many entries a `history` without `limit` has.
const DEFAULT_HISTORY_ENTRIES: usize = 50;

impl<'a> ClientFrame<'a> {
    /// Reads one frame.
    ///
    /// # Errors
    /// [`FrameParseError`], ready to be answered as an `error` frame.
    pub fn parse(frame: &'a str, limits: &Limits) -> Result<Self, FrameParseError> {
        let fields = parse_fields(frame).map_err(|refusal| FrameParseError { id: None, error: refusal })?;
        let id = fields.frame_id().map_err(|refusal| FrameParseError { id: None, error: refusal })?;
        match parse_action(&fields, limits) {
            Ok(action) => Ok(Self { id, action }),
            Err(refusal) => Err(FrameParseError { id, error: refusal }),
        }
    }
}

fn parse_fields(frame: &str) -> Result<FrameFields<'_>, ClientError> {
    match serde_json::from_str(frame) {
        Ok(fields) if is_object(frame) => Ok(fields),
        Ok(_) => Err(not_an_object()),
        Err(error) => Err(invalid_json(&error)),
    }
}

/// Parses the fields that one action reads.
type ParseAction = for<'a> fn(&FrameFields<'a>, &Limits) -> Result<ClientAction<'a>, ClientError>;

/// Every action with its parser. `docs/PROTOCOL.md` has a row for each.
const ACTIONS: [(&str, ParseAction); 9] = [
    ("send", |fields, limits| Ok(ClientAction::Send(parse_send(fields, limits)?))),
    ("ping", |_, _| Ok(ClientAction::Ping)),
    ("join", |fields, _| Ok(ClientAction::Join(require_rooms(require_channels(fields)?)?))),
    ("leave", |fields, _| Ok(ClientAction::Leave(channel_names(require_rooms(require_channels(fields)?)?)))),
    ("subscribe", |fields, _| Ok(ClientAction::Subscribe(require_topics(require_channels(fields)?)?))),
    ("unsubscribe", |fields, _| {
        Ok(ClientAction::Unsubscribe(channel_names(require_topics(require_channels(fields)?)?)))
    }),
    ("resume", |fields, _| Ok(ClientAction::Resume(fields.channel_requests()?))),
    ("history", |fields, limits| Ok(ClientAction::History(parse_history(fields, limits)?))),
    ("presence", |fields, _| Ok(ClientAction::Presence(channel_names(fields.channel_requests()?)))),
];

impl ClientAction<'_> {
    /// The name of every action.
    pub fn names() -> impl Iterator<Item = &'static str> {
        ACTIONS.iter().map(|(name, _)| *name)
    }
}

fn parse_action<'a>(fields: &FrameFields<'a>, limits: &Limits) -> Result<ClientAction<'a>, ClientError> {
    let all = || ClientAction::names().collect::<Vec<_>>().join(", ");
    let raw = fields.action.ok_or_else(|| {
        ClientError::new(ErrorCode::MissingField, format!("the frame has no 'action': it is one of {}", all()))
    })?;
    let name = parse_string(raw);
    let found = ACTIONS.iter().find(|(action, _)| name.as_deref() == Some(*action));
    let unknown = || ClientError::new(ErrorCode::UnknownAction, format!("'action' must be one of {}", all()));
    let (_, parse) = found.ok_or_else(unknown)?;
    parse(fields, limits)
}

fn parse_send<'a>(fields: &FrameFields<'a>, limits: &Limits) -> Result<SendRequest<'a>, ClientError> {
    Ok(SendRequest {
        to: fields.target_channel()?,
        body: fields.message_body(limits.body_bytes)?,
        ephemeral: fields.is_ephemeral()?,
    })
}

fn parse_history(fields: &FrameFields<'_>, limits: &Limits) -> Result<HistoryRequest, ClientError> {
    let most = limits.history_messages;
    let limit = match FrameFields::parse_number("limit", fields.limit)? {
        None => DEFAULT_HISTORY_ENTRIES.min(most),
        Some(limit @ 1..) if limit <= most as u64 => limit as usize,
        Some(_) => return Err(bad_field(format!("'limit' must be 1 to {most}"))),
    };
    let before = FrameFields::parse_number("before", fields.before)?.map(Offset);
    Ok(HistoryRequest { channel: fields.history_channel()?, before, limit })
}

fn require_channels(fields: &FrameFields<'_>) -> Result<Vec<ChannelRequest>, ClientError> {
    let wanted = fields.channel_requests()?;
    if wanted.is_empty() {
        return Err(missing_field("the action needs 'channel' or 'channels': which ones"));
    }
    Ok(wanted)
}

fn require_rooms(wanted: Vec<ChannelRequest>) -> Result<Vec<ChannelRequest>, ClientError> {
    let all = wanted.iter().all(|wanted| matches!(wanted.channel, ChannelName::Room(_)));
    let text = "only rooms are joined and left: name 'room:{name}', and 'subscribe' to topics";
    if all { Ok(wanted) } else { Err(bad_field(text.to_owned())) }
}

fn require_topics(wanted: Vec<ChannelRequest>) -> Result<Vec<ChannelRequest>, ClientError> {
    let all = wanted.iter().all(|wanted| matches!(wanted.channel, ChannelName::Topic(_)));
    let text = "only topics are subscribed to: name 'topic:{name}', and 'join' rooms";
    if all { Ok(wanted) } else { Err(bad_field(text.to_owned())) }
}

fn channel_names(wanted: Vec<ChannelRequest>) -> Vec<ChannelName> {
    wanted.into_iter().map(|wanted| wanted.channel).collect()
}

/// Says where the text goes wrong without repeating it: what was sent may be long, or not text for people at all.
fn invalid_json(error: &serde_json::Error) -> ClientError {
    if error.classify() == Category::Data {
        return not_an_object();
    }
    let (line, column) = (error.line(), error.column());
    let text = format!(
        "the frame is not JSON (line {line}, column {column}): send one object, for example {{\"action\":\"ping\"}}"
    );
    ClientError::new(ErrorCode::BadJson, text)
}

fn not_an_object() -> ClientError {
    let text = "the frame must be a JSON object with every field at most once, for example {\"action\":\"ping\"}";
    ClientError::new(ErrorCode::BadJson, text)
}

#[cfg(test)]
mod tests;
