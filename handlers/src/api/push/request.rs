//! Reading the body of a push: one message or a batch, with every mistake found in one go.
//!
//! Invariant: a [`Push`] that leaves here passed every check that needs no port, so that a batch is refused whole
//! before anything of it is written. Bodies of messages stay text, whatever JSON they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::api::problem::{Mistake, Place, Problem};
use crate::channel::ChannelName;
use crate::id::{ConnectionId, MessageId, UserId};
use crate::identity::Role;
use crate::limits::Limits;
use crate::ports::Clock;

/// Largest body of a push, in bytes: a full batch of the largest messages is 2.8 MB, and a Lambda function cannot be
/// called with more than 6 MB.
pub const PUSH_BYTES: usize = 4 * 1024 * 1024;
/// Most mistakes that one answer lists; nobody reads more.
const MISTAKES_LISTED: usize = 50;
/// The header that makes a push safe to repeat.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

const AUDIENCE: &str =
    "must be \"everyone\" or an object with one of 'channel', 'user', 'role' and 'connection', each a string";

/// Who a push is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// The readers of a channel.
    Channel(ChannelName),
    /// Everybody of one role, outside of any channel.
    Role(Role),
    /// One connection, outside of any channel.
    Connection(ConnectionId),
}

/// One message to push.
#[derive(Debug, Clone)]
pub(super) struct Push {
    pub target: Target,
    pub id: MessageId,
    pub body: Arc<RawValue>,
    pub ephemeral: bool,
}

/// What one request asks for.
#[derive(Debug)]
pub(super) enum Pushes {
    One(Push),
    Batch(Vec<Push>),
}

/// How ids of messages are made: from the caller's key, so that a repeat has the same ones, or fresh.
struct Ids<'a> {
    key: Option<&'a str>,
    clock: &'a dyn Clock,
}

type Fields<'a> = BTreeMap<String, &'a RawValue>;

impl Pushes {
    /// Reads a request.
    pub(super) fn read(headers: &HeaderMap, body: &[u8], clock: &dyn Clock, limits: &Limits) -> Result<Self, Problem> {
        check_media_type(headers.get(CONTENT_TYPE))?;
        if body.len() > PUSH_BYTES {
            return Err(Problem::too_large(format!("a push has at most {PUSH_BYTES} bytes")));
        }
        let text = std::str::from_utf8(body).map_err(|_| Problem::malformed("the body is not UTF-8"))?;
        let fields: Fields<'_> = serde_json::from_str(text).map_err(|error| unreadable(&error))?;
        let ids = Ids { key: idempotency_key(headers), clock };
        let mut reader = Reader { limits, mistakes: Vec::new() };
        let pushes = match fields.contains_key("messages") {
            true => reader.batch(fields, &ids).map(Self::Batch),
            false => reader.message("#", fields, ids.only()).map(Self::One),
        };
        match pushes {
            Some(pushes) if reader.mistakes.is_empty() => Ok(pushes),
            _ => Err(Problem::mistakes(reader.mistakes)),
        }
    }
}

/// JSON under its own name or a structured suffix (RFC 6839), with any parameters.
fn check_media_type(value: Option<&HeaderValue>) -> Result<(), Problem> {
    let given = value.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        Ok(())
    } else {
        Err(Problem::unsupported_media_type("send 'Content-Type: application/json'"))
    }
}

fn unreadable(error: &serde_json::Error) -> Problem {
    match error.classify() {
        Category::Data => Problem::mistakes(vec![mistake("#".to_owned(), "must be an object")]),
        _ => Problem::malformed(format!("not JSON at line {}, column {}", error.line(), error.column())),
    }
}

/// The key, with or without the quotes that `draft-ietf-httpapi-idempotency-key-header` puts around it.
fn idempotency_key(headers: &HeaderMap) -> Option<&str> {
    let key = headers.get(IDEMPOTENCY_KEY)?.to_str().unwrap_or_default().trim();
    Some(key.strip_prefix('"').and_then(|key| key.strip_suffix('"')).unwrap_or(key))
}

impl Ids<'_> {
    fn only(&self) -> Result<MessageId, Mistake> {
        self.make(self.key.map(str::to_owned))
    }

    fn of_batch(&self, index: usize) -> Result<MessageId, Mistake> {
        self.make(self.key.map(|key| format!("{key}.{index}")))
    }

    fn make(&self, keyed: Option<String>) -> Result<MessageId, Mistake> {
        let id = keyed.unwrap_or_else(|| self.clock.fresh_id());
        MessageId::parse(&id).map_err(|error| Mistake {
            place: Place::Header("Idempotency-Key"),
            detail: format!("{error}, in a batch with '.' and the message's index behind it"),
        })
    }
}

/// Collects mistakes; what it returns is complete only while there are none.
struct Reader<'a> {
    limits: &'a Limits,
    mistakes: Vec<Mistake>,
}

impl Reader<'_> {
    fn batch(&mut self, mut fields: Fields<'_>, ids: &Ids<'_>) -> Option<Vec<Push>> {
        let messages = fields.remove("messages")?;
        self.refuse_unknown("#", &fields);
        let Ok(messages) = serde_json::from_str::<Vec<&RawValue>>(messages.get()) else {
            return self.wrong("#/messages", "must be an array");
        };
        if messages.is_empty() || messages.len() > self.limits.push_messages {
            let detail = format!("must have 1 to {} messages, not {}", self.limits.push_messages, messages.len());
            return self.wrong("#/messages", &detail);
        }
        // `map` and then `collect`, so that the mistakes of all messages are found and not only of the first.
        let pushes: Vec<_> = messages.iter().enumerate().map(|(index, raw)| self.element(index, raw, ids)).collect();
        pushes.into_iter().collect()
    }

    fn element(&mut self, index: usize, raw: &RawValue, ids: &Ids<'_>) -> Option<Push> {
        let at = format!("#/messages/{index}");
        match serde_json::from_str::<Fields<'_>>(raw.get()) {
            Ok(fields) => self.message(&at, fields, ids.of_batch(index)),
            Err(_) => self.wrong(&at, "must be an object"),
        }
    }

    fn message(&mut self, at: &str, mut fields: Fields<'_>, id: Result<MessageId, Mistake>) -> Option<Push> {
        let target = self.target(&format!("{at}/audience"), fields.remove("audience"));
        let body = self.body(&format!("{at}/body"), fields.remove("body"));
        let ephemeral = match fields.remove("ephemeral").map(read::<bool>) {
            None => Some(false),
            Some(Some(ephemeral)) => Some(ephemeral),
            Some(None) => self.wrong(&format!("{at}/ephemeral"), "must be true or false"),
        };
        self.refuse_unknown(at, &fields);
        let id = id.map_err(|mistake| self.note(mistake)).ok();
        Some(Push { target: target?, id: id?, body: body?, ephemeral: ephemeral? })
    }

    fn target(&mut self, at: &str, raw: Option<&RawValue>) -> Option<Target> {
        #[derive(Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum Wanted {
            Everyone,
            Channel(String),
            User(String),
            Role(String),
            Connection(String),
        }
        let Some(wanted) = raw.and_then(read::<Wanted>) else { return self.wrong(at, AUDIENCE) };
        let target = match wanted {
            Wanted::Everyone => Ok(Target::Channel(ChannelName::Everyone)),
            Wanted::Channel(name) => ChannelName::parse(&name).map(Target::Channel).map_err(|error| error.to_string()),
            Wanted::User(user) => UserId::parse(&user)
                .map(|user| Target::Channel(ChannelName::Conversation(user)))
                .map_err(|error| error.to_string()),
            Wanted::Role(role) => {
                Role::parse(&role).map(Target::Role).ok_or_else(|| "a role is 'user', 'admin' or 'service'".to_owned())
            }
            Wanted::Connection(id) => {
                ConnectionId::parse(&id).map(Target::Connection).map_err(|error| error.to_string())
            }
        };
        target.map_err(|detail| self.wrong::<()>(at, &detail)).ok()
    }

    fn body(&mut self, at: &str, raw: Option<&RawValue>) -> Option<Arc<RawValue>> {
        let Some(raw) = raw else { return self.wrong(at, "is missing; any JSON value will do") };
        if raw.get().len() > self.limits.body_bytes {
            return self.wrong(at, &format!("must have at most {} bytes of JSON", self.limits.body_bytes));
        }
        Some(Arc::from(raw.to_owned()))
    }

    fn refuse_unknown(&mut self, at: &str, fields: &Fields<'_>) {
        for name in fields.keys() {
            let _: Option<()> = self.wrong(&format!("{at}/{}", escaped(name)), "unknown");
        }
    }

    fn wrong<T>(&mut self, at: &str, detail: &str) -> Option<T> {
        self.note(mistake(at.to_owned(), detail));
        None
    }

    fn note(&mut self, mistake: Mistake) {
        if self.mistakes.len() < MISTAKES_LISTED {
            self.mistakes.push(mistake);
        }
    }
}

fn mistake(pointer: String, detail: &str) -> Mistake {
    Mistake { place: Place::Pointer(pointer), detail: detail.to_owned() }
}

fn read<T: DeserializeOwned>(raw: &RawValue) -> Option<T> {
    serde_json::from_str(raw.get()).ok()
}

/// A field's name within a JSON pointer within a URI fragment (RFC 6901, sections 3 and 6).
fn escaped(name: &str) -> String {
    const NOT_IN_A_FRAGMENT: &AsciiSet =
        &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'<').add(b'>').add(b'`');
    utf8_percent_encode(&name.replace('~', "~0").replace('/', "~1"), NOT_IN_A_FRAGMENT).to_string()
}
