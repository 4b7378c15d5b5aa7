//! Wire format of the bus: encoding and decoding of payloads.
//!
//! ```text
//! payload   version u8 · origin u64 · record*
//! record    kind u8 · length u32 · body            (records of an unknown kind are skipped)
//! frame     priority u8 · group index u8 · audience · flags u8 · [channel] · [epoch · offset u64] · text
//! request   id u64 · operation (JSON) · text       reply   id u64 · JSON
//! ```
//! Numbers are big-endian. Audience, channel, epoch and operation are a `u16` length and UTF-8; an audience is preceded
//! by a tag byte. `origin` is the incarnation of the sending pod. Decoding never panics, checks every length, and
//! allocates no more than the payload holds. The text of a frame is not copied, but borrowed from the payload.

mod cursor;
mod operation;

use bytes::{BufMut, BytesMut};
use handlers::audience::Audience;
use handlers::channel::{Channel, Epoch, Offset, Position};
use handlers::id::{ConnectionId, TenantId, UserId};
use handlers::identity::Role;
use handlers::ports::{OutgoingFrame, Placement, Priority};

use self::cursor::ByteCursor;
pub use self::operation::{PeerOperation, PeerReply, WireDescription};

/// Version of the format. Payloads of another version are ignored; their logged messages are backfilled from the log.
const WIRE_VERSION: u8 = 1;
const KIND_FRAME: u8 = 1;
const KIND_REQUEST: u8 = 2;
const KIND_REPLY: u8 = 3;
const KIND_HEARTBEAT: u8 = 4;
/// The frame's position belongs to the channel of its audience.
const FLAG_PLACED: u8 = 1;
/// The frame's position belongs to another channel, whose name is included.
const FLAG_PLACED_IN_OTHER_CHANNEL: u8 = 2;
/// Size of the version and the origin.
pub const ENVELOPE_BYTES: usize = 9;

/// A payload or record that does not conform to this version of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed bus payload")]
pub struct MalformedPayloadError;

/// A decoded record.
#[derive(Debug, PartialEq, Eq)]
pub enum BusRecord<'p> {
    /// A frame for an audience.
    Frame(BusFrame<'p>),
    /// A request about one connection.
    Request {
        /// Request id, repeated in the reply.
        id: u64,
        /// The requested operation.
        operation: PeerOperation,
        /// Text of the frame to send; empty for other operations.
        text: &'p str,
    },
    /// The reply to a request.
    Reply {
        /// Id of the request.
        id: u64,
        /// Result of the operation.
        reply: PeerReply,
    },
    /// A heartbeat of the pod to itself.
    Heartbeat,
}

/// A frame for the members of a group on other pods.
#[derive(Debug, PartialEq, Eq)]
pub struct BusFrame<'p> {
    /// The audience of the frame.
    pub audience: Audience,
    /// Index of the group, among those of the audience, that this copy is for.
    pub group_index: usize,
    /// Priority in the outboxes.
    pub priority: Priority,
    /// Channel and position of the message in the log; `None` for a frame that no log has.
    pub placement: Option<Placement>,
    /// Text of the frame.
    pub text: &'p str,
}

/// Writes the envelope of a payload. The records follow.
pub fn begin_payload(buffer: &mut BytesMut, origin: u64) {
    buffer.put_u8(WIRE_VERSION);
    buffer.put_u64(origin);
}

/// Encodes the copy of a frame for the group at `group_index` of the audience.
#[must_use]
pub fn frame_record(audience: &Audience, group_index: u8, outgoing: &OutgoingFrame) -> BytesMut {
    let mut record = begin_record(KIND_FRAME, outgoing.frame.len() + 160);
    record.put_u8(outgoing.priority as u8);
    record.put_u8(group_index);
    put_audience(&mut record, audience);
    match &outgoing.placement {
        None => record.put_u8(0),
        Some(placement) => {
            if matches!(audience, Audience::Channel(channel) if *channel == placement.channel) {
                record.put_u8(FLAG_PLACED);
            } else {
                record.put_u8(FLAG_PLACED_IN_OTHER_CHANNEL);
                put_text(&mut record, &placement.channel.to_string());
            }
            put_text(&mut record, &placement.position.epoch.0);
            record.put_u64(placement.position.offset.0);
        }
    }
    record.extend_from_slice(&outgoing.frame);
    end_record(record)
}

/// Encodes a request.
#[must_use]
pub fn request_record(id: u64, operation: &PeerOperation, text: &[u8]) -> BytesMut {
    let mut record = begin_record(KIND_REQUEST, text.len() + 256);
    record.put_u64(id);
    put_text(&mut record, &serde_json::to_string(operation).unwrap_or_default());
    record.extend_from_slice(text);
    end_record(record)
}

/// Encodes a reply.
#[must_use]
pub fn reply_record(id: u64, reply: &PeerReply) -> BytesMut {
    let mut record = begin_record(KIND_REPLY, 128);
    record.put_u64(id);
    record.extend_from_slice(&serde_json::to_vec(reply).unwrap_or_default());
    end_record(record)
}

/// Encodes a heartbeat.
#[must_use]
pub fn heartbeat_record() -> BytesMut {
    end_record(begin_record(KIND_HEARTBEAT, 0))
}

/// Decodes a payload. Returns the incarnation of the sender and an iterator over the records.
///
/// # Errors
/// [`MalformedPayloadError`] if the payload has another version or is shorter than the envelope.
pub fn read_payload(payload: &[u8]) -> Result<(u64, BusRecords<'_>), MalformedPayloadError> {
    let mut cursor = ByteCursor(payload);
    if cursor.read_byte()? != WIRE_VERSION {
        return Err(MalformedPayloadError);
    }
    Ok((cursor.read_u64()?, BusRecords { cursor }))
}

/// Iterator over the records of a payload. Continues after a malformed record, unless its length is invalid.
pub struct BusRecords<'p> {
    cursor: ByteCursor<'p>,
}

impl<'p> Iterator for BusRecords<'p> {
    type Item = Result<BusRecord<'p>, MalformedPayloadError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.cursor.0.is_empty() {
            match self.cursor.read_record() {
                Ok((kind, body)) => match read_record(kind, ByteCursor(body)) {
                    Ok(None) => {}
                    Ok(Some(record)) => return Some(Ok(record)),
                    Err(malformed) => return Some(Err(malformed)),
                },
                Err(malformed) => {
                    self.cursor = ByteCursor(&[]);
                    return Some(Err(malformed));
                }
            }
        }
        None
    }
}

fn read_record(kind: u8, mut body: ByteCursor<'_>) -> Result<Option<BusRecord<'_>>, MalformedPayloadError> {
    Ok(Some(match kind {
        KIND_FRAME => BusRecord::Frame(read_frame(body)?),
        KIND_REQUEST => {
            let id = body.read_u64()?;
            let operation = serde_json::from_str(body.read_text()?).map_err(|_| MalformedPayloadError)?;
            BusRecord::Request { id, operation, text: body.read_rest()? }
        }
        KIND_REPLY => BusRecord::Reply {
            id: body.read_u64()?,
            reply: serde_json::from_str(body.read_rest()?).map_err(|_| MalformedPayloadError)?,
        },
        KIND_HEARTBEAT => BusRecord::Heartbeat,
        _ => return Ok(None),
    }))
}

fn read_frame(mut body: ByteCursor<'_>) -> Result<BusFrame<'_>, MalformedPayloadError> {
    let priority = decode_priority(body.read_byte()?)?;
    let group_index = usize::from(body.read_byte()?);
    let audience = read_audience(&mut body)?;
    let placement = match (body.read_byte()?, &audience) {
        (0, _) => None,
        (FLAG_PLACED, Audience::Channel(channel)) => Some(read_placement(channel.clone(), &mut body)?),
        (FLAG_PLACED_IN_OTHER_CHANNEL, _) => {
            let channel = Channel::from_key(body.read_text()?).map_err(|_| MalformedPayloadError)?;
            Some(read_placement(channel, &mut body)?)
        }
        _ => return Err(MalformedPayloadError),
    };
    Ok(BusFrame { audience, group_index, priority, placement, text: body.read_rest()? })
}

fn read_placement(channel: Channel, body: &mut ByteCursor<'_>) -> Result<Placement, MalformedPayloadError> {
    let epoch = Epoch(body.read_text()?.into());
    Ok(Placement { channel, position: Position { epoch, offset: Offset(body.read_u64()?) } })
}

fn put_audience(record: &mut BytesMut, audience: &Audience) {
    let (tag, key) = match audience {
        Audience::Connection(id) => (1, id.to_string()),
        Audience::User(tenant, user) => (2, format!("{tenant}/{user}")),
        Audience::Role(tenant, role) => (3, format!("{tenant}/{}", role.as_str())),
        Audience::Channel(channel) => (4, channel.to_string()),
    };
    record.put_u8(tag);
    put_text(record, &key);
}

fn read_audience(body: &mut ByteCursor<'_>) -> Result<Audience, MalformedPayloadError> {
    let (tag, key) = (body.read_byte()?, body.read_text()?);
    let split = || key.split_once('/').ok_or(MalformedPayloadError);
    let tenant = |text| TenantId::parse(text).map_err(|_| MalformedPayloadError);
    Ok(match tag {
        1 => Audience::Connection(ConnectionId::parse(key).map_err(|_| MalformedPayloadError)?),
        2 => {
            let (name, user) = split()?;
            Audience::User(tenant(name)?, UserId::parse(user).map_err(|_| MalformedPayloadError)?)
        }
        3 => {
            let (name, role) = split()?;
            Audience::Role(tenant(name)?, Role::parse(role).ok_or(MalformedPayloadError)?)
        }
        4 => Audience::Channel(Channel::from_key(key).map_err(|_| MalformedPayloadError)?),
        _ => return Err(MalformedPayloadError),
    })
}

fn decode_priority(byte: u8) -> Result<Priority, MalformedPayloadError> {
    let priorities = [Priority::Control, Priority::Direct, Priority::Broadcast, Priority::Ephemeral];
    priorities.get(usize::from(byte)).copied().ok_or(MalformedPayloadError)
}

fn begin_record(kind: u8, body_hint: usize) -> BytesMut {
    let mut record = BytesMut::with_capacity(5 + body_hint);
    record.put_u8(kind);
    record.put_u32(0);
    record
}

/// Fills in the length of the body, which is far below 4 GiB because of the message quota and the limit of the queue.
fn end_record(mut record: BytesMut) -> BytesMut {
    let length = u32::try_from(record.len() - 5).unwrap_or(u32::MAX);
    record[1..5].copy_from_slice(&length.to_be_bytes());
    record
}

/// Writes a `u16` length and the text. All texts are short: names and epochs have limits (`handlers::limits`), and an
/// operation names at most 64 channels.
fn put_text(record: &mut BytesMut, text: &str) {
    record.put_u16(u16::try_from(text.len()).unwrap_or(u16::MAX));
    record.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests;
