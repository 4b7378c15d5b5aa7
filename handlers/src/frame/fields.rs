//! The raw fields of an incoming frame, and readers for each kind of value.
//!
//! One pass finds the fields and leaves every value as text; the action then reads the few it needs. So a wrong type is
//! told with the field's name, a body is never copied, and nothing is built that the action does not use.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::error::{ClientError, ErrorCode};
use super::incoming::{ChannelRequest, ClientPosition};
use crate::channel::{ChannelName, Epoch, Offset};
use crate::id::MessageId;
use crate::limits;

/// Every field that some action knows; others are ignored, so that newer clients can talk to older servers.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct FrameFields<'a> {
    #[serde(borrow)]
    pub(super) action: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) to: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "keep_null")]
    pub(super) body: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) ephemeral: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) channel: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) channels: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) since: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) before: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) limit: Option<&'a RawValue>,
}

/// `null` is a body like any other; for every other field it is the same as leaving it out.
fn keep_null<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
struct SinceFields<'a> {
    #[serde(borrow)]
    epoch: Option<Cow<'a, str>>,
    offset: u64,
}

impl<'a> FrameFields<'a> {
    /// The frame's id.
    pub(super) fn frame_id(&self) -> Result<Option<MessageId>, ClientError> {
        let Some(raw) = self.id else { return Ok(None) };
        let text = parse_string(raw).ok_or_else(|| wrong_type("id", "a string"))?;
        MessageId::parse(&text).map(Some).map_err(|invalid| bad_field(format!("'id' is refused: {invalid}")))
    }

    /// The channel that a `send` names.
    pub(super) fn target_channel(&self) -> Result<Option<ChannelName>, ClientError> {
        self.to.map(|raw| parse_channel_name("to", raw)).transpose()
    }

    /// The body of a `send`, of at most `most` bytes.
    pub(super) fn message_body(&self, most: usize) -> Result<&'a RawValue, ClientError> {
        let body = self.body.ok_or_else(|| missing_field("'send' needs 'body': the message, any JSON value"))?;
        let size = body.get().len();
        if size > most {
            let text =
                format!("'body' has {size} bytes of JSON and at most {most} are allowed: split it, or send a link");
            return Err(ClientError::new(ErrorCode::TooLarge, text));
        }
        Ok(body)
    }

    /// Whether a `send` skips the log.
    pub(super) fn is_ephemeral(&self) -> Result<bool, ClientError> {
        match self.ephemeral.map(RawValue::get) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(wrong_type("ephemeral", "true or false")),
        }
    }

    /// The one channel of a `history`.
    pub(super) fn history_channel(&self) -> Result<ChannelName, ClientError> {
        let raw = self.channel.ok_or_else(|| missing_field("'history' needs 'channel': which one to read"))?;
        parse_channel_name("channel", raw)
    }

    /// A whole number, when it is there.
    pub(super) fn parse_number(field: &'static str, raw: Option<&RawValue>) -> Result<Option<u64>, ClientError> {
        let Some(raw) = raw else { return Ok(None) };
        raw.get().parse().map(Some).map_err(|_| wrong_type(field, "a whole number, 0 or more"))
    }

    /// The channels of a frame, each once: `channels` as a list of names or as an object of name to position, or
    /// `channel` with `since`. Empty when the frame names none.
    pub(super) fn channel_requests(&self) -> Result<Vec<ChannelRequest>, ClientError> {
        let wanted = match (self.channels, self.channel) {
            (Some(raw), None) => parse_channel_list(raw)?,
            (None, Some(raw)) => {
                vec![ChannelRequest { channel: parse_channel_name("channel", raw)?, since: self.client_position()? }]
            }
            (None, None) => Vec::new(),
            (Some(_), Some(_)) => return Err(bad_field("name either 'channel' or 'channels', not both".to_owned())),
        };
        if wanted.len() > limits::MAX_CHANNELS_PER_FRAME {
            let (count, most) = (wanted.len(), limits::MAX_CHANNELS_PER_FRAME);
            let text = format!("the frame names {count} channels and at most {most} are allowed: send several frames");
            return Err(ClientError::new(ErrorCode::TooMany, text));
        }
        Ok(wanted)
    }

    fn client_position(&self) -> Result<Option<ClientPosition>, ClientError> {
        self.since.map(|raw| parse_position(raw).ok_or_else(|| wrong_type("since", SINCE_SHAPE))).transpose()
    }
}

const SINCE_SHAPE: &str = "an object {\"offset\": number, \"epoch\"?: string}";

/// A position; `None` when it is none.
fn parse_position(raw: &RawValue) -> Option<ClientPosition> {
    let fields: SinceFields<'_> = is_object(raw.get()).then(|| serde_json::from_str(raw.get()).ok()).flatten()?;
    Some(ClientPosition { epoch: fields.epoch.map(|epoch| Epoch(epoch.into())), offset: Offset(fields.offset) })
}

/// Whether a JSON text is an object: serde reads lists as well where it is asked for fields.
pub(super) fn is_object(json: &str) -> bool {
    json.trim_ascii_start().starts_with('{')
}

/// The text of a JSON string, borrowed unless it has escapes; `None` when it is no string.
pub(super) fn parse_string(raw: &RawValue) -> Option<Cow<'_, str>> {
    let quoted = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if quoted.contains('\\') {
        serde_json::from_str(raw.get()).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(quoted))
    }
}

fn parse_channel_name(field: &'static str, raw: &RawValue) -> Result<ChannelName, ClientError> {
    let text = parse_string(raw).ok_or_else(|| wrong_type(field, "a channel name, for example \"room:lobby\""))?;
    checked_channel_name(field, &text)
}

fn checked_channel_name(field: &'static str, text: &str) -> Result<ChannelName, ClientError> {
    ChannelName::parse(text).map_err(|invalid| bad_field(format!("'{field}' names no channel: {invalid}")))
}

fn parse_channel_list(raw: &RawValue) -> Result<Vec<ChannelRequest>, ClientError> {
    const CHANNELS_SHAPE: &str =
        "a list of channel names, or an object of channel name to {\"offset\": number, \"epoch\"?: string}";
    let wrong = || wrong_type("channels", CHANNELS_SHAPE);
    if is_object(raw.get()) {
        let positions: BTreeMap<Cow<'_, str>, Option<&RawValue>> =
            serde_json::from_str(raw.get()).map_err(|_| wrong())?;
        let wanted = |(name, since): (Cow<'_, str>, Option<&RawValue>)| {
            let since = since.map(|raw| parse_position(raw).ok_or_else(wrong)).transpose()?;
            Ok(ChannelRequest { channel: checked_channel_name("channels", &name)?, since })
        };
        return positions.into_iter().map(wanted).collect();
    }
    let names: BTreeSet<Cow<'_, str>> = serde_json::from_str(raw.get()).map_err(|_| wrong())?;
    names
        .iter()
        .map(|name| Ok(ChannelRequest { channel: checked_channel_name("channels", name)?, since: None }))
        .collect()
}

pub(super) fn missing_field(text: &'static str) -> ClientError {
    ClientError::new(ErrorCode::MissingField, text)
}

pub(super) fn bad_field(text: String) -> ClientError {
    ClientError::new(ErrorCode::BadField, text)
}

fn wrong_type(field: &'static str, shape: &'static str) -> ClientError {
    bad_field(format!("'{field}' must be {shape}"))
}
