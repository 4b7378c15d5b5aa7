//! Frames of clients: `{"action": A, "id"?: string, …}`.
//!
//! [`ClientFrame::parse`] never panics and never copies the body. A [`FrameParseError`] has a code, a message that says
//! how to fix the frame, and the `id` of the frame if it was readable.

use serde_json::error::Category;
use serde_json::value::RawValue;

use super::error::{ClientError, ErrorCode, FrameParseError};
use super::fields::{FrameFields, bad_field, is_object, missing_field, parse_string};
use crate::channel::{ChannelName, Epoch, Offset};
use crate::id::MessageId;
use crate::limits::Limits;

/// A parsed frame.
#[derive(Debug)]
pub struct ClientFrame<'a> {
    /// Id chosen by the client; the answer repeats it.
    pub id: Option<MessageId>,
    /// Requested action.
    pub action: ClientAction<'a>,
}

/// An action requested by a client.
#[derive(Debug)]
pub enum ClientAction<'a> {
    /// Sends a message.
    Send(SendRequest<'a>),
    /// Joins rooms.
    Join(Vec<ChannelRequest>),
    /// Leaves rooms.
    Leave(Vec<ChannelName>),
    /// Subscribes to topics.
    Subscribe(Vec<ChannelRequest>),
    /// Unsubscribes from topics.
    Unsubscribe(Vec<ChannelName>),
    /// Returns the client's identity and its missed messages.
    Resume(Vec<ChannelRequest>),
    /// Reads messages of a channel.
    History(HistoryRequest),
    /// Lists online users of channels; if empty, of the caller's channels.
    Presence(Vec<ChannelName>),
    /// Checks the connection.
    Ping,
}

/// Parameters of `send`.
#[derive(Debug)]
pub struct SendRequest<'a> {
    /// Target channel; if absent, the user's own conversation.
    pub to: Option<ChannelName>,
    /// Message body.
    pub body: &'a RawValue,
    /// Deliver without logging.
    pub ephemeral: bool,
}

/// Parameters of `history`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryRequest {
    /// Channel to read.
    pub channel: ChannelName,
    /// Read messages before this offset; if absent, the newest ones.
    pub before: Option<Offset>,
    /// Number of messages, 1 to [`Limits::history_messages`].
    pub limit: usize,
}

/// A channel to join or resume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelRequest {
    pub channel: ChannelName,
    /// Last position that the client has; if absent, delivery starts at the head.
    pub since: Option<ClientPosition>,
}

/// Last position of a channel that a client has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientPosition {
    /// Epoch, if the client has it.
    pub epoch: Option<Epoch>,
    pub offset: Offset,
}

/// Number of messages of a `history` without `limit`.
const DEFAULT_HISTORY_ENTRIES: usize = 50;

impl<'a> ClientFrame<'a> {
    /// Parses one frame.
    ///
    /// ```
    /// use handlers::frame::{ClientAction, ClientFrame};
    /// use handlers::limits::Limits;
    ///
    /// let text = r#"{"action":"send","id":"m1","to":"room:lobby","body":{"text":"hello"}}"#;
    /// let frame = ClientFrame::parse(text, &Limits::default()).unwrap();
    /// let ClientAction::Send(send) = frame.action else { panic!("not a send") };
    /// assert_eq!(send.body.get(), r#"{"text":"hello"}"#);
    ///
    /// let rejected = ClientFrame::parse(r#"{"action":"send","id":"m2"}"#, &Limits::default()).unwrap_err();
    /// assert_eq!(rejected.id.unwrap().as_str(), "m2");
    /// assert_eq!(rejected.error.message, "'send' requires 'body': any JSON value");
    /// ```
    ///
    /// # Errors
    /// [`FrameParseError`], which encodes to the `error` frame of the answer.
    pub fn parse(frame: &'a str, limits: &Limits) -> Result<Self, FrameParseError> {
        let fields = parse_fields(frame).map_err(|error| FrameParseError { id: None, error })?;
        let id = fields.frame_id().map_err(|error| FrameParseError { id: None, error })?;
        match parse_action(&fields, limits) {
            Ok(action) => Ok(Self { id, action }),
            Err(error) => Err(FrameParseError { id, error }),
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

/// Parser of the fields of one action.
type ParseAction = for<'a> fn(&FrameFields<'a>, &Limits) -> Result<ClientAction<'a>, ClientError>;

/// All actions with their parsers. `docs/PROTOCOL.md` must have a row and an example for each.
const ACTIONS: [(&str, ParseAction); 9] = [
    ("send", |fields, limits| Ok(ClientAction::Send(parse_send(fields, limits)?))),
    ("join", |fields, _| Ok(ClientAction::Join(require_rooms(require_channels(fields)?)?))),
    ("leave", |fields, _| Ok(ClientAction::Leave(channel_names(require_rooms(require_channels(fields)?)?)))),
    ("subscribe", |fields, _| Ok(ClientAction::Subscribe(require_topics(require_channels(fields)?)?))),
    ("unsubscribe", |fields, _| {
        Ok(ClientAction::Unsubscribe(channel_names(require_topics(require_channels(fields)?)?)))
    }),
    ("resume", |fields, _| Ok(ClientAction::Resume(fields.channel_requests()?))),
    ("history", |fields, limits| Ok(ClientAction::History(parse_history(fields, limits)?))),
    ("presence", |fields, _| Ok(ClientAction::Presence(channel_names(fields.channel_requests()?)))),
    ("ping", |_, _| Ok(ClientAction::Ping)),
];

impl ClientAction<'_> {
    /// Returns the names of all actions.
    pub fn names() -> impl Iterator<Item = &'static str> {
        ACTIONS.iter().map(|(name, _)| *name)
    }

    /// Returns the units of the connection's [`ActionBudget`](crate::ports::ActionBudget) that the action costs
    /// whatever its result: 1 for each channel, at least 1. `send` and `ping` cost none, because their work is
    /// proportional to their frame, and the rate of messages limits them.
    #[must_use]
    pub fn base_units(&self) -> usize {
        match self {
            Self::Send(_) | Self::Ping => 0,
            Self::History(_) => 1,
            Self::Join(requests) | Self::Subscribe(requests) | Self::Resume(requests) => requests.len().max(1),
            Self::Leave(names) | Self::Unsubscribe(names) | Self::Presence(names) => names.len().max(1),
        }
    }
}

fn parse_action<'a>(fields: &FrameFields<'a>, limits: &Limits) -> Result<ClientAction<'a>, ClientError> {
    let names = || ClientAction::names().collect::<Vec<_>>().join(", ");
    let raw = fields.action.ok_or_else(|| {
        ClientError::new(ErrorCode::MissingField, format!("the frame has no 'action'; it must be one of {}", names()))
    })?;
    let name = parse_string(raw);
    let found = ACTIONS.iter().find(|(action, _)| name.as_deref() == Some(*action));
    let unknown = || ClientError::new(ErrorCode::UnknownAction, format!("'action' must be one of {}", names()));
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
    let max = limits.history_messages;
    let limit = match FrameFields::parse_number("limit", fields.limit)? {
        None => DEFAULT_HISTORY_ENTRIES.min(max),
        Some(limit @ 1..) if limit <= max as u64 => limit as usize,
        Some(_) => return Err(bad_field(format!("'limit' must be 1 to {max}"))),
    };
    let before = FrameFields::parse_number("before", fields.before)?.map(Offset);
    Ok(HistoryRequest { channel: fields.history_channel()?, before, limit })
}

fn require_channels(fields: &FrameFields<'_>) -> Result<Vec<ChannelRequest>, ClientError> {
    let requests = fields.channel_requests()?;
    if requests.is_empty() {
        return Err(missing_field("the action requires 'channel' or 'channels'"));
    }
    Ok(requests)
}

fn require_rooms(requests: Vec<ChannelRequest>) -> Result<Vec<ChannelRequest>, ClientError> {
    let valid = requests.iter().all(|request| matches!(request.channel, ChannelName::Room(_)));
    let text = "'join' and 'leave' accept rooms only ('room:{name}'); use 'subscribe' for topics";
    if valid { Ok(requests) } else { Err(bad_field(text.to_owned())) }
}

fn require_topics(requests: Vec<ChannelRequest>) -> Result<Vec<ChannelRequest>, ClientError> {
    let valid = requests.iter().all(|request| matches!(request.channel, ChannelName::Topic(_)));
    let text = "'subscribe' and 'unsubscribe' accept topics only ('topic:{name}'); use 'join' for rooms";
    if valid { Ok(requests) } else { Err(bad_field(text.to_owned())) }
}

fn channel_names(requests: Vec<ChannelRequest>) -> Vec<ChannelName> {
    requests.into_iter().map(|request| request.channel).collect()
}

/// Returns an error with the place of the syntax error. It never repeats the input, which may be long or binary.
fn invalid_json(error: &serde_json::Error) -> ClientError {
    if error.classify() == Category::Data {
        return not_an_object();
    }
    let (line, column) = (error.line(), error.column());
    let text = format!(
        "the frame is not valid JSON (line {line}, column {column}): send one object, for example {{\"action\":\"ping\"}}"
    );
    ClientError::new(ErrorCode::BadJson, text)
}

fn not_an_object() -> ClientError {
    let text = "the frame must be a JSON object with every field at most once, for example {\"action\":\"ping\"}";
    ClientError::new(ErrorCode::BadJson, text)
}

#[cfg(test)]
mod tests;
