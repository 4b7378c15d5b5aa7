//! Parser of the body of a push: one message or a batch, with all errors reported at once.
//!
//! A [`PushedMessage`] has passed every check that needs no port, so a batch is rejected as a whole before anything is
//! written. Message bodies stay text, whatever JSON they contain.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::api::problem::{ErrorLocation, FieldError, ProblemDetails};
use crate::channel::ChannelName;
use crate::id::{ConnectionId, MessageId, UserId};
use crate::identity::Role;
use crate::limits::Limits;
use crate::ports::Clock;

/// Largest body of a push, in bytes. A full batch of the largest messages has 2.8 MB; the payload of a Lambda
/// invocation is limited to 6 MB.
pub const MAX_PUSH_BYTES: usize = 4 * 1024 * 1024;
/// Maximum errors that one response lists.
const MAX_LISTED_ERRORS: usize = 50;
/// Header that makes a push idempotent.
const IDEMPOTENCY_KEY_HEADER: &str = "idempotency-key";

const AUDIENCE_SHAPE: &str =
    "must be \"everyone\" or an object with one of 'channel', 'user', 'role' and 'connection', each a string";

/// Target of a push.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PushTarget {
    /// The readers of a channel.
    Channel(ChannelName),
    /// All connections of one role, outside of any channel.
    Role(Role),
    /// One connection, outside of any channel.
    Connection(ConnectionId),
}

/// One message to push.
#[derive(Debug, Clone)]
pub(super) struct PushedMessage {
    pub target: PushTarget,
    pub id: MessageId,
    pub body: Arc<RawValue>,
    pub ephemeral: bool,
}

/// A parsed request.
#[derive(Debug)]
pub(super) enum PushRequest {
    One(PushedMessage),
    Batch(Vec<PushedMessage>),
}

/// Source of message ids: derived from the idempotency key, so that a repeated request has the same ids, or generated.
struct MessageIdSource<'a> {
    key: Option<MessageId>,
    clock: &'a dyn Clock,
}

type JsonFields<'a> = BTreeMap<String, &'a RawValue>;

impl PushRequest {
    /// Parses a request.
    pub(super) fn from_body(
        headers: &HeaderMap,
        body: &[u8],
        clock: &dyn Clock,
        limits: &Limits,
    ) -> Result<Self, ProblemDetails> {
        check_media_type(headers.get(CONTENT_TYPE))?;
        check_content_coding(headers)?;
        if body.len() > MAX_PUSH_BYTES {
            return Err(ProblemDetails::payload_too_large(format!("a push may have at most {MAX_PUSH_BYTES} bytes")));
        }
        let text = std::str::from_utf8(body).map_err(|_| ProblemDetails::malformed("the body is not UTF-8"))?;
        let fields: JsonFields<'_> = serde_json::from_str(text).map_err(|error| invalid_json(&error))?;
        let ids = MessageIdSource { key: idempotency_key(headers)?, clock };
        let mut reader = PushReader { limits, errors: Vec::new() };
        let pushes = match fields.contains_key("messages") {
            true => reader.read_batch(fields, &ids)?.map(Self::Batch),
            false => reader.read_message("#", fields, ids.single_id()?).map(Self::One),
        };
        match pushes {
            Some(pushes) if reader.errors.is_empty() => Ok(pushes),
            _ => Err(ProblemDetails::invalid_fields(reader.errors)),
        }
    }
}

/// Accepts `application/json` and structured suffixes (RFC 6839), with any parameters.
fn check_media_type(value: Option<&HeaderValue>) -> Result<(), ProblemDetails> {
    let given = value.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        Ok(())
    } else {
        Err(ProblemDetails::unsupported_media_type("send 'Content-Type: application/json'"))
    }
}

/// Rejects compressed bodies, which would be reported as invalid JSON (RFC 9110, section 15.5.16).
fn check_content_coding(headers: &HeaderMap) -> Result<(), ProblemDetails> {
    if headers.get_all(CONTENT_ENCODING).iter().all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Ok(());
    }
    Err(ProblemDetails::unsupported_media_type(
        "send the body without 'Content-Encoding'; compressed bodies are not supported",
    ))
}

fn invalid_json(error: &serde_json::Error) -> ProblemDetails {
    match error.classify() {
        Category::Data => ProblemDetails::invalid_fields(vec![field_error("#".to_owned(), "must be an object")]),
        _ => ProblemDetails::malformed(format!("not JSON at line {}, column {}", error.line(), error.column())),
    }
}

/// Returns the key without the quotes that `draft-ietf-httpapi-idempotency-key-header` requires; unquoted keys are
/// accepted. A key that cannot be an id is a 400, as in section 2.7 of the draft: every id derived from a replacement
/// would be the same, and later pushes would be lost as duplicates.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<MessageId>, ProblemDetails> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY_HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(invalid_key("the header must be given at most once"));
    }
    let key = value.to_str().map_err(|_| invalid_key("the key must be printable ASCII without spaces"))?.trim();
    let key = key.strip_prefix('"').and_then(|key| key.strip_suffix('"')).unwrap_or(key);
    MessageId::parse(key).map(Some).map_err(|error| invalid_key(error.to_string()))
}

fn invalid_key(detail: impl Into<String>) -> ProblemDetails {
    ProblemDetails::malformed_header("Idempotency-Key", detail)
}

impl MessageIdSource<'_> {
    /// Returns the id of the only message of a request.
    fn single_id(self) -> Result<MessageId, ProblemDetails> {
        match self.key {
            Some(key) => Ok(key),
            None => parse_id(&self.clock.fresh_id()),
        }
    }

    /// Returns the id of the message with the index `index` of a batch.
    fn batch_id(&self, index: usize) -> Result<MessageId, ProblemDetails> {
        match &self.key {
            Some(key) => parse_id(&format!("{}.{index}", key.as_str())),
            None => parse_id(&self.clock.fresh_id()),
        }
    }
}

fn parse_id(text: &str) -> Result<MessageId, ProblemDetails> {
    MessageId::parse(text)
        .map_err(|error| invalid_key(format!("{error}; in a batch, '.' and the message's index are appended")))
}

/// Parser that collects errors. Its results are complete only if there are no errors.
struct PushReader<'a> {
    limits: &'a Limits,
    errors: Vec<FieldError>,
}

impl PushReader<'_> {
    /// Returns `None` if an error was reported. The error of an id fails the request at once, because it is not one of
    /// the body.
    fn read_batch(
        &mut self,
        mut fields: JsonFields<'_>,
        ids: &MessageIdSource<'_>,
    ) -> Result<Option<Vec<PushedMessage>>, ProblemDetails> {
        let Some(messages) = fields.remove("messages") else { return Ok(None) };
        self.reject_unknown("#", &fields);
        let Ok(messages) = serde_json::from_str::<Vec<&RawValue>>(messages.get()) else {
            return Ok(self.report_error("#/messages", "must be an array"));
        };
        if messages.is_empty() || messages.len() > self.limits.push_messages {
            let detail = format!("must have 1 to {} messages, not {}", self.limits.push_messages, messages.len());
            return Ok(self.report_error("#/messages", &detail));
        }
        let ids: Vec<MessageId> = (0..messages.len()).map(|index| ids.batch_id(index)).collect::<Result<_, _>>()?;
        // Collecting before converting to `Option` reports the errors of all messages, not only of the first one.
        let pushes: Vec<_> =
            messages.iter().zip(ids).enumerate().map(|(index, (raw, id))| self.read_element(index, raw, id)).collect();
        Ok(pushes.into_iter().collect())
    }

    fn read_element(&mut self, index: usize, raw: &RawValue, id: MessageId) -> Option<PushedMessage> {
        let pointer = format!("#/messages/{index}");
        match serde_json::from_str::<JsonFields<'_>>(raw.get()) {
            Ok(fields) => self.read_message(&pointer, fields, id),
            Err(_) => self.report_error(&pointer, "must be an object"),
        }
    }

    fn read_message(&mut self, pointer: &str, mut fields: JsonFields<'_>, id: MessageId) -> Option<PushedMessage> {
        let target = self.read_target(&format!("{pointer}/audience"), fields.remove("audience"));
        let body = self.read_body(&format!("{pointer}/body"), fields.remove("body"));
        let ephemeral = match fields.remove("ephemeral").map(parse_value::<bool>) {
            None => Some(false),
            Some(Some(ephemeral)) => Some(ephemeral),
            Some(None) => self.report_error(&format!("{pointer}/ephemeral"), "must be true or false"),
        };
        self.reject_unknown(pointer, &fields);
        Some(PushedMessage { target: target?, id, body: body?, ephemeral: ephemeral? })
    }

    fn read_target(&mut self, pointer: &str, raw: Option<&RawValue>) -> Option<PushTarget> {
        #[derive(Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum AudienceField {
            Everyone,
            Channel(String),
            User(String),
            Role(String),
            Connection(String),
        }
        let Some(audience) = raw.and_then(parse_value::<AudienceField>) else {
            return self.report_error(pointer, AUDIENCE_SHAPE);
        };
        let target = match audience {
            AudienceField::Everyone => Ok(PushTarget::Channel(ChannelName::Everyone)),
            AudienceField::Channel(name) => {
                ChannelName::parse(&name).map(PushTarget::Channel).map_err(|error| error.to_string())
            }
            AudienceField::User(user) => UserId::parse_or_encode(&user)
                .map(|user| PushTarget::Channel(ChannelName::Conversation(user)))
                .map_err(|error| error.to_string()),
            AudienceField::Role(role) => Role::parse(&role)
                .map(PushTarget::Role)
                .ok_or_else(|| "must be 'user', 'admin' or 'service'".to_owned()),
            AudienceField::Connection(id) => {
                ConnectionId::parse(&id).map(PushTarget::Connection).map_err(|error| error.to_string())
            }
        };
        target.map_err(|detail| self.report_error::<()>(pointer, &detail)).ok()
    }

    fn read_body(&mut self, pointer: &str, raw: Option<&RawValue>) -> Option<Arc<RawValue>> {
        let Some(raw) = raw else { return self.report_error(pointer, "is required; any JSON value is accepted") };
        if raw.get().len() > self.limits.body_bytes {
            return self.report_error(pointer, &format!("must have at most {} bytes of JSON", self.limits.body_bytes));
        }
        Some(Arc::from(raw.to_owned()))
    }

    fn reject_unknown(&mut self, pointer: &str, fields: &JsonFields<'_>) {
        for name in fields.keys() {
            let _: Option<()> = self.report_error(&format!("{pointer}/{}", escape_pointer(name)), "unknown field");
        }
    }

    fn report_error<T>(&mut self, pointer: &str, detail: &str) -> Option<T> {
        self.add_error(field_error(pointer.to_owned(), detail));
        None
    }

    fn add_error(&mut self, error: FieldError) {
        if self.errors.len() < MAX_LISTED_ERRORS {
            self.errors.push(error);
        }
    }
}

fn field_error(pointer: String, detail: &str) -> FieldError {
    FieldError { location: ErrorLocation::Pointer(pointer), detail: detail.to_owned() }
}

fn parse_value<T: DeserializeOwned>(raw: &RawValue) -> Option<T> {
    serde_json::from_str(raw.get()).ok()
}

/// Escapes a field name for a JSON pointer inside a URI fragment (RFC 6901, sections 3 and 6).
fn escape_pointer(name: &str) -> String {
    const NOT_IN_A_FRAGMENT: &AsciiSet =
        &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'<').add(b'>').add(b'`');
    utf8_percent_encode(&name.replace('~', "~0").replace('/', "~1"), NOT_IN_A_FRAGMENT).to_string()
}
