//! What clients send: `{"action": A, "id"?: string, …}`.
//!
//! [`Incoming::parse`] never panics and never copies the body. A frame that cannot be read is [`Rejected`] with a code,
//! a sentence that says what to do, and the frame's `id` when that much could be read.

use serde_json::error::Category;
use serde_json::value::RawValue;

use super::error::{ErrorCode, Refusal, Rejected};
use super::fields::{Fields, bad_field, is_object, missing, text};
use crate::channel::{ChannelName, Epoch, Offset};
use crate::id::MessageId;
use crate::limits::Limits;

/// A frame that was read.
#[derive(Debug)]
pub struct Incoming<'a> {
    /// The client's id of it; the answer repeats it.
    pub id: Option<MessageId>,
    /// What it asks for.
    pub action: Action<'a>,
}

/// What a client asks for.
#[derive(Debug)]
pub enum Action<'a> {
    /// Write a message.
    Send(SendRequest<'a>),
    /// Enter rooms.
    Join(Vec<Wanted>),
    /// Leave rooms.
    Leave(Vec<ChannelName>),
    /// Follow topics.
    Subscribe(Vec<Wanted>),
    /// Stop following topics.
    Unsubscribe(Vec<ChannelName>),
    /// Say who I am and send what I missed.
    Resume(Vec<Wanted>),
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
pub struct Wanted {
    /// Which one.
    pub channel: ChannelName,
    /// The last place that the client saw; absent, it starts at the end.
    pub since: Option<Since>,
}

/// The last place of a channel that a client saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Since {
    /// The epoch, when the client knows it.
    pub epoch: Option<Epoch>,
    /// The offset.
    pub offset: Offset,
}

/// How many entries a `history` without `limit` has.
const HISTORY_ENTRIES: usize = 50;

impl<'a> Incoming<'a> {
    /// Reads one frame.
    ///
    /// # Errors
    /// [`Rejected`], ready to be answered as an `error` frame.
    pub fn parse(frame: &'a str, limits: &Limits) -> Result<Self, Rejected> {
        let fields = fields(frame).map_err(|refusal| Rejected { id: None, refusal })?;
        let id = fields.id().map_err(|refusal| Rejected { id: None, refusal })?;
        match action(&fields, limits) {
            Ok(action) => Ok(Self { id, action }),
            Err(refusal) => Err(Rejected { id, refusal }),
        }
    }
}

fn fields(frame: &str) -> Result<Fields<'_>, Refusal> {
    match serde_json::from_str(frame) {
        Ok(fields) if is_object(frame) => Ok(fields),
        Ok(_) => Err(no_object()),
        Err(error) => Err(unreadable(&error)),
    }
}

/// Parses the fields that one action reads.
type ParseAction = for<'a> fn(&Fields<'a>, &Limits) -> Result<Action<'a>, Refusal>;

/// Every action with its parser. `docs/PROTOCOL.md` has a row for each.
const ACTIONS: [(&str, ParseAction); 9] = [
    ("send", |fields, limits| Ok(Action::Send(send(fields, limits)?))),
    ("ping", |_, _| Ok(Action::Ping)),
    ("join", |fields, _| Ok(Action::Join(rooms(named(fields)?)?))),
    ("leave", |fields, _| Ok(Action::Leave(names(rooms(named(fields)?)?)))),
    ("subscribe", |fields, _| Ok(Action::Subscribe(topics(named(fields)?)?))),
    ("unsubscribe", |fields, _| Ok(Action::Unsubscribe(names(topics(named(fields)?)?)))),
    ("resume", |fields, _| Ok(Action::Resume(fields.wanted()?))),
    ("history", |fields, limits| Ok(Action::History(history(fields, limits)?))),
    ("presence", |fields, _| Ok(Action::Presence(names(fields.wanted()?)))),
];

impl Action<'_> {
    /// The name of every action.
    pub fn names() -> impl Iterator<Item = &'static str> {
        ACTIONS.iter().map(|(name, _)| *name)
    }
}

fn action<'a>(fields: &Fields<'a>, limits: &Limits) -> Result<Action<'a>, Refusal> {
    let all = || Action::names().collect::<Vec<_>>().join(", ");
    let raw = fields.action.ok_or_else(|| {
        Refusal::new(ErrorCode::MissingField, format!("the frame has no 'action': it is one of {}", all()))
    })?;
    let name = text(raw);
    let found = ACTIONS.iter().find(|(action, _)| name.as_deref() == Some(*action));
    let unknown = || Refusal::new(ErrorCode::UnknownAction, format!("'action' must be one of {}", all()));
    let (_, parse) = found.ok_or_else(unknown)?;
    parse(fields, limits)
}

fn send<'a>(fields: &Fields<'a>, limits: &Limits) -> Result<SendRequest<'a>, Refusal> {
    Ok(SendRequest { to: fields.to()?, body: fields.body(limits.body_bytes)?, ephemeral: fields.ephemeral()? })
}

fn history(fields: &Fields<'_>, limits: &Limits) -> Result<HistoryRequest, Refusal> {
    let most = limits.history_messages;
    let limit = match Fields::number("limit", fields.limit)? {
        None => HISTORY_ENTRIES.min(most),
        Some(limit @ 1..) if limit <= most as u64 => limit as usize,
        Some(_) => return Err(bad_field(format!("'limit' must be 1 to {most}"))),
    };
    let before = Fields::number("before", fields.before)?.map(Offset);
    Ok(HistoryRequest { channel: fields.channel()?, before, limit })
}

fn named(fields: &Fields<'_>) -> Result<Vec<Wanted>, Refusal> {
    let wanted = fields.wanted()?;
    if wanted.is_empty() {
        return Err(missing("the action needs 'channel' or 'channels': which ones"));
    }
    Ok(wanted)
}

fn rooms(wanted: Vec<Wanted>) -> Result<Vec<Wanted>, Refusal> {
    let all = wanted.iter().all(|wanted| matches!(wanted.channel, ChannelName::Room(_)));
    let text = "only rooms are joined and left: name 'room:{name}', and 'subscribe' to topics";
    if all { Ok(wanted) } else { Err(bad_field(text.to_owned())) }
}

fn topics(wanted: Vec<Wanted>) -> Result<Vec<Wanted>, Refusal> {
    let all = wanted.iter().all(|wanted| matches!(wanted.channel, ChannelName::Topic(_)));
    let text = "only topics are subscribed to: name 'topic:{name}', and 'join' rooms";
    if all { Ok(wanted) } else { Err(bad_field(text.to_owned())) }
}

fn names(wanted: Vec<Wanted>) -> Vec<ChannelName> {
    wanted.into_iter().map(|wanted| wanted.channel).collect()
}

/// Says where the text goes wrong without repeating it: what was sent may be long, or not text for people at all.
fn unreadable(error: &serde_json::Error) -> Refusal {
    if error.classify() == Category::Data {
        return no_object();
    }
    let (line, column) = (error.line(), error.column());
    let text = format!(
        "the frame is not JSON (line {line}, column {column}): send one object, for example {{\"action\":\"ping\"}}"
    );
    Refusal::new(ErrorCode::BadJson, text)
}

fn no_object() -> Refusal {
    let text = "the frame must be a JSON object with every field at most once, for example {\"action\":\"ping\"}";
    Refusal::new(ErrorCode::BadJson, text)
}

#[cfg(test)]
mod tests;
