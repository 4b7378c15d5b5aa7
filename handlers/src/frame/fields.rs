//! Raw fields of an incoming frame, and a parser for each kind of value.
//!
//! One pass splits the frame into fields and leaves every value as text; each action then parses only the fields it
//! uses. So an error names its field, and bodies are never copied.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::error::{ClientError, ErrorCode};
use super::incoming::{ChannelRequest, ClientPosition};
use crate::channel::{ChannelName, Epoch, Offset};
use crate::id::MessageId;
use crate::limits;

/// All fields used by any action. Unknown fields are ignored, so that newer clients work with older servers.
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

/// `null` is a valid body. In every other field it means that the field is absent.
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
    /// Parses `id`.
    pub(super) fn frame_id(&self) -> Result<Option<MessageId>, ClientError> {
        let Some(raw) = self.id else { return Ok(None) };
        let text = parse_string(raw).ok_or_else(|| wrong_type("id", "a string"))?;
        MessageId::parse(&text).map(Some).map_err(|error| bad_field(format!("'id' is invalid: {error}")))
    }

    /// Parses `to`.
    pub(super) fn target_channel(&self) -> Result<Option<ChannelName>, ClientError> {
        self.to.map(|raw| parse_channel_name("to", raw)).transpose()
    }

    /// Parses `body`, of at most `max` bytes.
    pub(super) fn message_body(&self, max: usize) -> Result<&'a RawValue, ClientError> {
        let body = self.body.ok_or_else(|| missing_field("'send' requires 'body': any JSON value"))?;
        let size = body.get().len();
        if size > max {
            let text =
                format!("'body' has {size} bytes of JSON; the limit is {max}: split the message, or send a link");
            return Err(ClientError::new(ErrorCode::TooLarge, text));
        }
        Ok(body)
    }

    /// Parses `ephemeral`.
    pub(super) fn is_ephemeral(&self) -> Result<bool, ClientError> {
        match self.ephemeral.map(RawValue::get) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(wrong_type("ephemeral", "true or false")),
        }
    }

    /// Parses `channel` of a `history`.
    pub(super) fn history_channel(&self) -> Result<ChannelName, ClientError> {
        let raw = self.channel.ok_or_else(|| missing_field("'history' requires 'channel'"))?;
        parse_channel_name("channel", raw)
    }

    /// Parses an optional whole number.
    pub(super) fn parse_number(field: &'static str, raw: Option<&RawValue>) -> Result<Option<u64>, ClientError> {
        let Some(raw) = raw else { return Ok(None) };
        raw.get().parse().map(Some).map_err(|_| wrong_type(field, "a whole number, 0 or more"))
    }

    /// Parses the channels of a frame, without duplicates: `channels` as a list of names or as an object of name to
    /// position, or `channel` with `since`. Returns an empty list if the frame names none.
    pub(super) fn channel_requests(&self) -> Result<Vec<ChannelRequest>, ClientError> {
        let requests = match (self.channels, self.channel) {
            (Some(raw), None) => parse_channel_list(raw)?,
            (None, Some(raw)) => {
                vec![ChannelRequest { channel: parse_channel_name("channel", raw)?, since: self.client_position()? }]
            }
            (None, None) => Vec::new(),
            (Some(_), Some(_)) => return Err(bad_field("send either 'channel' or 'channels', not both".to_owned())),
        };
        if requests.len() > limits::MAX_CHANNELS_PER_FRAME {
            let (count, max) = (requests.len(), limits::MAX_CHANNELS_PER_FRAME);
            let text = format!("the frame names {count} channels; the limit is {max}: send several frames");
            return Err(ClientError::new(ErrorCode::TooMany, text));
        }
        Ok(requests)
    }

    fn client_position(&self) -> Result<Option<ClientPosition>, ClientError> {
        self.since.map(|raw| parse_position(raw).ok_or_else(|| wrong_type("since", SINCE_SHAPE))).transpose()
    }
}

const SINCE_SHAPE: &str = "an object {\"offset\": number, \"epoch\"?: string}";

/// Parses a position; returns `None` if it is invalid.
fn parse_position(raw: &RawValue) -> Option<ClientPosition> {
    let fields: SinceFields<'_> = is_object(raw.get()).then(|| serde_json::from_str(raw.get()).ok()).flatten()?;
    Some(ClientPosition { epoch: fields.epoch.map(|epoch| Epoch(epoch.into())), offset: Offset(fields.offset) })
}

/// Returns whether a JSON text is an object. serde also deserializes structs from arrays.
pub(super) fn is_object(json: &str) -> bool {
    json.trim_ascii_start().starts_with('{')
}

/// Returns the text of a JSON string, borrowed unless it contains escapes, or `None` if it is not a string.
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
    ChannelName::parse(text).map_err(|error| bad_field(format!("'{field}' is not a channel name: {error}")))
}

fn parse_channel_list(raw: &RawValue) -> Result<Vec<ChannelRequest>, ClientError> {
    const CHANNELS_SHAPE: &str =
        "a list of channel names, or an object of channel name to {\"offset\": number, \"epoch\"?: string}";
    let invalid = || wrong_type("channels", CHANNELS_SHAPE);
    if is_object(raw.get()) {
        let positions: BTreeMap<Cow<'_, str>, Option<&RawValue>> =
            serde_json::from_str(raw.get()).map_err(|_| invalid())?;
        let request = |(name, since): (Cow<'_, str>, Option<&RawValue>)| {
            let since = since.map(|raw| parse_position(raw).ok_or_else(invalid)).transpose()?;
            Ok(ChannelRequest { channel: checked_channel_name("channels", &name)?, since })
        };
        return positions.into_iter().map(request).collect();
    }
    let names: BTreeSet<Cow<'_, str>> = serde_json::from_str(raw.get()).map_err(|_| invalid())?;
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
